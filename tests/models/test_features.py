"""Features know of a day only what was known before it."""

import dataclasses

import numpy as np
import pytest

from models.catalogue import Ages, Catalogue, user_codes
from models.features import Features
from models.keyed import normals, order
from models.settings import FeatureSettings


@pytest.fixture(scope="module")
def world(lab):
    store = lab.store(seed=1)
    return store, store.log(np.random.default_rng(2), 100, [1, 2])


def make(lab, store, **settings):
    return Features(store.apps, lab.cardinalities, FeatureSettings(**settings))


def test_history_counts_the_days_before(lab, world):
    store, log = world
    features = make(lab, store)
    first, second = (log.take(log.requests.sim_day == day) for day in (1, 2))
    assert not features.day(first).features.dense.any()
    features.learn(first)
    before = features.dense.copy()
    features.day(second)
    np.testing.assert_array_equal(features.dense, before)
    counts = np.bincount(first.requests.apps.ravel(), minlength=len(store.apps))
    np.testing.assert_array_equal(features.impressions, counts)
    assert features.acquisitions.sum() == first.labels.sum()
    features.learn(second)
    assert features.impressions.sum() == log.labels.size
    assert features.last_day == 2


def test_dense_values_are_ranks_among_known_apps(lab, world):
    store, log = world
    features = make(lab, store, quantiles=11, rate_prior=5)
    features.learn(log)
    known = features.impressions > 0
    values = features.dense[known]
    assert set(np.round(values * 10, 5).ravel()) <= set(range(11))
    rate = (features.acquisitions + 5 * log.labels.mean()) / (features.impressions + 5)
    for column, raw in enumerate((rate, features.impressions)):
        by_value = np.argsort(raw[known], kind="stable")
        assert (np.diff(values[by_value, column]) >= 0).all()


def test_vocabularies_need_their_counts(lab, world):
    store, log = world
    features = make(lab, store, app_min_count=30, installed_min_count=15)
    features.grow(log)
    shown = np.bincount(log.requests.apps.ravel(), minlength=len(store.apps))
    own = np.bincount(log.requests.installed[log.requests.installed >= 0], minlength=len(store.apps))
    np.testing.assert_array_equal(features.app_rows > 0, shown >= 30)
    np.testing.assert_array_equal(features.installed_rows > 0, own >= 15)
    np.testing.assert_array_equal(
        features.app_rows[features.app_ids()], np.arange(len(features.app_ids())) + 1
    )


def test_age_buckets(lab):
    store = lab.store(seed=1)
    apps = dataclasses.replace(store.apps, release_day=np.arange(-119, 1, dtype=np.int32))
    ages = Ages.of(apps, FeatureSettings(age_boundaries=(1, 3, 30)))
    assert ages.buckets == 4
    by_age = dict(zip((-apps.release_day).tolist(), ages.on(0).tolist(), strict=True))
    assert [by_age[age] for age in (0, 1, 2, 3, 29, 30, 119)] == [0, 1, 1, 2, 2, 3, 3]
    assert (ages.on(-1000) == 0).all()
    assert [ages.bucket(0, a) for a in range(120)] == ages.on(0).tolist()


def test_state_and_published_arrays_describe_everything(lab, world):
    store, log = world
    features = make(lab, store)
    features.grow(log)
    features.learn(log.take(log.requests.sim_day == 1))
    other = make(lab, store)
    other.restore(features.to_state())
    catalogue = Catalogue.of(store.apps, lab.cardinalities, features.settings, features.published())
    for copy in (other, catalogue):
        for name in ("app_rows", "installed_rows", "dense", "codes"):
            np.testing.assert_array_equal(getattr(copy, name), getattr(features, name), err_msg=name)
    assert other.last_day == 1
    few = dataclasses.replace(
        store.apps, **{f.name: getattr(store.apps, f.name)[:50] for f in dataclasses.fields(store.apps)}
    )
    with pytest.raises(ValueError, match=r"^apps: got 50, 120 are allowed by the state$"):
        Features(few, lab.cardinalities, features.settings).restore(features.to_state())
    with pytest.raises(ValueError, match=r"0 to 49 are allowed$"):
        Catalogue.of(few, lab.cardinalities, features.settings, features.published())


def test_weekday_follows_the_day_before_zero_too(lab, world):
    _, log = world
    codes = []
    for day in (-8, -1, 0, 6, 13):
        requests = dataclasses.replace(log.requests, sim_day=np.full(len(log), day, np.int32))
        codes.append(int(user_codes(requests, lab.cardinalities, 120)[0, 6]))
    assert codes == [6, 6, 0, 6, 6]


def test_wrong_shapes_are_refused(lab, world):
    store, log = world
    with pytest.raises(ValueError, match=r"^labels: got shape \(200, 9\), \(200, 10\) is allowed$"):
        make(lab, store).check(dataclasses.replace(log, labels=log.labels[:, :9]))
    requests = dataclasses.replace(log.requests, country=log.requests.country[:3])
    with pytest.raises(ValueError, match=r"^country: got shape \(3,\), \(200\) is allowed$"):
        user_codes(requests, lab.cardinalities, 120)


def test_keyed_numbers_are_functions_of_their_keys():
    rows = np.arange(40_000)
    table = normals(3, "t", rows, 2, 0.5)
    np.testing.assert_array_equal(normals(3, "t", rows[::-1][:7], 2, 0.5), table[::-1][:7])
    assert abs(table.mean()) < 0.01
    assert table.std() == pytest.approx(0.5, rel=0.02)
    assert abs(np.corrcoef(table.T)[0, 1]) < 0.02
    assert not np.array_equal(normals(4, "t", rows[:9], 2, 0.5), table[:9])
    assert not np.array_equal(normals(3, "u", rows[:9], 2, 0.5), table[:9])
    ids = np.arange(1000, dtype=np.uint64) * np.uint64(7)
    places = order(1, "o", ids)
    assert sorted(places) == list(range(1000))
    turned = order(1, "o", ids[::-1])
    np.testing.assert_array_equal(ids[::-1][turned], ids[places])
    assert not np.array_equal(order(2, "o", ids), places)
