"""What scores a request in a benchmark of serving, by turns, and how its times are set beside the limits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import expit

from experiment.bench.http import latencies, percentiles
from experiment.machine import seconds_of
from experiment.server.batching import Batcher

if TYPE_CHECKING:
    from experiment.machine import Limits
    from models.scorer import Published
    from simulator.schema import Requests

CANDIDATES = 200
SPLITS = ((200, 1), (100, 2), (50, 4))
"""Batch size and threads."""

PAPER_MS = {(200, 1): 31.0, (100, 2): 17.0, (50, 4): 14.0}
"""Table 2 of the paper: serving latency in milliseconds."""

PAPER_RATE = 10e6
"""Apps scored per second at peak traffic (paper, section 1)."""

ROUNDS = 6
"""Turns of each engine; a turn is an equal share of the measured requests."""

Engine = Callable[[int, int], Any]
"""Makes a context whose value scores one request in batches of a size over some threads."""


def own_engines(
    document: dict[str, Any], exact: Published, request: Requests, name: str = "paper"
) -> tuple[dict[str, Engine], dict[str, Any]]:
    """The model in fp32 and, where there is such a form, in bf16; and how far bf16 is off."""
    engines: dict[str, Engine] = {"storelift fp32": _served(exact, request)}
    differences: dict[str, Any] = {}
    try:
        rounded = exact.rounded()
    except (AttributeError, ValueError) as error:
        document["skipped"].append({"model": name, "engine": "storelift bf16", "reason": str(error)})
    else:
        engines["storelift bf16"] = _served(rounded, request)
        differences["storelift bf16"] = difference(rounded.score(request), exact.score(request))
    return engines, differences


def _served(ranker: Published, request: Requests) -> Engine:
    """As the server scores: on the caller's thread alone, or in pieces on the batcher's threads."""

    @contextlib.contextmanager
    def engine(batch: int, threads: int) -> Iterator[Callable[[], object]]:
        if threads == 1:
            yield lambda: ranker.score(request)
            return
        with Batcher(threads, batch, 8) as batcher:
            yield lambda: batcher.submit(ranker, request, 60.0).result()

    return engine


def plain(name: str, score: Callable[[int, int], object]) -> Engine:
    """Batches of a request on a pool of threads; torch with its own fp32 setting."""

    @contextlib.contextmanager
    def engine(batch: int, threads: int) -> Iterator[Callable[[], object]]:
        precision = torch.get_float32_matmul_precision()
        starts = range(0, CANDIDATES, batch)

        def one(start: int) -> object:
            return score(start, start + batch)

        if name == "torch eager":
            torch.set_float32_matmul_precision("highest")
        try:
            with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
                yield (lambda: one(0)) if threads == 1 else (lambda: list(pool.map(one, starts)))
        finally:
            torch.set_float32_matmul_precision(precision)

    return engine


def rows(model: str, engines: dict[str, Engine], requests: int) -> list[dict[str, Any]]:
    """Rows without HTTP: the engines take turns."""
    rows = []
    for batch, threads in SPLITS:
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(ROUNDS):
            for name, engine in engines.items():
                with engine(batch, threads) as score:
                    for number in range(-3, -(-requests // ROUNDS)):
                        started = time.perf_counter()
                        score()
                        if number >= 0:
                            times[name].append((time.perf_counter() - started) * 1e3)
        rows += [
            {"model": model, "engine": name, "http": False, "batch": batch, "threads": threads}
            | {"requests": len(found), **percentiles(found)}
            for name, found in times.items()
        ]
    return rows


def http_rows(
    model: str, addresses: dict[tuple[int, int], str], bodies: list[bytes], requests: int
) -> list[dict[str, Any]]:
    """Rows with HTTP: one client, one connection, a server process for each split."""
    return [
        {"model": model, "engine": "storelift fp32", "http": True, "batch": batch, "threads": threads}
        | {"requests": requests, **percentiles(latencies(address, bodies, requests))}
        for (batch, threads), address in addresses.items()
    ]


def finish(
    document: dict[str, Any],
    rows: list[dict[str, Any]],
    machine: Limits,
    work: dict[str, tuple[float, float]],
) -> None:
    """Adds to each row the paper's figure, the peers' ratios and the share of the machine's limit.

    Args:
        document: takes the rows. rows: of all engines. machine: its limits.
        work: by engine, operations of one candidate in fp32 and in bf16.
    """
    by_place = {(r["engine"], r["batch"], r["threads"]): r for r in rows if not r["http"]}
    for row in rows:
        batch, threads = row["batch"], row["threads"]
        row["name"] = f"{row['model']}: {row['engine']}{', HTTP' if row['http'] else ''}"
        row["paper_ms"] = PAPER_MS[batch, threads]
        row["paper_ratio"] = round(row["paper_ms"] / row["p50_ms"], 2)
        for peer in ("torch eager", "onnxruntime"):
            other = by_place.get((peer, batch, threads))
            if other is not None and not row["http"] and row["engine"].startswith("storelift"):
                row[f"{peer.replace('torch ', '')}_ratio"] = round(other["p50_ms"] / row["p50_ms"], 2)
        row["gemm_limit_ratio"] = None
        if row["engine"] in work and not row["http"]:
            exact, rounded = work[row["engine"]]
            least = exact / machine.gemm_gflops + rounded / machine.gemm_bf16_gflops  # ns on one core
            spent = row["p50_ms"] * 1e6 * min(threads, machine.cores)
            row["gemm_limit_ratio"] = round(least * CANDIDATES / spent, 3)
    document["rows"] += rows


def throughput(ranker: Published, request: Requests) -> dict[str, Any]:
    """Apps per CPU second of one thread in calls of 16 requests, and the paper's peak traffic in cores."""
    block = request.take(np.zeros(16, np.int64))
    rate = block.apps.size / seconds_of(lambda: [ranker.score(block) for _ in range(4)]) * 4
    return {"apps_per_second_per_core": round(rate), "cores_for_10_million_per_second": PAPER_RATE / rate}


def difference(found: Any, exact: Any) -> dict[str, float]:
    """Largest differences of log odds and of chances."""
    found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    return {
        "log_odds": float(np.abs(found - exact).max()),
        "chance": float(np.abs(expit(found) - expit(exact)).max()),
    }
