"""What a wide part remembers: the (installed, shown) pairs of the largest weights, and if they still hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from dashboard import diaries, intact
from dashboard.reading import Key, Run
from experiment.folder.paths import RunPaths
from experiment.folder.tensors import DamagedFileError, read_arrays
from experiment.words import DASH, number

FIRST = 8
"""Rules shown of each arm."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A remembered pair, and what became of it on a day.

    Attributes:
        installed, shown: the apps. weight: log odds that the pair adds.
        times: impressions of the arm on that day where the pair is. rate: acquired of these, None if none.
        exception: mean true exception of these, log odds: what a perfect memory would hold. None if unknown.
    """

    installed: int
    shown: int
    weight: float
    times: int
    rate: float | None
    exception: float | None


def strongest(run: Run, arm: str) -> tuple[int, list[Rule]]:
    """The number of pairs that the arm's model of the last finished day has, and the strongest of them."""
    file = _model(run, arm)
    count, weights = (0, {}) if file is None else _heaviest(run.key, str(file))
    parts = {kind: tuple(map(str, diaries.parts(run, kind, arm, run.day))) for kind in ("log", "truth")}
    seen = _seen(run.key, tuple(weights), parts["log"], parts["truth"]) if weights and parts["log"] else {}
    rules = []
    for pair, weight in weights.items():
        times, rate, exception = seen.get(pair, (0, None, None))
        rules.append(Rule(*pair, weight, times, rate, exception))
    return count, rules


def rows(rules: list[Rule]) -> list[list[str]]:
    """The rules as rows of a table."""
    return [
        [
            str(rule.installed),
            str(rule.shown),
            f"{rule.weight:+.2f}".replace("-", "−"),
            f"{rule.times:,}",
            DASH if rule.rate is None else f"{rule.rate:.0%}",
            number(rule.exception, 2),
        ]
        for rule in rules
    ]


HEAD = ("Has", "Is shown", "Weight", "Times that day", "Acquired", "True exception")


def _model(run: Run, arm: str) -> Path | None:
    """The published model with which the arm served on the last finished day, if it is as it was written."""
    folder = RunPaths(run.path).model(arm, 0).parent
    days = [int(path.name.removeprefix("day=")) for path in folder.glob("day=*")]
    served = [day for day in days if day <= run.day]
    if not served:
        return None
    file = RunPaths(run.path).model(arm, max(served)) / "arrays.safetensors"
    return file if intact.split(run.key, [file])[0] else None


@lru_cache(maxsize=32)
def _heaviest(_: Key, file: str) -> tuple[int, dict[tuple[int, int], float]]:
    """How many pairs a model has, and the largest weights by pair; none for a model without crosses."""
    try:
        arrays = read_arrays(Path(file))
    except DamagedFileError:
        return 0, {}
    weights = arrays.get("wide.cross_weights", np.zeros(0))
    first = np.argsort(-np.abs(weights), kind="stable")[:FIRST]
    pairs = {(int(arrays["wide.lefts"][i]), int(arrays["wide.rights"][i])): float(weights[i]) for i in first}
    return len(weights), pairs


@lru_cache(maxsize=32)
def _seen(
    _: Key, pairs: tuple[tuple[int, int], ...], log: tuple[str, ...], truth: tuple[str, ...]
) -> dict[tuple[int, int], tuple[int, float | None, float | None]]:
    """By pair: impressions where it is, the rate of acquisition there, the mean true exception."""
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset as ds

    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        rules = pa.table({"has": [has for has, _ in pairs], "shown": [shown for _, shown in pairs]})
        database.register("rules", rules)
        database.register("served", ds.dataset(list(log), format="parquet"))
        known = bool(truth)
        if known:
            database.register("known", ds.dataset(list(truth), format="parquet"))
        found = database.sql(
            f"""
            WITH impressions AS (
              SELECT installed, unnest(apps) AS app, unnest(labels) AS label,
                     {"unnest(exceptions)" if known else "NULL"} AS exception
              FROM served {"JOIN known USING (request_id)" if known else ""}
            )
            SELECT has, shown, count(*), avg(label), avg(exception)
            FROM rules JOIN impressions ON app = shown AND list_contains(installed, has)
            GROUP BY has, shown
            """
        ).fetchall()
    return {
        (int(has), int(shown)): (int(times), float(rate), None if exception is None else float(exception))
        for has, shown, times, rate, exception in found
    }
