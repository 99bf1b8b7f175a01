"""Predicted against observed acquisitions, from the log of a day."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dashboard import diaries
from dashboard.reading import Key, Run

BINS = 10
REQUESTS = 200_000
"""At most so many requests of each arm are read."""


def curves(run: Run) -> dict[str, list[tuple[float, float, int]]]:
    """By arm: (predicted, observed, impressions) in bins of the score, on the last finished day."""
    if run.day < 1:
        return {}
    parts = {arm: diaries.parts(run, "log", arm, run.day) for arm in run.arms}
    found = {arm: _curve(run.key, tuple(map(str, files))) for arm, files in parts.items() if files}
    return {arm: curve for arm, curve in found.items() if curve}


@lru_cache(maxsize=64)
def _curve(_: Key, files: tuple[str, ...]) -> list[tuple[float, float, int]]:
    import duckdb
    import pyarrow.dataset as ds

    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        database.register("served", ds.dataset(list(files), format="parquet"))
        rows: list[tuple[Any, ...]] = database.sql(
            f"""
            WITH shown AS (
              SELECT 1 / (1 + exp(-scores[1])) AS chance, labels[1] AS label
              FROM (SELECT scores, labels FROM served LIMIT {REQUESTS})
            ), binned AS (SELECT chance, label, ntile({BINS}) OVER (ORDER BY chance) AS bin FROM shown)
            SELECT avg(chance), avg(label), count(*) FROM binned GROUP BY bin ORDER BY bin
            """
        ).fetchall()
    return [(float(predicted), float(observed), int(count)) for predicted, observed, count in rows]
