"""A model folder that says one thing and holds another is refused before anything is made of it."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import WideDeepClassifier, registry
from models.checkpoint import ARRAYS, META

SMALL = {"training": {"batch_requests": 16}}
NET = {**SMALL, "deep": {"hidden": [24, 12], "embedding_dim": 6}}
SETTINGS = {"wide": SMALL, "deep": NET, "wide_deep": NET, "fm": {**SMALL, "fm": {"factors": 6}}}


@pytest.fixture(scope="module")
def store(lab):
    return lab.store(seed=3, exception=1.0)


@pytest.fixture(scope="module")
def published(lab, store):
    log = store.log(np.random.default_rng(5), 150, [1, 2])
    models = {}
    for kind in (*SETTINGS, "random", "popularity"):
        ranker = registry.create(kind, store.apps, lab.cardinalities, SETTINGS.get(kind, {}), 7)
        ranker.fit(log, 11)
        models[kind] = ranker.publish()
    return models


def saved(folder, model, change=None, meta=None):
    """The model's folder, after `change` of its arrays and with `meta` laid over its meta.json."""
    folder.mkdir()
    model.save(folder)
    arrays = load_file(folder / ARRAYS)
    if change is not None:
        change(arrays)
        save_file(arrays, folder / ARRAYS)
    if meta is not None:
        document = json.loads((folder / META).read_text())
        (folder / META).write_text(json.dumps(document | meta))
    return folder


def replaced(name, make):
    def change(arrays):
        arrays[name] = np.ascontiguousarray(make(arrays[name]))

    return change


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("wide", replaced("wide.ids", lambda a: a + 10**6), "0 to "),
        ("wide", replaced("wide.ids", lambda a: -a), "wide.ids: got -"),
        ("wide", replaced("wide.weights", lambda a: a[:-1]), "wide.weights: got float32 of shape"),
        ("wide", replaced("wide.lefts", lambda a: a + 1000), "wide.lefts: got"),
        ("wide", replaced("wide.rights", lambda a: a[:-3]), "wide.rights: got int32 of shape"),
        ("wide", replaced("wide.cross_weights", lambda a: a.astype(np.float64)), "got float64 of shape"),
        ("wide", lambda arrays: arrays.pop("wide.weights"), "wide.weights: got no such array"),
        ("wide", replaced("features.app_ids", lambda a: a + 1000), "features.app_ids: got"),
        ("deep", replaced("features.dense", lambda a: a[1:]), "features.dense: got float32 of shape"),
        ("deep", replaced("deep.installed", lambda a: a[:2]), "deep.installed: got float32 of shape (2, 6)"),
        ("deep", replaced("deep.layer2", lambda a: a[:, :3]), "deep.layer2: got float32 of shape (12, 3)"),
        (
            "deep",
            replaced("deep.attributes", lambda a: a[:3]),
            "deep.attributes: got float32 of shape (3, 6)",
        ),
        ("deep", replaced("deep.out", lambda a: a.T), "deep.out: got float32 of shape (12, 1)"),
        ("fm", replaced("fm.fixed", lambda a: a[:, :2]), "fm.apps: got float32 of shape"),
        ("fm", replaced("fm.installed", lambda a: a[:1]), "fm.installed: got float32 of shape (1, 7)"),
        ("fm", lambda arrays: arrays.update(more=np.zeros(1)), "more: got an array of no part"),
        ("popularity", replaced("apps", lambda a: a + 1000), "got no Popularity (IndexError("),
    ],
)
def test_arrays_that_do_not_fit_are_refused(published, store, tmp_path, kind, change, words):
    folder = saved(tmp_path / "model", published[kind], change)
    with pytest.raises(ValueError, match=r"got") as error:
        registry.load_published(folder, store.apps)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"cardinalities": {}}, "meta: got Cardinalities.__init__() missing"),
        ({"cardinalities": None}, "meta: got "),
        (
            {"features": {"age_boundaries": [1, 10**9]}},
            "features.age_boundaries.1: got 1000000000, input should be",
        ),
        ({"features": {"age_boundaries": [-3]}}, "features.age_boundaries.0: got -3, input should be"),
        ({"features": {"positions": 10**9}}, "features.positions: got 1000000000, input should be"),
        ({"features": 5}, "features: got 5, input should be"),
        ({"crosses": ["installed_x_app"] * 2}, "crosses: got ("),
        ({"crosses": 5}, "meta: got 'int' object is not iterable"),
        ({"scale": "1"}, "scale: got '1', a finite number is allowed"),
        ({"kind": 3}, "got no object with a kind"),
        ({"kind": "nothing"}, "kind: got 'nothing'"),
        ({"format": 2}, "got format 2, 1 is allowed"),
    ],
)
def test_a_meta_that_does_not_fit_is_refused(published, store, tmp_path, meta, words):
    folder = saved(tmp_path / "model", published["wide_deep"], meta=meta)
    with pytest.raises(ValueError, match=r"got") as error:
        registry.load_published(folder, store.apps)
    assert words in str(error.value)


def test_cardinalities_of_another_world_are_refused(published, store, tmp_path):
    folder = saved(tmp_path / "model", published["wide"])
    document = json.loads((folder / META).read_text())
    for value, words in ((1, "cardinalities: got 1 for category"), (10**9, "cardinalities.categories: got")):
        document["cardinalities"]["categories"] = value
        (folder / META).write_text(json.dumps(document))
        with pytest.raises(ValueError, match=words):
            registry.load_published(folder, store.apps)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"kind": "wide"}'])
def test_a_meta_json_that_is_none_is_refused(published, store, tmp_path, content):
    folder = saved(tmp_path / "model", published["wide"])
    (folder / META).write_bytes(content)
    with pytest.raises(ValueError, match=r"meta\.json: got"):
        registry.load_published(folder, store.apps)


HUGE = b'{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 16,
        (2**62).to_bytes(8, "little") + b"{}",
        len(HUGE).to_bytes(8, "little") + HUGE,
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
    ],
)
def test_arrays_are_not_made_room_for_before_their_sizes_are_known(published, store, tmp_path, content):
    folder = saved(tmp_path / "model", published["wide"])
    (folder / ARRAYS).write_bytes(content)
    with pytest.raises(ValueError, match=r"arrays\.safetensors: got an unreadable file"):
        registry.load_published(folder, store.apps)


def test_a_model_as_saved_is_let_through(published, store, tmp_path):
    for kind, model in published.items():
        registry.load_published(saved(tmp_path / kind, model), store.apps)


def test_a_classifier_that_does_not_fit_together_is_refused(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"c": ["a", "b"] * 20, "x": np.arange(40.0)})
    made = WideDeepClassifier(
        categorical=["c"], continuous=["x"], embedding_dim=4, hidden=(8,), random_state=0
    )
    made.fit(frame, [0, 1] * 20).save(tmp_path)
    arrays = load_file(tmp_path / ARRAYS)
    name = "model.wide.z"
    save_file(arrays | {name: arrays[name][:-1]}, tmp_path / ARRAYS)
    with pytest.raises(ValueError, match="got shape"):
        WideDeepClassifier.load(tmp_path)
    arrays.pop(name)
    save_file(arrays, tmp_path / ARRAYS)
    with pytest.raises(ValueError, match="got no WideDeepClassifier"):
        WideDeepClassifier.load(tmp_path)
