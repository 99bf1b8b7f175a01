"""metrics/slices.json: every part of every cut, by arm, with intervals and the lift over the control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment.config import Config
from experiment.slices.cuts import CUTS
from experiment.stats import ratio
from experiment.stats.moments import Moments, X, Y

if TYPE_CHECKING:
    from experiment.slices.measure import ArmSlices

FORMAT = 3
"""One of another format is measured anew."""

INTERVALS = {
    "share": (0.0, 1.0),
    "rate": (0.0, 1.0),
    "predicted": (0.0, 1.0),
    "over": (-1.0, 1.0),
    "calibration": (0.0, math.inf),
}
"""Ratios that are given with an interval, and what they can be, which cuts off an interval's ends; the true
chance is what they are held against."""


def build(config: Config, arms: Sequence[ArmSlices], days: Sequence[int]) -> dict[str, Any]:
    """The document. Undefined is None; intervals are of level 1 - alpha and clustered by user.

    Args:
        config: of the run. arms: its arms, the control among them. days: that were run.
    """
    alpha, control = config.experiment.alpha, config.experiment.control
    known = {found.arm: found for found in arms}
    paired = known[control].counts_pairs
    return {
        "format": FORMAT,
        "config_hash": config.config_hash(),
        "control": control,
        "alpha": alpha,
        "days": list(days),
        "pairs": "ok" if paired else "catalogue_too_large",
        "cuts": {
            name: {"meaning": CUTS[name].meaning, "parts": list(CUTS[name].parts)}
            for name in known[control].moments
        },
        "arms": {found.arm: _arm(found, known[control], alpha) for found in arms},
    }


def _arm(found: ArmSlices, control: ArmSlices, alpha: float) -> dict[str, Any]:
    lifted = None if found.arm == control.arm else control
    return {
        "over_generalisation": _over_generalisation(found, alpha),
        "over_memorisation": _over_memorisation(found, alpha),
        "cuts": {name: _cut(name, found, lifted, alpha) for name in found.moments},
        "days": [{"day": day, **explored} for day, explored in sorted(found.days.items())],
    }


def _cut(name: str, found: ArmSlices, control: ArmSlices | None, alpha: float) -> list[dict[str, Any]]:
    q = _quantile(alpha)
    own, aucs = found.moments[name], found.aucs[name]
    values = {ratio_name: ratio.rates(moments) for ratio_name, moments in own.items()}
    auc_ci = np.clip(_interval(aucs.auc, np.sqrt(aucs.variance), q), 0.0, 1.0)
    lifts = expected = None
    if control is not None:
        theirs = control.moments[name]
        lifts = ratio.contrast(theirs["rate"], own["rate"], alpha=alpha)
        expected = ratio.contrast(theirs["chance"], own["chance"], alpha=alpha)
    rows = []
    for at, part in enumerate(CUTS[name].parts):
        row: dict[str, Any] = {
            "part": part,
            "impressions": int(own["rate"].total[at, Y]),
            "acquisitions": int(own["rate"].total[at, X]),
        }
        for ratio_name, found_rates in values.items():
            row[ratio_name] = _plain(found_rates.rate[at])
            if ratio_name in INTERVALS:
                ends = _interval(found_rates.rate[at], found_rates.se[at], q)
                row[f"{ratio_name}_ci"] = _ends(np.clip(ends, *INTERVALS[ratio_name]))
        if row["acquisitions"] in (0, row["impressions"]):  # users who are all alike tell nothing of the rest
            row["rate_ci"] = None
        row |= {
            "auc": _plain(aucs.auc[at]),
            "auc_ci": _ends(auc_ci[at]),
            "expected_auc": _plain(aucs.expected[at]),
            "lift": None if lifts is None else _plain(lifts.lift[at]),
            "lift_ci": None if lifts is None else _ends(lifts.lift_ci[at]),
            "expected_lift": None if expected is None else _plain(expected.lift[at]),
            "expected_lift_ci": None if expected is None else _ends(expected.lift_ci[at]),
        }
        rows.append(row)
    return rows


def _over_generalisation(found: ArmSlices, alpha: float) -> dict[str, Any] | None:
    """Prediction less true chance where there is no exception and never was one in favour."""
    if "stale" not in found.moments:
        return None
    own = found.moments["stale"]
    over = ratio.rates(_at(own["over"], 0))
    return {
        "value": _plain(over.rate),
        "ci": _ends(_interval(over.rate, over.se, _quantile(alpha))),
        "chance": _plain(ratio.rates(_at(own["chance"], 0)).rate),
        "impressions": int(own["over"].total[0, Y]),
    }


def _over_memorisation(found: ArmSlices, alpha: float) -> dict[str, Any] | None:
    """How much more is predicted too high where a rule in favour has gone than where there never was one."""
    if found.excess is None:
        return None
    value, se = found.excess
    own, gone = found.moments["stale"], (2, 3, 4)
    n = float(own["chance"].total[list(gone), Y].sum())
    return {
        "value": value,
        "ci": _ends(_interval(np.float64(value), np.float64(se), _quantile(alpha))),
        "chance": float(own["chance"].total[list(gone), X].sum()) / n,
        "impressions": int(n),
    }


def _at(moments: Moments, place: int) -> Moments:
    return moments[place]


def _quantile(alpha: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(1 - alpha / 2))


def _interval(value: Any, se: Any, q: float) -> Any:
    return np.stack([value - q * se, value + q * se], axis=-1)


def _plain(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _ends(ends: Any) -> list[float] | None:
    low, high = float(ends[0]), float(ends[1])
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None
