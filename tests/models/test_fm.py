"""The factorization machine against its formula and torch's gradients."""

import dataclasses

import numpy as np
import pytest
import torch

from models.features import Features
from models.fm import FM, FactorPart
from models.settings import FactorSettings, FeatureSettings
from models.training import residuals


@pytest.fixture(scope="module")
def world(lab):
    store = lab.store(seed=1)
    return store, store.log(np.random.default_rng(2), 100, [1, 2])


def formula(tables, features, day, blocks):
    """w_0 + sum w_i x_i + sum over i < j of <v_i, v_j> x_i x_j, pair by pair."""
    out = []
    for b in range(len(day)):
        own = features.installed_rows[day.installed[b][day.installed[b] >= 0]]
        own = own[own > 0]
        user = [(tables["fixed"][i], 1.0) for i in (day.codes[b] + blocks.user).tolist()]
        user += [(tables["installed"][i], 1.0 / len(own)) for i in own.tolist()]
        for s, a in enumerate(day.apps[b].tolist()):
            ids = (np.append(features.codes[a], day.ages[a]) + blocks.app).tolist()
            terms = user + [
                (tables["fixed"][i], 1.0) for i in [*ids, blocks.position + int(day.positions[b, s])]
            ]
            if features.app_rows[a]:
                terms.append((tables["apps"][int(features.app_rows[a])], 1.0))
            terms += [(tables["fixed"][blocks.size + d], float(features.dense[a, d])) for d in range(2)]
            y = tables["bias"][0, 0] + sum(row[0] * x for row, x in terms)
            for i, (left, x) in enumerate(terms):
                for right, z in terms[:i]:
                    y = y + (left[1:] @ right[1:]) * x * z
            out.append(y)
    return torch.stack(out).view(day.apps.shape)


def test_formula_gradients_and_adagrad(lab, world):
    store, log = world
    features = Features(store.apps, lab.cardinalities, FeatureSettings(app_min_count=12))
    part = FactorPart(features, FactorSettings(factors=3, factor_scale=0.3), 5)
    first = log.take(log.requests.sim_day == 1)
    features.grow(first)
    features.learn(first)
    day = features.day(log.take(log.requests.sim_day == 2)).rows(0, 12)
    part.grow(day)
    leaves = {name: table[0].clone().requires_grad_() for name, table in part.tables.items()}
    adagrad = torch.optim.Adagrad(leaves.values(), lr=0.02, initial_accumulator_value=0.1)
    for _ in range(2):
        logits = part.logits(day)
        expected = formula(leaves, features, day, part.blocks)
        np.testing.assert_allclose(logits, expected.detach(), atol=1e-5)
        gradients = np.empty_like(logits)
        residuals(logits, day.labels, gradients)
        part.step(gradients)
        adagrad.zero_grad()
        labels = torch.from_numpy(day.labels)
        torch.nn.functional.binary_cross_entropy_with_logits(expected, labels, reduction="sum").backward()
        adagrad.step()
        for name, leaf in leaves.items():
            np.testing.assert_allclose(part.tables[name][0], leaf.detach(), atol=5e-6, err_msg=name)


def test_folded_scores_equal_the_formula(lab, world):
    store, log = world
    ranker = FM(store.apps, lab.cardinalities, {"fm": {"factors": 3}}, 5)
    ranker.fit(log, 1)
    top = dataclasses.replace(log, positions=np.zeros_like(log.positions))
    last = top.take(log.requests.sim_day == 2).take(slice(0, 12))
    tables = {name: table[0] for name, table in ranker.parts["fm"].tables.items()}
    expected = formula(tables, ranker.features, ranker.features.day(last), ranker.parts["fm"].blocks)
    np.testing.assert_allclose(ranker.score(last.requests), expected, atol=1e-5)
