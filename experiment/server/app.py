"""The HTTP face of a model: `/rank`, `/health`, `/model` and `/metrics` as a Starlette application.

Overload is answered at once with 503 and Retry-After, mostly by `shedding` before HTTP is parsed: what waits
is bounded by the batcher's queue, a body by `BODY_BYTES` and the time to read it by `BODY_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol, Self

import numpy as np
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from experiment.server.batching import Batcher, OverloadedError
from experiment.server.input import BadBodyError, RankInput
from experiment.server.live_model import Snapshot
from experiment.server.metrics_text import CONTENT_TYPE, SECONDS, Counter, Gauge, Histogram, page
from experiment.server.shedding import BUSY, RETRY_AFTER

BODY_BYTES = 64 * 1024
"""Longest body."""

BODY_SECONDS = 5.0
"""Longest time that a body may take to arrive."""

BATCH_CANDIDATES = (1, 10, 25, 50, 100, 200, 300, 400, 512, 1000)


class Serving(Protocol):
    """What serves at a moment; see `live_model.LiveModel`."""

    snapshot: Snapshot
    refused: dict[str, str]
    swaps: int


class RankServer:
    """Answers requests with what `serving` serves when they come; a context manager that ends its threads.

    Attributes:
        app: the ASGI application.
        batcher: scores.
        most: requests that may be under way at a time, in whatever state.

    Args:
        serving: the model and the run's users.
        read: checks bodies.
        threads, batch, queue: see `Batcher`.
        deadline: seconds that a request may wait for a thread.
    """

    def __init__(
        self,
        serving: Serving,
        read: RankInput,
        *,
        threads: int,
        batch: int,
        queue: int,
        deadline: float,
    ) -> None:
        self._serving, self._input, self._deadline = serving, read, deadline
        self._answers = Counter("storelift_requests_total", "Answers of /rank by HTTP status.", "status")
        self._seconds = Histogram(
            "storelift_request_seconds", "Seconds from the request line of /rank to its answer.", SECONDS
        )
        self._batches = Histogram(
            "storelift_batch_candidates", "Candidates of one scoring call.", BATCH_CANDIDATES
        )
        self._models = Counter("storelift_ranked_total", "Requests ranked by model version.", "model_version")
        self.most = queue
        self.batcher = Batcher(threads, batch, queue, self._batches.observe)
        waiting, swaps, refused = (
            Gauge("storelift_waiting_requests", "Requests that wait.", lambda: self.batcher.waiting),
            Gauge("storelift_model_swaps", "How often a newer model took over.", lambda: serving.swaps),
            Gauge("storelift_refused_models", "Models refused.", lambda: len(serving.refused)),
        )
        self._page = (self._answers, self._models, self._seconds, self._batches, waiting, swaps, refused)
        self.app = Starlette(
            routes=[
                Route("/rank", self._rank, methods=["POST"]),
                Route("/health", self._health),
                Route("/model", self._model),
                Route("/metrics", self._metrics),
            ]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.batcher.close()

    def turned_away(self) -> None:
        """Counts a request that was refused before it reached the application."""
        self._answers.add("503")

    async def _rank(self, request: Request) -> Response:
        started = time.perf_counter()
        try:
            answer = await self._answer(request)
        except Exception:
            self._answers.add("500")
            raise
        self._answers.add(str(answer.status_code))
        if answer.status_code == 200:
            self._seconds.observe(time.perf_counter() - started)
        return answer

    async def _answer(self, request: Request) -> Response:
        if self.batcher.full:
            return _busy()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                text = await _body(request)
        except TimeoutError:
            return _error(408, f"body: got no end of it in {BODY_SECONDS:g} s, allowed: one that ends")
        except ClientDisconnect:
            return Response(status_code=400)
        if text is None:
            return _error(413, f"body: got more than {BODY_BYTES:,} bytes, allowed: at most as many")
        snapshot = self._serving.snapshot
        try:
            body = self._input.parse(text)
            requests = self._input.requests(body, snapshot.visitors)
            future = self.batcher.submit(snapshot.model.ranker, requests, self._deadline)
            scores = await asyncio.wrap_future(future)
        except BadBodyError as error:
            return _error(422, *error.lines)
        except OverloadedError:
            return _busy()
        if not np.isfinite(scores).all():
            return _error(500, f"model: {snapshot.model.version} gave a score that is not finite")
        order = np.argsort(-scores, kind="stable")[: body.top]
        self._models.add(snapshot.model.version)
        document = {
            "model_version": snapshot.model.version,
            "apps": requests.apps[0, order].tolist(),
            "scores": scores[order].tolist(),
        }
        return Response(to_json(document), media_type="application/json")

    async def _health(self, _: Request) -> Response:
        return _json({"status": "ok", "model_version": self._serving.snapshot.model.version})

    async def _model(self, _: Request) -> Response:
        known: dict[str, Any] = {**self._serving.snapshot.model.document}
        return _json({**known, "swaps": self._serving.swaps, "refused": self._serving.refused})

    async def _metrics(self, _: Request) -> Response:
        return Response(page(self._page), headers={"content-type": CONTENT_TYPE})


async def _body(request: Request) -> bytes | None:
    """The body; None when it is longer than allowed."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES:
            return None
    return b"".join(parts)


def _json(document: Any, status: int = 200) -> Response:
    return Response(to_json(document), status, media_type="application/json")


def _error(status: int, *lines: str) -> Response:
    """Mistakes by field: each line is `field: words`."""
    errors = [dict(zip(("field", "message"), line.split(": ", 1), strict=True)) for line in lines]
    return _json({"errors": errors}, status)


def _busy() -> Response:
    return Response(BUSY, 503, {"Retry-After": str(RETRY_AFTER)}, "application/json")
