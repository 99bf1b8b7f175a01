"""What every kind of ranker keeps to: the shared contract, and what only the kinds that ship owe."""

import dataclasses
import json
from contextlib import nullcontext

import numpy as np
import pytest

from models import registry
from models.contract import CHECKS, Material, Subject, same

SMALL = {"training": {"batch_requests": 16}}
SETTINGS = {
    "wide": SMALL,
    "deep": {**SMALL, "deep": {"hidden": [24, 12], "embedding_dim": 6}},
    "wide_deep": {**SMALL, "deep": {"hidden": [24, 12], "embedding_dim": 6}},
    "ensemble": {**SMALL, "deep": {"hidden": [24, 12], "embedding_dim": 6}},
    "fm": {**SMALL, "fm": {"factors": 6}},
}

kinds = pytest.mark.parametrize("kind", sorted(registry.kinds))


@pytest.fixture(scope="module")
def world(lab):
    store = lab.store(seed=3, exception=1.0)
    log = store.log(np.random.default_rng(5), 150, [1, 2, 3])
    return store, log, lab.cardinalities


@pytest.fixture
def make(world):
    store, _, cardinalities = world

    def make(kind, key=7, **changes):
        return registry.create(kind, store.apps, cardinalities, {**SETTINGS.get(kind, {}), **changes}, key)

    return make


@pytest.fixture(scope="module")
def material(world):
    store, log, cardinalities = world
    block, others = (
        store.requests(np.random.default_rng(seed), 128, 100, day) for seed, day in ((8, 4), (9, 2))
    )
    return Material(store.apps, cardinalities, log, block, others)


@pytest.fixture(scope="module")
def subjects(material):
    """One of each kind."""
    return {kind: Subject(kind, SETTINGS.get(kind, {}), material) for kind in registry.kinds}


@pytest.fixture(scope="module")
def fitted(subjects):
    """One fitted ranker of each kind; tests must not fit it further."""
    return {kind: subject.fitted for kind, subject in subjects.items()}


@pytest.fixture(scope="module")
def block(material):
    return material.block


@kinds
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_contract(subjects, kind, check):
    check.hold(subjects[kind])


@kinds
def test_the_order_of_installed_apps_hardly_matters(fitted, block, kind):
    turned = dataclasses.replace(block, installed=np.ascontiguousarray(block.installed[:, ::-1]))
    np.testing.assert_allclose(fitted[kind].score(turned), fitted[kind].score(block), atol=2e-6)


@kinds
def test_the_order_of_the_log_does_not_matter(world, fitted, make, block, kind):
    _, log, _ = world
    ranker = make(kind)
    ranker.fit(log.take(np.random.default_rng(1).permutation(len(log))), 11)
    assert same(ranker.score(block), fitted[kind].score(block))


@pytest.mark.parametrize("kind", sorted(set(registry.kinds) - {"popularity", "wide"}))
def test_another_key_starts_elsewhere(make, block, kind):
    assert not same(make(kind, key=1).score(block), make(kind, key=2).score(block))


@kinds
def test_published_form_round_trips(world, fitted, block, kind, tmp_path):
    store, _, _ = world
    published = fitted[kind].publish()
    assert same(published.score(block), fitted[kind].score(block))
    published.save(tmp_path)
    loaded = registry.load_published(tmp_path, store.apps)
    assert same(loaded.score(block), published.score(block))
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["kind"] == kind
    assert meta["format"] == 1
    assert meta["sim_day"] == (None if kind == "random" else 3)
    assert all(count >= 0 for count in meta["nonzero"].values())


@kinds
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("country", 6, r"^country: got 6, 0 to 5 are allowed$"),
        ("hour", -1, r"^hour: got -1, 0 to 23 are allowed$"),
        ("apps", 120, r"^apps: got 120, 0 to 119 are allowed$"),
        ("apps", -1, r"^apps: got -1, 0 to 119 are allowed$"),
        ("installed", 120, r"^installed: got 120, -1 to 119 are allowed$"),
    ],
)
def test_values_out_of_range_are_refused(fitted, block, kind, field, value, message):
    wrong = getattr(block, field).copy()
    wrong.flat[-1] = value
    with pytest.raises(ValueError, match=message):
        fitted[kind].score(dataclasses.replace(block, **{field: wrong}))


@kinds
def test_a_refused_log_changes_nothing(world, make, block, kind):
    _, log, _ = world
    ranker = make(kind)
    before = ranker.score(block)
    device = log.requests.device.copy()
    device[-1] = 99
    with (
        pytest.raises(ValueError, match=r"^device: got 99, 0 to 2 are allowed$")
        if kind != "random"
        else nullcontext()
    ):
        ranker.fit(dataclasses.replace(log, requests=dataclasses.replace(log.requests, device=device)), 1)
    assert same(ranker.score(block), before)


@kinds
def test_unknown_settings_are_refused(make, kind):
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        make(kind, embeding_dim=3)


def test_unknown_kinds_are_refused(world, tmp_path, monkeypatch):
    store, _, cardinalities = world
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "divides_by_nothing.py").write_text("1 / 0")
    (tmp_path / "lacks_something.py").write_text("import json\njson.nothing")
    for kind, message in [
        ("wide_dep", r"^kind: got 'wide_dep' \(did you mean wide_deep\?\), .* or module:Class are allowed$"),
        ("no.such:Class", r"^kind: got 'no.such:Class', but no.such cannot be imported"),
        ("json:Nothing", r"^kind: got 'json:Nothing', but json has no Nothing$"),
        ("json:dumps", r"^kind: got 'json:dumps', which is no class$"),
        (".x:Y", r"^kind: got '.x:Y', but importing it failed \(TypeError: "),
        ("divides_by_nothing:Y", r"Y', but importing it failed \(ZeroDivisionError: division by zero\)$"),
        ("lacks_something:Y", r"Y', but importing it failed \(AttributeError: .* 'nothing'\)$"),
    ]:
        with pytest.raises(ValueError, match=message):
            registry.create(kind, store.apps, cardinalities, {}, 0)


def test_a_class_of_ones_own(world):
    store, _, cardinalities = world
    ranker = registry.create("models.reference:Random", store.apps, cardinalities, {}, 0)
    assert type(ranker) is registry.kinds["random"]


def test_folders_are_checked(world, fitted, tmp_path):
    store, _, _ = world
    with pytest.raises(FileNotFoundError, match=r"got no meta.json, a complete model folder is needed$"):
        registry.load(tmp_path, store.apps)
    fitted["wide"].publish().save(tmp_path)
    with pytest.raises(ValueError, match=r"got a published model, a trainable one is needed$"):
        registry.load(tmp_path, store.apps)
    with pytest.raises(ValueError, match=r"got kind wide, deep is needed$"):
        registry.kinds["deep"].load(tmp_path, store.apps)
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(ValueError, match=r"got format 99, 1 is allowed$"):
        registry.load_published(tmp_path, store.apps)
