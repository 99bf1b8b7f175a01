"""What each design finds, beside what it should find; pure functions of the worlds' tables.

Two things part an estimate from the global treatment effect: which users happened to be in which arm, and
the design itself. A seed's worlds have the same users with the same luck, so they can be told apart: `bias`
is the design's expected lift less that of the very same users under the same arms in the arms' own worlds,
and `noise` is the latter less the global effect; what is left of an estimate's error is the coins of
acquisition.

Where apps are randomised too, which app went to which arm moves the lift as well: the design's expected lift
is the mean over all ways to hand the drawn sets round, so that `bias` is none of that. The estimate, its
standard error and whether its interval holds the global effect are of one experiment, by users alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiment.interference.designs import DESIGNS, ONLY, TURNED
from experiment.stats.moments import Moments
from experiment.stats.ratio import contrast
from experiment.study.summary import estimate
from simulator.schema import Array

OVER_SEEDS = ("global", "expected", "bias", "noise", "gained", "control_gained", "se", "data")

Tables = Mapping[str, Any]
"""Name of the world to its table, see `play.play`."""


def of_seed(tables: Tables, arms: Sequence[str], control: str, alpha: float) -> list[dict[str, Any]]:
    """A row per design of `tables` and arm but the control.

    Returns:
        `{"design", "arm", "control", "global", "estimate", "ci", "covered", "expected", "same_users", "bias",
        "noise", "gained", "control_gained", "se", "data"}`, lifts all but `data`. `gained`, `control_gained`:
        what the design does to the arm and to the control, the expected rate over that of the same users in
        the own world, less 1. `se`: of the estimate, with its units (users or clusters) independent. `data`:
        the impressions that the arm learned from, over those of its own world. Undefined is None.
    """
    alone = {arm: _columns(tables[f"{ONLY}{arm}"]) for arm in arms}
    rows = []
    for design in (name for name in DESIGNS if name in tables):
        found, learned = _columns(tables[design]), _trained(tables[design])
        for arm in (arm for arm in arms if arm != control):
            own = {name: found["arm"] == arms.index(name) for name in (arm, control)}
            c = contrast(_units(found, own[control]), _units(found, own[arm]), alpha=alpha)
            whole = np.ones(len(found["arm"]), bool)
            effect = _lift(alone[arm], whole, alone[control], whole)
            ways = [found]
            if design == "co-diverted":
                ways += [_columns(table) for name, table in tables.items() if name.startswith(TURNED)]
            expected = _mean([_lift(way, own[arm], way, own[control]) for way in ways])
            same = _lift(alone[arm], own[arm], alone[control], own[control])
            gained, control_gained = (
                _mean([_lift(way, own[name], alone[name], own[name]) for way in ways])
                for name in (arm, control)
            )
            ci = [_defined(end) for end in c.lift_ci]
            rows.append(
                {
                    "design": design,
                    "arm": arm,
                    "control": control,
                    "global": effect,
                    "estimate": _defined(c.lift),
                    "ci": None if None in ci else ci,
                    "covered": None
                    if None in (*ci, effect)
                    else bool(c.lift_ci[0] <= effect <= c.lift_ci[1]),
                    "expected": expected,
                    "same_users": same,
                    "bias": _less(expected, same),
                    "noise": _less(same, effect),
                    "gained": gained,
                    "control_gained": control_gained,
                    "se": _defined((1 + c.lift) * math.sqrt(c.log_variance)),
                    "data": learned[arm] / max(_trained(tables[f"{ONLY}{arm}"])[arm], 1),
                }
            )
    return rows


def _columns(table: Any) -> dict[str, Array]:
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _trained(table: Any) -> dict[str, int]:
    learned: dict[str, int] = json.loads(table.schema.metadata[b"trained"])
    return learned


def _units(columns: Mapping[str, Array], own: Array) -> Moments:
    """The statistics of an arm, with a row per unit that was randomised."""
    _, unit = np.unique(columns["unit"][own], return_inverse=True)
    sums = [np.bincount(unit, columns[name][own]) for name in ("acquisitions", "impressions")]
    came = sums[1] > 0
    return Moments.from_users(sums[0][came], sums[1][came])


def _lift(treatment: Mapping[str, Array], t: Array, control: Mapping[str, Array], c: Array) -> float | None:
    """Expected acquisitions per impression of the users `t` over that of the users `c`, less 1."""
    sums = [
        float(columns[name][rows].sum())
        for columns, rows in ((treatment, t), (control, c))
        for name in ("expected", "impressions")
    ]
    if not (sums[1] and sums[2] and sums[3]):
        return None
    return (sums[0] / sums[1]) / (sums[2] / sums[3]) - 1.0


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The designs over seeds: means with 95% t-intervals, and in how many seeds things hold.

    Returns:
        A document per design and arm: `OVER_SEEDS` as estimates over seeds (`study.summary.estimate`),
        `error` the root mean square of the estimate less the global effect, `covered` and `right_sign` of how
        many `seeds`.
    """
    found = []
    for design, arm in dict.fromkeys((row["design"], row["arm"]) for row in rows):
        own = [row for row in rows if (row["design"], row["arm"]) == (design, arm)]
        errors = [_less(row["estimate"], row["global"]) for row in own]
        known = [error for error in errors if error is not None]
        signs = [row for row in own if None not in (row["estimate"], row["global"])]
        found.append(
            {
                "design": design,
                "arm": arm,
                "control": own[0]["control"],
                "seeds": len(own),
                **{name: estimate([row[name] for row in own]) for name in OVER_SEEDS},
                "error": math.sqrt(sum(error**2 for error in known) / len(known)) if known else None,
                "covered": sum(bool(row["covered"]) for row in own),
                "right_sign": sum(row["estimate"] * row["global"] > 0 for row in signs),
            }
        )
    return found


def _mean(lifts: Sequence[float | None]) -> float | None:
    known = [lift for lift in lifts if lift is not None]
    return sum(known) / len(known) if len(known) == len(lifts) else None


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _defined(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
