"""The limits of the machine, measured beside a benchmark: fp32 and bf16 matrix products, and copies.

Absolute rates drift with the machine and with what else runs on it; a ratio to a limit that was measured in
the same run drifts less. Every figure is of one thread, by its CPU time where that can be told from waiting.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

REPEATS = 7
"""Of each figure the median of so many is taken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one core of this machine can do at most.

    Attributes:
        gemm_gflops: fp32 matrix products of 1024 x 1024, 1e9 operations (an addition or a multiplication)
            per second, with the precision that `models.matmul` chooses for all products of this process.
        gemm_bf16_gflops: the same in bf16.
        copy_gb_per_second: 1e9 bytes copied per second from memory to memory (each read and written once).
        cores: processors that this process may use.
        load: mean number of processes that wanted a processor during the last minute.
    """

    gemm_gflops: float
    gemm_bf16_gflops: float
    copy_gb_per_second: float
    cores: int
    load: float

    def document(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(self).items()}


def limits() -> Limits:
    """Measures the machine with one thread; about half a second."""
    import numpy as np
    import torch

    from models import matmul

    matmul.prepare()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        gflops = []
        for kind in (torch.float32, torch.bfloat16):
            a = torch.ones(1024, 1024, dtype=kind)
            out = torch.empty_like(a)
            gflops.append(2 * 1024**3 / seconds_of(lambda a=a, out=out: torch.mm(a, a, out=out)) / 1e9)  # type: ignore[misc]
    finally:
        torch.set_num_threads(threads)
    source = np.ones(32 * 2**20 // 8)
    target = np.ones_like(source)
    copied = source.nbytes / seconds_of(lambda: np.copyto(target, source)) / 1e9
    return Limits(gflops[0], gflops[1], copied, cores(), os.getloadavg()[0])


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def seconds_of(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU seconds of `work`, after one call that does not count."""
    work()
    took = []
    for _ in range(repeats):
        clock = Clock()
        work()
        took.append(clock.cpu())
    return max(median(took), 1e-9)


class Clock:
    """Wall-clock and CPU seconds of this process since its making."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def wall(self) -> float:
        """Seconds that have passed."""
        return time.perf_counter() - self._wall

    def cpu(self) -> float:
        """Seconds that this process has computed, over all its threads."""
        return time.process_time() - self._cpu
