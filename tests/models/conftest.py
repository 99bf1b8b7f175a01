"""A small store for tests of rankers: smooth taste, exceptions (installed x app), app turnover."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from simulator.schema import AppTable, Cardinalities, Log, Requests

CARDINALITIES = Cardinalities(
    countries=6,
    languages=4,
    age_bands=4,
    genders=2,
    devices=3,
    categories=8,
    tags=10,
    price_tiers=3,
    ratings=4,
)


@dataclass(frozen=True)
class Store:
    """Apps, and the true log odds of acquisition out of taste and exceptions."""

    apps: AppTable
    user_vectors: dict[str, np.ndarray]
    app_vectors: np.ndarray
    exceptions: dict[tuple[int, int], float]
    smooth: float
    bias: float
    popularity: np.ndarray

    def log_odds(self, requests: Requests) -> np.ndarray:
        hidden = sum(table[getattr(requests, name)] for name, table in self.user_vectors.items())
        theta = np.tanh(2 * hidden)
        out = self.bias + self.smooth * np.einsum("bk,bck->bc", theta, self.app_vectors[requests.apps])
        for b in range(len(requests)):
            for c, a in enumerate(requests.apps[b]):
                out[b, c] += sum(self.exceptions.get((int(i), int(a)), 0.0) for i in requests.installed[b])
        return out

    def requests(self, rng, n, width, day, installed=6):
        c = CARDINALITIES
        released = np.flatnonzero(self.apps.release_day <= day)
        weights = self.popularity[released] / self.popularity[released].sum()
        own = np.full((n, installed + 2), -1, np.int32)
        apps = np.empty((n, width), np.int32)
        for b in range(n):
            drawn = rng.choice(released, installed + width, replace=False, p=weights)
            count = rng.integers(0, installed + 1)
            own[b, :count], apps[b] = drawn[:count], drawn[installed:]
        columns = {
            "country": c.countries, "language": c.languages, "age_band": c.age_bands,
            "gender": c.genders, "device": c.devices, "hour": c.hours,
        }  # fmt: skip
        return Requests(
            request_id=rng.integers(0, 2**63, n).astype(np.uint64),
            user_id=rng.integers(0, 10**9, n),
            sim_day=np.full(n, day, np.int32),
            **{name: rng.integers(0, size, n).astype(np.int8) for name, size in columns.items()},
            installed=own,
            apps=apps,
        )

    def log(self, rng, n, days, width=10):
        return Log.concatenate([self.show(rng, self.requests(rng, n, width, day)) for day in days])

    def show(self, rng, requests):
        shape = requests.apps.shape
        chance = 1 / (1 + np.exp(-self.log_odds(requests)))
        return Log(
            requests=requests,
            positions=np.tile(np.arange(shape[1], dtype=np.int8), (shape[0], 1)),
            sources=np.zeros(shape, np.int8),
            scores=np.zeros(shape, np.float32),
            labels=(rng.random(shape) < chance).astype(np.int8),
            propensities=np.full(shape, np.nan, np.float32),
            model_version=np.full(shape[0], "test/0"),
        )


def store(seed=0, n_apps=120, smooth=1.0, exception=0.0, slots=4, bias=-1.5):
    rng = np.random.default_rng(seed)
    c, k = CARDINALITIES, 4
    apps = AppTable(
        category=rng.integers(0, c.categories, n_apps).astype(np.int16),
        tag=rng.integers(0, c.tags, n_apps).astype(np.int16),
        price=rng.integers(0, c.price_tiers, n_apps).astype(np.int16),
        rating=rng.integers(0, c.ratings, n_apps).astype(np.int16),
        release_day=np.where(rng.random(n_apps) < 0.2, rng.integers(1, 6, n_apps), -400).astype(np.int32),
        store_installs=rng.integers(0, 1000, n_apps),
    )
    sizes = {"country": c.countries, "age_band": c.age_bands, "gender": c.genders}
    by_category, by_tag = rng.normal(size=(c.categories, k)), rng.normal(size=(c.tags, k))
    vectors = np.tanh(by_category[apps.category] + by_tag[apps.tag])
    pairs = {
        (int(i), a): exception * (-1.0 if rng.random() < 0.25 else 1.0)
        for a in range(n_apps)
        for i in rng.choice(n_apps, slots, replace=False)
    }
    users = {name: rng.normal(size=(size, k)) for name, size in sizes.items()}
    popularity = 1.0 / (rng.permutation(n_apps) + 5.0)
    return Store(apps, users, vectors, pairs, smooth, bias, popularity)


def auc(scores, labels):
    order = np.argsort(scores, axis=None, kind="stable")
    ranks = np.empty(order.size)
    ranks[order] = np.arange(1, order.size + 1)
    positive = labels.ravel() > 0
    n = positive.sum()
    return (ranks[positive].sum() - n * (n + 1) / 2) / (n * (order.size - n))


@pytest.fixture(scope="session")
def lab():
    """The store's maker, its cardinalities and a global AUC, for tests of rankers."""
    return SimpleNamespace(store=store, auc=auc, cardinalities=CARDINALITIES)
