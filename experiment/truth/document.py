"""truth.json: the true lift of each comparison, day by day, beside what the experiment estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiment.truth.potential import Potential, lift_between
from experiment.truth.replay import ReplayError

Interval = Sequence[float]

FORMAT = 1
"""Version of truth.json."""


def build(potential: Potential, report: Mapping[str, Any]) -> dict[str, Any]:
    """The document of truth.json.

    Lifts are fractions, undefined is None. `true_lift` is of realised totals of all bucket users under both
    arms, `expected_lift` of their true chances. A day's `contribution` is its part of the true lift,
    (x_t / Y_t - x_c / Y_c) / R_c with x of the day and Y of all days: the contributions add up to it.

    Args:
        potential: all bucket users under every arm. report: of the run.
    """
    return {
        "format": FORMAT,
        "users": len(potential),
        "days": list(potential.days),
        "arms": {arm: _arm(potential, arm) for arm in potential.arms},
        "comparisons": [_comparison(potential, compared) for compared in report["comparisons"]],
    }


def with_true_lifts(report: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, Any]:
    """The report's document with `true_lift` beside each estimate."""
    lifts = {(c["arm"], c["control"]): c["true_lift"] for c in truth["comparisons"]}
    compared = [{**c, "true_lift": lifts[c["arm"], c["control"]]} for c in report["comparisons"]]
    return {**report, "comparisons": compared}


def check_report(potential: Potential, report: Mapping[str, Any]) -> None:
    """Raises ReplayError unless each arm's own users come to the report's totals."""
    for at, arm in enumerate(potential.arms):
        own = potential.group == at
        ours = {name: int(potential.daily(name, arm, own).sum()) for name in ("impressions", "acquisitions")}
        ours["users"] = int((own & potential.visited).sum())
        for name, value in ours.items():
            if value != report["arms"][arm][name]:
                raise ReplayError(
                    f"truth: got {value} {name} of {arm}'s own users, allowed: the report's "
                    f"{report['arms'][arm][name]}"
                )


def _arm(potential: Potential, arm: str) -> dict[str, Any]:
    impressions = int(potential.daily("impressions", arm).sum())
    acquisitions = int(potential.daily("acquisitions", arm).sum())
    expected = float(potential.daily("expected", arm).sum())
    return {
        "assigned": int((potential.group == potential.arms.index(arm)).sum()),
        "impressions": impressions,
        "acquisitions": acquisitions,
        "acquisition_rate": acquisitions / impressions if impressions else None,
        "expected_rate": expected / impressions if impressions else None,
    }


def _comparison(potential: Potential, compared: Mapping[str, Any]) -> dict[str, Any]:
    arm, control = compared["arm"], compared["control"]
    lift = potential.lift(arm, control)
    cuped = compared["cuped"] or {"lift": None, "ci": None}
    return {
        "arm": arm,
        "control": control,
        "true_lift": lift,
        "expected_lift": potential.expected_lift(arm, control),
        "lift": compared["lift"],
        "ci": compared["ci"],
        "covered": covers(compared["ci"], lift),
        "cuped_lift": cuped["lift"],
        "cuped_ci": cuped["ci"],
        "cuped_covered": covers(cuped["ci"], lift),
        "always_valid_ci": compared["always_valid_ci"],
        "always_valid_covered": covers(compared["always_valid_ci"], lift),
        "days": _by_day(potential, arm, control),
    }


def covers(interval: Interval | None, value: float | None) -> bool | None:
    """Whether `value` lies in the interval; None where either is undefined."""
    return None if interval is None or value is None else interval[0] <= value <= interval[1]


def _by_day(potential: Potential, arm: str, control: str) -> list[dict[str, Any]]:
    x, y, e = (
        {one: potential.daily(measure, one) for one in (arm, control)}
        for measure in ("acquisitions", "impressions", "expected")
    )
    shown = {one: int(y[one].sum()) for one in (arm, control)}
    acquired = int(x[control].sum())
    defined = bool(shown[arm] and shown[control] and acquired)
    rows = []
    for at, day in enumerate(potential.days):
        gain = None
        if defined:
            gain = (x[arm][at] / shown[arm] - x[control][at] / shown[control]) / (acquired / shown[control])
        rows.append(
            {
                "day": day,
                "true_lift": lift_between((x[arm][at], y[arm][at]), (x[control][at], y[control][at])),
                "expected_lift": lift_between((e[arm][at], y[arm][at]), (e[control][at], y[control][at])),
                "contribution": None if gain is None else float(gain),
            }
        )
    return rows
