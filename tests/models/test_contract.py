"""The contract can be broken: a ranker with one fault fails the checks that are about it, and no other."""

import dataclasses

import numpy as np
import pytest

from models import contract, registry
from models.contract import CHECKS, BrokenError, Material, Subject, examine
from models.reference import Popularity


@pytest.fixture(scope="module")
def material(lab):
    store = lab.store(seed=3)
    rng = np.random.default_rng(5)
    log = store.log(rng, 20, [1, 2, 3])
    return Material(
        store.apps, lab.cardinalities, log, store.requests(rng, 128, 100, 4), store.requests(rng, 128, 100, 2)
    )


def changed(**methods):
    """A ranker like `popularity` with methods of its own, known to the registry while a test runs."""
    return type("Faulty", (Popularity,), {"kind": "faulty", **methods})


def found(monkeypatch, material, cls):
    monkeypatch.setitem(registry.kinds, "faulty", cls)
    return {
        outcome.name: outcome.reason
        for outcome in examine(Subject("faulty", {}, material))
        if not outcome.passed
    }


def nan(self, requests):
    return np.full(requests.apps.shape, np.nan, np.float32)


def writes(self, requests):
    requests.apps.sort(axis=1)
    return Popularity.score(self, requests)


def centred(self, requests):
    scores = Popularity.score(self, requests)
    return scores - scores.mean(dtype=np.float32) if scores.size else scores


def by_row(self, requests):
    return (Popularity.score(self, requests) + np.arange(len(requests))[:, None] * 1e-6).astype(np.float32)


def fails_when_empty(self, requests):
    assert requests.apps.size * requests.installed.size, "nothing to score"
    return Popularity.score(self, requests)


def forgets(self, data, key):
    if len(data):
        self.acquisitions = self.acquisitions * 0
    Popularity.fit(self, data, key)


def draws(self, data, key):
    Popularity.fit(self, data, key)
    if len(data):
        self.acquisitions = self.acquisitions + np.random.default_rng().integers(1, 9, len(self.apps))


def needs_ten(self, data, key):
    if 0 < len(data) < 10:
        raise ValueError("log: got too few rows")
    Popularity.fit(self, data, key)


def counts_calls(self, data, key):
    Popularity.fit(self, data, key)
    self.acquisitions = self.acquisitions + (len(data) == 0)


def pickles(self, folder):
    Popularity.save(self, folder)
    (folder / "model.pkl").write_bytes(b"")


FAULTS = [
    ("finite scores", {"score": nan}),
    ("inputs unchanged", {"score": writes}),
    ("neighbour-free", {"score": centred}),
    ("order-free", {"score": by_row}),
    ("empty batch", {"score": fails_when_empty}),
    ("warm start", {"fit": forgets}),
    ("deterministic", {"fit": draws}),
    ("one row", {"fit": needs_ten}),
    ("empty log", {"fit": counts_calls}),
    ("save and load", {"save": pickles}),
    ("published form", {"save": pickles}),
    ("published stays", {"publish": lambda self: self}),
    ("protocol", {"publish": None}),
    ("shape-free", {"score": centred}),
]


@pytest.mark.parametrize(
    ("name", "methods"), FAULTS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(FAULTS)]
)
def test_a_fault_is_found(monkeypatch, material, name, methods):
    assert name in found(monkeypatch, material, changed(**methods))


def test_without_a_fault_none_is_found(monkeypatch, material):
    assert found(monkeypatch, material, changed()) == {}


def test_the_reason_names_what_was_got_and_what_is_allowed(monkeypatch, material):
    broken = found(monkeypatch, material, changed(score=nan))
    assert broken["finite scores"] == "scores: got 12800 of 12800 that are not finite, allowed: none"
    reasons = found(monkeypatch, material, changed(fit=needs_ten))
    assert reasons == {
        "one row": "ValueError: log: got too few rows",
        "unseen ids": "ValueError: log: got too few rows",
    }
    reasons = found(monkeypatch, material, changed(save=pickles))
    assert reasons["save and load"] == "files: got model.pkl, allowed: .json and .safetensors"
    reasons = found(monkeypatch, material, changed(publish=lambda self: self))
    assert set(reasons) == {"published stays"}
    assert reasons["published stays"].startswith("after fitting on: got ")


def test_a_foreign_kind_in_the_saved_form_is_named(monkeypatch, material):
    monkeypatch.setitem(registry.kinds, "faulty", changed(kind="popularity"))
    reasons = {o.name: o.reason for o in examine(Subject("faulty", {}, material)) if not o.passed}
    assert reasons["save and load"] == "kind in meta.json: got one of Popularity, allowed: 'faulty'"


def test_a_class_of_the_wrong_type_is_no_array_of_scores(material):
    subject = Subject("popularity", {}, material)
    with pytest.raises(BrokenError, match=r"^scores: got float64\[128, 100\], allowed: float32\[128, 100\]$"):
        contract._finite(subject.scores.astype(float), (128, 100))


def test_names_and_sentences_are_one_of_a_kind():
    assert len({check.name for check in CHECKS}) == len({check.sentence for check in CHECKS}) == len(CHECKS)
    assert all(check.sentence.endswith(".") and len(check.name) < 20 for check in CHECKS)


def test_progress_is_told(material):
    told = []
    examine(Subject("popularity", {}, material), lambda done, total: told.append((done, total)))
    assert told == [(done, len(CHECKS)) for done in range(1, len(CHECKS) + 1)]
    assert dataclasses.is_dataclass(material)
