"""Measured latencies, wherever they stand in `latency/*.json`: rows of milliseconds by what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PAPER = {"200 x 1": 31.0, "100 x 2": 17.0, "50 x 4": 14.0}
"""Cheng et al. 2016, Table 2: milliseconds by batch size and threads."""

PAPERS = "The paper's network: "
"""How what was measured on the paper's structure is named."""

PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True, slots=True)
class Timing:
    """One measurement.

    Attributes:
        where: the way to it in the document. batch, threads: of the request, None if not stated.
        milliseconds: by percentile.
    """

    where: tuple[str, ...]
    batch: int | None
    threads: int | None
    milliseconds: dict[str, float]

    @property
    def split(self) -> str | None:
        """Batch size and threads as in Table 2."""
        return None if self.batch is None or self.threads is None else f"{self.batch} x {self.threads}"

    @property
    def name(self) -> str:
        """What was measured, in words, without the split."""
        words = " · ".join(word.replace("_", " ") for word in self.where)
        if words.startswith("paper: "):
            return f"{PAPERS}{words.removeprefix('paper: ')}"
        return words or "request"


def timings(document: Any) -> list[Timing]:
    """All measurements of a document, in its order."""
    return list(_walk(document, ()))


def _walk(node: Any, where: tuple[str, ...]) -> Iterator[Timing]:
    if isinstance(node, Mapping):
        name = next(
            (
                node[key]
                for key in ("name", "engine", "variant", "precision")
                if isinstance(node.get(key), str)
            ),
            None,
        )
        here = (*where, name) if name else where
        found = {key: float(node[key]) for key in PERCENTILES if isinstance(node.get(key), int | float)}
        if found:
            yield Timing(
                here, _whole(node, "batch", "batch_size", "candidates"), _whole(node, "threads"), found
            )
        for key, value in node.items():
            if isinstance(value, Mapping):
                yield from _walk(value, (*here, str(key)))
            elif isinstance(value, list):
                yield from _walk(value, here if key in ("rows", "results") else (*here, str(key)))
    elif isinstance(node, list):
        for one in node:
            yield from _walk(one, where)


def _whole(node: Mapping[str, Any], *names: str) -> int | None:
    return next((int(node[name]) for name in names if isinstance(node.get(name), int)), None)


def machine(document: Mapping[str, Any]) -> str:
    """The machine that it was measured on, in a line; empty if not stated."""
    found = document.get("machine")
    if isinstance(found, str):
        return found
    if isinstance(found, Mapping):
        return " · ".join(
            f"{key.replace('_', ' ')} {value}"
            for key, value in found.items()
            if not isinstance(value, Mapping | list)
        )
    return ""
