"""Small batches over threads: every request gets its own scores, or is refused at once."""

import threading
import time

import numpy as np
import pytest

from experiment.server.batching import CALL, Batcher, OverloadedError
from simulator.schema import Requests


def request(apps, user=0, slots=3):
    one = np.zeros(1, np.int8)
    return Requests(
        request_id=np.zeros(1, np.uint64), user_id=np.array([user]), sim_day=np.ones(1, np.int32),
        hour=one, device=one, country=one, language=one, age_band=one, gender=one,
        installed=np.full((1, slots), -1, np.int32), apps=np.asarray(apps, np.int32)[None],
    )  # fmt: skip


class Sum:
    """Scores are user + app; it remembers its calls and can be held up."""

    def __init__(self, error=None):
        self.shapes, self.error = [], error
        self.go, self.began = threading.Event(), threading.Event()
        self.go.set()

    def score(self, requests):
        self.shapes.append(requests.apps.shape)
        self.began.set()
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        return (requests.user_id[:, None] + requests.apps).astype(np.float32)


def held():
    ranker = Sum()
    ranker.go.clear()
    return ranker


@pytest.mark.parametrize(("threads", "batch"), [(1, 1000), (2, 50), (3, 7), (4, 1)])
def test_scores_are_those_of_one_call(threads, batch):
    apps = np.random.default_rng(0).integers(0, 10_000, 101)
    ranker = Sum()
    with Batcher(threads, batch, 8) as batcher:
        scores = batcher.submit(ranker, request(apps, 5), 10).result(10)
    assert np.array_equal(scores, apps + 5)
    assert max(width for _, width in ranker.shapes) <= batch


def test_no_candidates_need_no_thread():
    with Batcher(1, 10, 1) as batcher:
        assert batcher.submit(Sum(), request([]), 1).result(0).shape == (0,)


def test_many_callers_get_their_own_scores():
    ranker, sizes, wrong = Sum(), [], []
    rng = np.random.default_rng(1)
    jobs = [(rng.integers(0, 1000, rng.integers(1, 90)), user) for user in range(200)]

    def call(part):
        for apps, user in part:
            scores = batcher.submit(ranker, request(apps, user, 3 + user % 2), 10).result(10)
            if not np.array_equal(scores, apps + user):
                wrong.append(user)

    with Batcher(3, 20, 1000, sizes.append) as batcher:
        callers = [threading.Thread(target=call, args=(jobs[k::8],)) for k in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert wrong == []
    assert sum(sizes) == sum(len(apps) for apps, _ in jobs)


def test_what_waits_shares_calls_that_are_not_too_large():
    first, ranker = held(), Sum()
    with Batcher(1, 100, 64) as batcher:
        blocked = batcher.submit(first, request([1]), 10)
        assert first.began.wait(10)
        futures = [batcher.submit(ranker, request(range(60), user), 10) for user in range(20)]
        first.go.set()
        assert blocked.result(10) == [1]
        for user, future in enumerate(futures):
            assert np.array_equal(future.result(10), np.arange(60) + user)
    assert all(rows * width <= CALL for rows, width in ranker.shapes)
    assert max(rows for rows, _ in ranker.shapes) == CALL // 60


def test_one_call_has_one_ranker():
    first, rankers = held(), [Sum(), Sum()]
    with Batcher(1, 100, 64) as batcher:
        batcher.submit(first, request([1]), 10)
        assert first.began.wait(10)
        futures = [batcher.submit(rankers[k % 2], request([k]), 10) for k in range(6)]
        first.go.set()
        assert [int(future.result(10)[0]) for future in futures] == [0, 1, 2, 3, 4, 5]
    assert [len(ranker.shapes) for ranker in rankers] == [3, 3]


def test_a_full_queue_refuses_at_once():
    ranker = held()
    with Batcher(1, 10, 2) as batcher:
        running = batcher.submit(ranker, request([1]), 10)
        assert ranker.began.wait(10)
        waiting = [batcher.submit(ranker, request([k]), 10) for k in (2, 3)]
        assert batcher.full
        assert batcher.waiting == 2
        with pytest.raises(OverloadedError):  # the ranker is still held, so this did not wait for it
            batcher.submit(ranker, request([4]), 10)
        ranker.go.set()
        assert [int(f.result(10)[0]) for f in (running, *waiting)] == [1, 2, 3]
        assert not batcher.full


def test_what_waited_too_long_is_not_scored():
    ranker, late = held(), Sum()
    with Batcher(1, 10, 8) as batcher:
        running = batcher.submit(ranker, request([1]), 10)
        assert ranker.began.wait(10)
        future = batcher.submit(late, request(range(25)), 0.01)
        time.sleep(0.05)
        ranker.go.set()
        with pytest.raises(OverloadedError):
            future.result(10)
        assert running.result(10) == [1]
    assert late.shapes == []
    assert batcher.waiting == 0


def test_a_cancelled_request_leaves_its_place():
    ranker = held()
    with Batcher(1, 10, 1) as batcher:
        batcher.submit(ranker, request([1]), 10)
        assert ranker.began.wait(10)
        assert batcher.submit(ranker, request([2]), 10).cancel()
        ranker.go.set()
        deadline = time.monotonic() + 10
        while batcher.full and time.monotonic() < deadline:
            time.sleep(0.01)
        assert batcher.submit(ranker, request([3]), 10).result(10) == [3]


def test_an_error_is_the_answer_of_its_own_request_alone():
    broken, ranker = Sum(ZeroDivisionError("no")), Sum()
    with Batcher(2, 5, 64) as batcher:
        bad = [batcher.submit(broken, request(range(20)), 10) for _ in range(3)]
        good = [batcher.submit(ranker, request([k]), 10) for k in range(5)]
        for future in bad:
            with pytest.raises(ZeroDivisionError):
                future.result(10)
        assert [int(f.result(10)[0]) for f in good] == [0, 1, 2, 3, 4]


def test_closing_scores_what_waits_and_refuses_the_rest():
    ranker = held()
    batcher = Batcher(1, 10, 8)
    futures = [batcher.submit(ranker, request([k]), 10) for k in range(4)]
    closer = threading.Thread(target=batcher.close)
    closer.start()
    ranker.go.set()
    closer.join(10)
    assert [int(f.result(0)[0]) for f in futures] == [0, 1, 2, 3]
    with pytest.raises(OverloadedError):
        batcher.submit(ranker, request([9]), 10)
