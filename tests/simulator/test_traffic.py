"""A day of traffic: grouping never shows, luck is shared between arms, a visit can be replayed alone."""

import numpy as np
import pytest

from simulator import traffic
from simulator.oracle import Oracle
from simulator.retrieval import Counts, build_index
from simulator.schema import NO_APP, Log
from simulator.traffic import Audience, Policy, arrive, serve


class ByProduct:
    """A matrix product, which rounds by shape."""

    def __init__(self, apps):
        self.weights = np.random.default_rng(0).normal(size=(apps, 64)).astype(np.float32)

    def score(self, requests):
        users = np.repeat(
            (requests.user_id[:, None] * np.arange(1, 65) % 97 / 97).astype(np.float32), 1, axis=0
        )
        return np.einsum("bk,bck->bc", users, self.weights[requests.apps])


@pytest.fixture(scope="module")
def index(world):
    return build_index(world.retrieval, world.users.countries, world.catalogue, Counts.empty(), 1)


def _equal(a, b):
    for name, values in a.arrays().items():
        other = getattr(b, name)
        if hasattr(values, "arrays"):
            _equal(values, other)
        else:
            same = np.array_equal(values, other, equal_nan=values.dtype.kind == "f")
            assert same, name


def _by_request(record, ids):
    return record.take(np.argsort(ids))


@pytest.mark.parametrize("exploration", [0.0, 0.3])
def test_shards_and_chunks_do_not_change_a_byte(world, index, exploration, monkeypatch):
    ranker = ByProduct(len(world.apps))
    policy = Policy(ranker, "m/1", 10, exploration)
    users = np.arange(2000)
    whole, whole_truth = serve(world, arrive(world, users), 1, policy, index)
    monkeypatch.setattr(traffic, "_CHUNK", 256)
    parts = [serve(world, arrive(world, ids), 1, policy, index) for ids in (users[:301], users[301:])]
    log = Log.concatenate([part[0] for part in parts])
    _equal(whole, log)
    assert np.array_equal(
        whole_truth.probabilities, np.concatenate([part[1].probabilities for part in parts])
    )
    shuffled = np.random.default_rng(1).permutation(users)
    mixed, _ = serve(world, arrive(world, shuffled), 1, policy, index)
    _equal(whole, _by_request(mixed, mixed.requests.request_id))


def test_a_visit_replayed_alone_equals_the_logged_one(world, index):
    ranker = ByProduct(len(world.apps))
    audience = arrive(world, np.arange(1500))
    serve(world, audience, 1, Policy(ranker, "m/1", 10), index)
    before = audience.installed.copy()
    log, truth = serve(world, audience, 2, Policy(ranker, "m/1", 10), index)
    for row in (0, 100, len(log) - 1):
        user = int(log.requests.user_id[row])
        alone = Audience(world.profiles(np.array([user])), before[[user]])
        assert np.array_equal(alone.installed[0], log.requests.installed[row])
        again, again_truth = serve(world, alone, 2, Policy(ranker, "m/1", 10), index)
        _equal(log.take(slice(row, row + 1)), again)
        _equal(truth.take(slice(row, row + 1)), again_truth)


def test_arms_share_visits_candidates_and_luck(world, index):
    one, _ = serve(
        world, arrive(world, np.arange(1500)), 1, Policy(ByProduct(len(world.apps)), "a", 10), index
    )
    two, _ = serve(world, arrive(world, np.arange(1500)), 1, Policy(Oracle(world), "b", 10), index)
    assert np.array_equal(one.requests.request_id, two.requests.request_id)
    assert np.array_equal(one.requests.hour, two.requests.hour)
    both = 0
    for row in range(len(one)):
        common, left, right = np.intersect1d(
            one.requests.apps[row], two.requests.apps[row], return_indices=True
        )
        same_place = one.positions[row][left] == two.positions[row][right]
        assert np.array_equal(one.labels[row][left][same_place], two.labels[row][right][same_place])
        both += len(common)
    assert both > 0


def test_acquired_apps_are_installed_and_the_oldest_goes_when_full(world, index):
    audience = arrive(world, np.arange(3000))
    capacity = audience.installed.shape[1]
    audience.installed[:] = np.arange(capacity, dtype=np.int32)
    log, _ = serve(world, audience, 1, Policy(Oracle(world), "b", 10), index)
    row = int(np.argmax(log.labels.sum(axis=1)))
    acquired = log.requests.apps[row][log.labels[row] == 1]
    assert len(acquired) >= 2
    after = audience.installed[log.requests.user_id[row]]
    assert after[-len(acquired) :].tolist() == acquired.tolist()
    assert after[: capacity - len(acquired)].tolist() == list(range(len(acquired), capacity))


def test_acquired_apps_follow_those_already_there(world, index):
    audience = arrive(world, np.arange(3000))
    log, _ = serve(world, audience, 1, Policy(Oracle(world), "b", 10), index)
    row = int(np.argmax(log.labels.sum(axis=1)))
    before = log.requests.installed[row][log.requests.installed[row] != NO_APP].tolist()
    acquired = log.requests.apps[row][log.labels[row] == 1].tolist()
    after = audience.installed[log.requests.user_id[row]]
    assert after[after != NO_APP].tolist() == before + acquired


def test_the_oracle_acquires_most(world, index):
    rates = {}
    for name, ranker in (("oracle", Oracle(world)), ("other", ByProduct(len(world.apps)))):
        _, truth = serve(world, arrive(world, np.arange(3000)), 1, Policy(ranker, name, 10), index)
        rates[name] = truth.probabilities.mean()
    assert rates["oracle"] > 2 * rates["other"]


def test_nobody_visits(world, index):
    log, truth = serve(world, arrive(world, np.array([], np.int64)), 1, Policy(Oracle(world), "b", 10), index)
    assert len(log) == len(truth) == 0


def test_a_ranker_that_breaks_its_word_is_refused(world, index):
    class Short:
        def score(self, requests):
            return np.zeros((len(requests), 3), np.float32)

    class Nan:
        def score(self, requests):
            return np.full(requests.apps.shape, np.nan, np.float32)

    for ranker, message in (
        (Short(), r"scores: got shape \(128, 3\), allowed is \(128, 60\)"),
        (Nan(), "scores: got a score that is not finite, all must be"),
    ):
        with pytest.raises(ValueError, match=message):
            serve(world, arrive(world, np.arange(500)), 1, Policy(ranker, "b", 10), index)
