"""Requests in small batches over worker threads (Cheng et al. 2016, section 4.3), behind a bounded queue.

A request's candidates are cut into even pieces, which idle threads score side by side. When more pieces wait
than there are threads, a thread takes its share of them in one call. Scores are a function of request and app
alone, so neither shows in an answer. A request is scored by one ranker, the one that it came with.
Letters in shapes: C candidates.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from simulator.schema import Array, Ranker, Requests

CALL = 512
"""Most candidates of one scoring call, padding included, when pieces of several requests share it."""


class OverloadedError(Exception):
    """There is more to do than can be done in time; the request was not scored."""


@dataclass(slots=True)
class _Job:
    """A request on its way; `left` pieces are not scored yet."""

    ranker: Ranker
    requests: Requests
    deadline: float
    left: int
    scores: Array
    begun: bool = False
    future: Future[Array] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Piece:
    job: _Job
    start: int
    stop: int


class Batcher:
    """Scores requests on threads of its own; used as a context manager, or closed by hand.

    Args:
        threads: that score.
        batch: most candidates of a piece.
        queue: most requests that may wait; a further one is refused at once.
        observe: is told the number of candidates of each scoring call.
    """

    def __init__(
        self, threads: int, batch: int, queue: int, observe: Callable[[int], None] = lambda _: None
    ) -> None:
        self._threads, self._batch, self._most, self._observe = threads, batch, queue, observe
        self._pieces: deque[_Piece] = deque()
        self._waiting, self._idle, self._closing = 0, 0, False
        self._change = threading.Condition()
        self._workers = [threading.Thread(target=self._work, name=f"scorer-{k}") for k in range(threads)]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Requests of which no piece has been taken."""
        return self._waiting

    @property
    def full(self) -> bool:
        """Whether another request would be refused."""
        return self._waiting >= self._most

    def submit(self, ranker: Ranker, requests: Requests, seconds: float) -> Future[Array]:
        """The scores of one request, float32[C], from `ranker`.

        The future raises OverloadedError when no thread has begun with it after `seconds`, and whatever the
        ranker raises.

        Raises:
            OverloadedError: when the queue is full, or the batcher is closed.
        """
        C = requests.apps.shape[1]
        pieces = max(1, -(-C // self._batch))
        job = _Job(ranker, requests, time.monotonic() + seconds, pieces, np.empty(C, np.float32))
        if C == 0:
            job.future.set_result(job.scores)
            return job.future
        edges = [C * k // pieces for k in range(pieces + 1)]
        with self._change:
            if self._closing or self.full:
                raise OverloadedError
            self._waiting += 1
            self._pieces.extend(_Piece(job, edges[k], edges[k + 1]) for k in range(pieces))
            self._change.notify(min(pieces, self._idle))
        return job.future

    def close(self) -> None:
        """Scores what waits, then ends the threads."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        for worker in self._workers:
            worker.join()

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        import torch

        from models import matmul

        torch.set_num_threads(1)
        matmul.prepare()
        while taken := self._take():
            try:
                scores = self._score(taken)
            except Exception as error:  # noqa: BLE001 - the ranker's error is its callers' answer
                self._fail(taken, error)
            else:
                self._put(taken, scores)

    def _take(self) -> list[_Piece]:
        """The pieces for one scoring call; none when all is done. Late requests are answered on the way."""
        with self._change:
            while True:
                while not self._pieces:
                    if self._closing:
                        return []
                    self._idle += 1
                    self._change.wait()
                    self._idle -= 1
                share = -(-len(self._pieces) // self._threads)
                taken: list[_Piece] = []
                width = 0
                while self._pieces and len(taken) < share:
                    piece = self._pieces[0]
                    if self._begin(piece):
                        width = max(width, piece.stop - piece.start)
                        if taken and not _together(taken, piece, width):
                            break
                        taken.append(piece)
                    self._pieces.popleft()
                if taken:
                    return taken

    def _begin(self, piece: _Piece) -> bool:
        """Whether a piece is to be scored; the first of a request starts it, or finds it too late."""
        job = piece.job
        if not job.begun:
            job.begun = True
            self._waiting -= 1
            if job.future.set_running_or_notify_cancel() and time.monotonic() > job.deadline:
                job.future.set_exception(OverloadedError())
        return not job.future.done()

    def _score(self, taken: list[_Piece]) -> Array:
        width = max(piece.stop - piece.start for piece in taken)
        rows = []
        for piece in taken:
            columns = np.minimum(np.arange(piece.start, piece.start + width), piece.stop - 1)
            apps = np.ascontiguousarray(piece.job.requests.apps[:, columns])
            rows.append(dataclasses.replace(piece.job.requests, apps=apps))
        self._observe(sum(piece.stop - piece.start for piece in taken))
        return taken[0].job.ranker.score(Requests.concatenate(rows))

    def _put(self, taken: list[_Piece], scores: Array) -> None:
        done = []
        with self._change:
            for row, piece in enumerate(taken):
                job = piece.job
                job.scores[piece.start : piece.stop] = scores[row, : piece.stop - piece.start]
                job.left -= 1
                if job.left == 0 and not job.future.done():
                    done.append(job)
        for job in done:
            job.future.set_result(job.scores)

    def _fail(self, taken: list[_Piece], error: Exception) -> None:
        with self._change:
            jobs = {id(piece.job): piece.job for piece in taken if not piece.job.future.done()}
            for job in jobs.values():
                job.future.set_exception(error)


def _together(taken: list[_Piece], piece: _Piece, width: int) -> bool:
    """Whether `piece` may share a call with `taken`, all padded to `width`."""
    first = taken[0].job
    return (
        piece.job.ranker is first.ranker
        and piece.job.requests.installed.shape == first.requests.installed.shape
        and (len(taken) + 1) * width <= CALL
    )
