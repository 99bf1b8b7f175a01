"""What every kind of ranker keeps to, whatever it learns."""

import dataclasses
import json
import threading
from contextlib import nullcontext

import numpy as np
import pytest

from models import registry
from simulator.schema import Log, PublishedRanker, Requests, TrainableRanker

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
def fitted(world):
    """One fitted ranker of each kind; tests must not fit it further."""
    store, log, cardinalities = world
    rankers = {}
    for kind in registry.kinds:
        rankers[kind] = registry.create(kind, store.apps, cardinalities, SETTINGS.get(kind, {}), 7)
        rankers[kind].fit(log, 11)
    return rankers


@pytest.fixture(scope="module")
def block(world):
    store, _, _ = world
    return store.requests(np.random.default_rng(8), 128, 100, 4)


def days(log, first, last):
    return log.take((log.requests.sim_day >= first) & (log.requests.sim_day <= last))


def same(a, b):
    """Equal bit for bit."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def columns(record):
    for value in record.arrays().values():
        yield from columns(value) if hasattr(value, "arrays") else [value]


@kinds
def test_protocols(fitted, kind):
    assert isinstance(fitted[kind], TrainableRanker)
    assert isinstance(fitted[kind].publish(), PublishedRanker)


@kinds
def test_scores_are_finite_log_odds_of_the_right_shape(fitted, block, kind):
    scores = fitted[kind].score(block)
    assert scores.shape == (128, 100)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@kinds
def test_inputs_stay_as_they_were(world, make, kind):
    _, log, _ = world
    before = [column.copy() for column in columns(log)]
    ranker = make(kind)
    ranker.fit(log, 1)
    ranker.score(log.requests)
    assert all(same(a, b) for a, b in zip(before, columns(log), strict=True))


@kinds
def test_a_score_does_not_depend_on_its_place(fitted, block, kind):
    ranker, rng = fitted[kind].publish(), np.random.default_rng(0)
    scores = ranker.score(block)
    for _ in range(3):
        rows, places = rng.permutation(128), rng.permutation(100)
        assert same(ranker.score(block.take(rows)), scores[rows])
        moved = dataclasses.replace(block, apps=np.ascontiguousarray(block.apps[:, places]))
        assert same(ranker.score(moved), scores[:, places])


@kinds
def test_a_score_does_not_depend_on_its_neighbours(world, fitted, block, kind):
    store, _, _ = world
    ranker = fitted[kind].publish()
    scores = ranker.score(block)
    others = store.requests(np.random.default_rng(9), 128, 100, 2)
    for row in (0, 1, 63, 127):
        mixed = Requests.concatenate(
            [others.take(slice(0, row)), block.take(slice(row, row + 1)), others.take(slice(row + 1, 128))]
        )
        assert same(ranker.score(mixed)[row], scores[row])


@kinds
@pytest.mark.parametrize(("rows", "width"), [(1, 100), (1, 1), (3, 7), (127, 100), (13, 99)])
def test_a_score_does_not_depend_on_the_shape_of_the_call(fitted, block, kind, rows, width):
    ranker = fitted[kind].publish()
    part = dataclasses.replace(block.take(slice(0, rows)), apps=block.apps[:rows, :width])
    assert same(ranker.score(part), np.ascontiguousarray(ranker.score(block)[:rows, :width]))


@kinds
def test_the_order_of_installed_apps_hardly_matters(fitted, block, kind):
    turned = dataclasses.replace(block, installed=np.ascontiguousarray(block.installed[:, ::-1]))
    np.testing.assert_allclose(fitted[kind].score(turned), fitted[kind].score(block), atol=2e-6)


@kinds
@pytest.mark.parametrize(("rows", "width", "slots"), [(0, 10, 4), (5, 0, 4), (5, 10, 0)])
def test_empty_calls(fitted, block, kind, rows, width, slots):
    part = dataclasses.replace(
        block.take(slice(0, rows)), apps=block.apps[:rows, :width], installed=block.installed[:rows, :slots]
    )
    scores = fitted[kind].score(part)
    assert scores.shape == (rows, width)
    assert np.isfinite(scores).all()


@kinds
def test_an_empty_log_teaches_nothing(world, fitted, make, block, kind):
    _, log, _ = world
    ranker = make(kind)
    ranker.fit(log.take(slice(0, 0)), 1)
    ranker.fit(log, 11)
    assert same(ranker.score(block), fitted[kind].score(block))


@kinds
def test_before_any_fit_it_scores(make, block, kind):
    assert np.isfinite(make(kind).score(block)).all()


@kinds
def test_unseen_apps_and_ids_have_finite_scores(world, make, kind):
    store, log, _ = world
    few = log.take(np.isin(log.requests.sim_day, [1])).take(slice(0, 8))
    ranker = make(kind)
    ranker.fit(few, 1)
    every = np.arange(len(store.apps), dtype=np.int32)[None]
    request = dataclasses.replace(few.requests.take(slice(0, 1)), apps=every, user_id=np.array([2**62]))
    assert np.isfinite(ranker.score(request)).all()


@kinds
def test_one_log_row(world, make, kind):
    _, log, _ = world
    ranker = make(kind)
    ranker.fit(log.take(slice(0, 1)), 1)
    assert np.isfinite(ranker.score(log.requests)).all()


@kinds
def test_the_order_of_the_log_does_not_matter(world, fitted, make, block, kind):
    _, log, _ = world
    ranker = make(kind)
    ranker.fit(log.take(np.random.default_rng(1).permutation(len(log))), 11)
    assert same(ranker.score(block), fitted[kind].score(block))


@kinds
def test_it_is_deterministic(world, fitted, make, block, kind):
    _, log, _ = world
    ranker = make(kind)
    ranker.fit(log, 11)
    assert same(ranker.score(block), fitted[kind].score(block))


@pytest.mark.parametrize("kind", sorted(set(registry.kinds) - {"popularity", "wide"}))
def test_another_key_starts_elsewhere(make, block, kind):
    assert not same(make(kind, key=1).score(block), make(kind, key=2).score(block))


@kinds
def test_a_warm_start_is_continued_training(world, fitted, make, block, kind):
    _, log, _ = world
    ranker = make(kind)
    ranker.fit(days(log, 1, 2), 11)
    ranker.score(block)
    ranker.fit(days(log, 3, 3), 11)
    assert same(ranker.score(block), fitted[kind].score(block))


@kinds
def test_saved_state_goes_on_as_if_it_had_never_left_memory(world, fitted, make, block, kind, tmp_path):
    store, log, _ = world
    ranker = make(kind)
    ranker.fit(days(log, 1, 2), 11)
    ranker.save(tmp_path)
    loaded = registry.load(tmp_path, store.apps)
    assert type(loaded) is type(ranker)
    assert same(loaded.score(block), ranker.score(block))
    loaded.fit(days(log, 3, 3), 11)
    assert same(loaded.score(block), fitted[kind].score(block))
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]


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
def test_what_is_published_stays(world, make, block, kind):
    _, log, _ = world
    ranker = make(kind)
    ranker.fit(days(log, 1, 1), 1)
    published = ranker.publish()
    before = published.score(block)
    ranker.fit(days(log, 2, 3), 1)
    assert same(published.score(block), before)


@kinds
def test_threads_share_a_published_ranker(fitted, block, kind):
    published = fitted[kind].publish()
    expected = published.score(block)
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(published.score(block) for _ in range(3)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9
    assert all(same(scores, expected) for scores in found)


@kinds
def test_extreme_inputs_give_no_nan(world, make, kind):
    store, log, _ = world
    first = days(log, 1, 1)
    limits = np.iinfo(np.int32)
    all_installed = np.tile(np.arange(60, dtype=np.int32), (len(first), 1))
    all_installed[:, 1::2] = 3  # repeats
    extreme = Log.concatenate(
        [
            dataclasses.replace(
                first,
                labels=np.full_like(first.labels, label),
                positions=np.full_like(first.positions, 127),
                requests=dataclasses.replace(
                    first.requests, sim_day=np.full(len(first), day, np.int32), installed=all_installed
                ),
            )
            for day, label in ((limits.min, 0), (0, 1), (limits.max, 1))
        ]
    )
    ranker = make(kind)
    for key in range(3):
        ranker.fit(extreme, key)
    assert np.isfinite(ranker.score(extreme.requests)).all()
    assert np.isfinite(ranker.publish().score(store.requests(np.random.default_rng(0), 4, 9, 2))).all()


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


def test_unknown_kinds_are_refused(world):
    store, _, cardinalities = world
    for kind, message in [
        ("wide_dep", r"^kind: got 'wide_dep' \(did you mean wide_deep\?\), .* or module:Class are allowed$"),
        ("no.such:Class", r"^kind: got 'no.such:Class', but no.such cannot be imported"),
        ("json:Nothing", r"^kind: got 'json:Nothing', but json has no Nothing$"),
        ("json:dumps", r"^kind: got 'json:dumps', which is no class$"),
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
