"""Single requests out of the log, each with the truth beside what was observed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dashboard import diaries
from dashboard.reading import Run

MOST = 200
"""Requests listed at a time."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was served.

    Attributes:
        number: its id, as text, as it may exceed what a page's script counts to. facts: who asked, and when.
        shown: a row per shown app, chances in percent. installed: the user's apps then. model: that served.
    """

    number: str
    facts: dict[str, Any]
    shown: list[dict[str, Any]]
    installed: list[int]
    model: str


def listed(run: Run, arm: str, day: int) -> list[dict[str, Any]]:
    """The first requests that `arm` served on `day`."""
    table = _head(run, "log", arm, day)
    if table is None:
        return []
    rows = table.select(["request_id", "user_id", "hour", "country", "labels", "installed"]).to_pylist()
    return [
        {
            "request": str(row["request_id"]),
            "user": row["user_id"],
            "hour": row["hour"],
            "country": row["country"],
            "installed apps": len(row["installed"]),
            "acquired": sum(row["labels"]),
        }
        for row in rows
    ]


def request(run: Run, arm: str, day: int, number: str) -> Request | None:
    """A request, with the truth of its shown apps; None where it is not in that log."""
    row = _row(run, "log", arm, day, number)
    if row is None:
        return None
    beside = _row(run, "truth", arm, day, number) or {}
    count = len(row["apps"])
    chances = beside.get("probabilities") or [None] * count
    exceptions = beside.get("exceptions") or [None] * count
    shown = [
        {
            "position": row["positions"][i] + 1,
            "app": row["apps"][i],
            "found by": row["sources"][i],
            "score": row["scores"][i],
            "predicted": 100 / (1 + math.exp(-row["scores"][i])),
            "acquired": bool(row["labels"][i]),
            "true chance": None if chances[i] is None else 100 * chances[i],
            "exception": exceptions[i],
        }
        for i in range(count)
    ]
    names = ("user_id", "sim_day", "hour", "device", "country", "language", "age_band", "gender")
    facts = {name: row[name] for name in names}
    return Request(number, facts, shown, list(row["installed"]), str(row["model_version"]))


def _row(run: Run, kind: str, arm: str, day: int, number: str) -> dict[str, Any] | None:
    """The row of a request; None where it is not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in diaries.parts(run, kind, arm, day) if number.isdigit() else []:
        try:
            found = pq.read_table(file, filters=[("request_id", "==", int(number))], partitioning=None)
        except (OSError, pa.ArrowException):
            continue
        if found.num_rows:
            row: dict[str, Any] = found.slice(0, 1).to_pylist()[0]
            return row
    return None


def _head(run: Run, kind: str, arm: str, day: int) -> Any:
    """The first rows of the first part; None where there is none to read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = diaries.parts(run, kind, arm, day)
    if not parts:
        return None
    try:
        with pq.ParquetFile(parts[0]) as file:
            batch = next(file.iter_batches(MOST), None)
    except (OSError, pa.ArrowException):
        return None
    return None if batch is None else pa.Table.from_batches([batch])
