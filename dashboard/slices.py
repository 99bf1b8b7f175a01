"""Where the arms differ: the last day's impressions in parts, by what could be memorised of them.

Everything is of what an arm showed itself. AUC by ranks with ties shared; the interval of a rate is binomial
over impressions and so a little too narrow, which the page says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dashboard import diaries
from dashboard.reading import Key, Run

SEEN = ("never seen", "1-10 times", "11-100 times", "more than 100 times")
EXCEPTION = ("no exception", "an exception against", "an exception in favour")

ENOUGH = 20
"""Fewer labels of either kind than this give no AUC."""

CUTS = {
    "seen": ("How often the app was in the log that the arm learned from", SEEN),
    "exception": ("Whether an installed app changes the chance, which only memorising finds", EXCEPTION),
}


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of what an arm showed.

    Attributes:
        arm: name. part: of the cut. share: of the arm's impressions. impressions: behind it.
        rate: acquired. chance: the true mean chance. predicted: the model's mean chance.
        auc: within the part, None with fewer than `ENOUGH` labels of a kind.
    """

    arm: str
    part: str
    share: float
    impressions: int
    rate: float
    chance: float
    predicted: float
    auc: float | None


def of_run(run: Run) -> dict[str, list[Slice]]:
    """The slices of the last finished day, by cut; empty where there is no log."""
    found: dict[str, list[Slice]] = {"seen": [], "exception": []}
    if run.day < 1:
        return found
    before = [(arm, day) for arm, day in diaries.log_days(run) if day < run.day]
    for arm in run.arms:
        learned = [diaries.parts(run, "log", name, day) for name, day in before if name in _sources(run, arm)]
        files = (
            diaries.parts(run, "log", arm, run.day),
            diaries.parts(run, "truth", arm, run.day),
            [file for parts in learned for file in parts],
        )
        if not files[0] or not files[1]:
            continue
        for cut, slices in _of_arm(run.key, arm, *(tuple(map(str, own)) for own in files)).items():
            found[cut] += slices
    return found


def _sources(run: Run, arm: str) -> Sequence[str]:
    if run.setting("experiment.training") == "all":
        return ["production", *run.arms]
    return ["production", arm]


@lru_cache(maxsize=32)
def _of_arm(
    _: Key, arm: str, log: tuple[str, ...], truth: tuple[str, ...], learned: tuple[str, ...]
) -> dict[str, list[Slice]]:
    import duckdb
    import pyarrow.dataset as ds

    with duckdb.connect(":memory:", config={"threads": 2}) as database:
        for name, files in (("served", log), ("known", truth), ("learned", learned or log)):
            database.register(name, ds.dataset(list(files), format="parquet"))
        limit = "" if learned else "WHERE false"
        database.execute(
            f"""
            CREATE TABLE shown AS
            WITH each AS (SELECT unnest(apps) AS app FROM learned {limit}),
            counts AS (SELECT app, count(*) AS seen FROM each GROUP BY app),
            flat AS (
              SELECT unnest(apps) AS app, unnest(labels) AS label, unnest(exceptions) AS exception,
                     unnest(probabilities) AS chance, 1 / (1 + exp(-unnest(scores)::DOUBLE)) AS predicted
              FROM served JOIN known USING (request_id)
            )
            SELECT label, predicted, chance,
                   CASE WHEN seen IS NULL THEN 0 WHEN seen <= 10 THEN 1 WHEN seen <= 100 THEN 2
                        ELSE 3 END AS seen,
                   CASE WHEN exception = 0 THEN 0 WHEN exception < 0 THEN 1 ELSE 2 END AS exception
            FROM flat LEFT JOIN counts USING (app)
            """
        )
        return {cut: _read(database, arm, cut, names) for cut, (_, names) in CUTS.items()}


def _read(database: Any, arm: str, cut: str, names: Sequence[str]) -> list[Slice]:
    rows = database.sql(
        f"""
        WITH ranked AS (
          SELECT *, rank() OVER (PARTITION BY {cut} ORDER BY predicted)
                    + (count(*) OVER (PARTITION BY {cut}, predicted) - 1) / 2.0 AS place FROM shown
        )
        SELECT {cut}, count(*), count(*) / sum(count(*)) OVER (), avg(label), avg(chance), avg(predicted),
               sum(label)::DOUBLE, (sum(CASE WHEN label = 1 THEN place ELSE 0 END))::DOUBLE
        FROM ranked GROUP BY {cut} ORDER BY {cut}
        """
    ).fetchall()
    return [
        Slice(
            arm,
            names[part],
            float(share),
            int(count),
            rate,
            chance,
            predicted,
            _auc(count, positives, places),
        )
        for part, count, share, rate, chance, predicted, positives, places in rows
    ]


def _auc(count: int, positives: float, places: float) -> float | None:
    negatives = count - positives
    if min(positives, negatives) < ENOUGH:
        return None
    return float((places - positives * (positives + 1) / 2) / (positives * negatives))
