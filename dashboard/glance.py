"""The few numbers that are read first: each arm's lift with its days, the offline AUC, the latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard import latencies, reading
from dashboard import results as outcome
from dashboard.reading import Document, Run
from experiment.words import arm_name, interval, number, percent

MOST = 3
"""Arms with a tile of their own; the scorecard has all."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number.

    Attributes:
        name: what it is. value: as text. beside: what belongs to it. meaning: a sentence.
        days: how it came to be, a value per day; none for what has no days.
    """

    name: str
    value: str
    beside: str
    meaning: str
    days: Sequence[float] = ()


def tiles(run: Run, results: Document) -> list[Tile]:
    """The tiles of a run with results."""
    kind = outcome.readable_kind(results)
    found = []
    for c in outcome.against_control(results)[:MOST]:
        pair = arm_name(c["arm"]), arm_name(c["control"])
        found.append(
            Tile(
                f"{pair[0]} over {pair[1]}",
                percent(c["lift"]),
                interval(outcome.readable_ci(c, results)),
                f"Lift of the acquisition rate, {kind}, and the lift up to each day.",
                _days(results, c["arm"], c["control"]),
            )
        )
    known = {arm: of["offline_auc"] for arm, of in results["arms"].items() if of.get("offline_auc")}
    if known:
        best = max(known, key=lambda arm: known[arm])
        others = ", ".join(f"{arm_name(arm)} {number(known[arm])}" for arm in known if arm != best)
        found.append(
            Tile(
                f"Offline AUC, {arm_name(best)}",
                number(known[best]),
                others or "the only arm",
                "The highest, on a day before the experiment that no model had seen. AUC is not lift.",
            )
        )
    slow = _latency(run)
    return [*found, slow] if slow else found


def _days(results: Document, arm: str, control: str) -> list[float]:
    lifts = [
        c["lift"]
        for day in results.get("days", [])
        for c in day.get("comparisons", [])
        if (c["arm"], c["control"]) == (arm, control) and c["lift"] is not None
    ]
    return [float(lift) for lift in lifts] if len(lifts) > 1 else []


def _latency(run: Run) -> Tile | None:
    """The fastest way that was measured; None where none was."""
    measured = [
        timing
        for document in reading.documents(run, "latency/*.json").values()
        for timing in latencies.timings(document)
        if "p95_ms" in timing.milliseconds and timing.split is not None
    ]
    if not measured:
        return None
    best = min(measured, key=lambda timing: timing.milliseconds["p95_ms"])
    return Tile(
        "Latency, p95",
        f"{number(best.milliseconds['p95_ms'], 2)} ms",
        f"{best.name}, {best.split}",
        "The fastest way that was measured to rank a request; the page Latency has all.",
    )
