"""Counters and histograms of a server, written as Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of a latency histogram's buckets, seconds."""


class Metric(Protocol):
    """Something that a page of metrics shows."""

    def lines(self) -> Iterator[str]:
        """Its lines, the `# HELP` and `# TYPE` lines first."""
        ...


class Counter:
    """A number that only rises, by the value of one label. Any thread may add."""

    def __init__(self, name: str, words: str, label: str = "") -> None:
        self.name, self._words, self._label = name, words, label
        self._counts: Counts[str] = Counts()
        self._lock = threading.Lock()

    def add(self, value: str = "", amount: int = 1) -> None:
        """Adds to the count of a label's value."""
        with self._lock:
            self._counts[value] += amount

    def count(self, value: str = "") -> int:
        """The count of a label's value."""
        return self._counts[value]

    def lines(self) -> Iterator[str]:
        """See `Metric`."""
        yield from _head(self.name, self._words, "counter")
        with self._lock:
            counts = sorted(self._counts.items())
        if not self._label:
            yield f"{self.name} {dict(counts).get('', 0)}"
            return
        for value, count in counts:
            yield f'{self.name}{{{self._label}="{_escaped(value)}"}} {count}'


class Histogram:
    """How often values fell at or below each of some bounds. Any thread may observe."""

    def __init__(self, name: str, words: str, bounds: Sequence[float]) -> None:
        self.name, self._words, self._bounds = name, words, tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Counts one value."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def lines(self) -> Iterator[str]:
        """See `Metric`."""
        yield from _head(self.name, self._words, "histogram")
        with self._lock:
            counts, total = list(self._counts), self._sum
        below = 0
        for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
            below += count
            yield f'{self.name}_bucket{{le="{"+Inf" if bound == math.inf else f"{bound:g}"}"}} {below}'
        yield f"{self.name}_sum {total!r}"
        yield f"{self.name}_count {below}"


class Gauge:
    """A number read when the page is made."""

    def __init__(self, name: str, words: str, read: Callable[[], float]) -> None:
        self.name, self._words, self._read = name, words, read

    def lines(self) -> Iterator[str]:
        """See `Metric`."""
        yield from _head(self.name, self._words, "gauge")
        yield f"{self.name} {self._read():g}"


def page(metrics: Sequence[Metric]) -> str:
    """The text of all metrics."""
    return "\n".join(line for metric in metrics for line in metric.lines()) + "\n"


def _head(name: str, words: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
