"""calibration.json: what each method does over thousands of experiments whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiment.calibration.draws import FINITE, SUPER
from experiment.calibration.methods import METHODS
from experiment.calibration.replays import Pair, Replays
from simulator.schema import Array

FALSE_POSITIVES = (0.044, 0.056)
COVERAGE = {SUPER: (0.944, 0.956), FINITE: (0.944, 1.0)}
ALWAYS_VALID = {"false_positive_rate": (0.0, 0.05), "coverage": (0.95, 1.0)}
ALPHA = 0.05
"""The bands that the right methods must keep at this level, over at least `ENOUGH` experiments."""

ENOUGH = 20_000

JUDGED = ("z", "welch_t", "fieller", "cuped")
"""Methods held to the two-sided bands."""

P_BINS = 20
ESTIMATE_BINS = 40


def comparison(
    pair: Pair, found: Mapping[tuple[Pair, str], Replays], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """One pair in one view: each method's figures, and the distributions that a page may draw.

    Args:
        pair: arm and control. found: the methods' answers. sizes: users in each arm's group.
    """
    z = found[pair, "z"]
    counts, edges = np.histogram(z.estimate[np.isfinite(z.estimate)], ESTIMATE_BINS)
    return {
        "arm": pair[0],
        "control": pair[1],
        "users": {name: sizes[name] for name in pair},
        "true_lift": float(z.truth[0]),
        "methods": {method: figures(found[pair, method]) for method in METHODS},
        "p_value_histogram": _p_counts(z.p_null),
        "p_value_histogram_naive": _p_counts(found[pair, "naive_impressions"].p_null),
        "estimates": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def figures(replays: Replays) -> dict[str, float | None]:
    """A method's figures; None where nothing was defined.

    `false_positive_rate` and `power` are shares of rejections: under A/A, and under the true outcomes.
    `coverage` is the share of intervals that hold the truth; an experiment without an interval holds nothing,
    and counts in `undefined`. `estimate_*` and `interval_width` are of the lift, over what is defined.
    """
    defined = np.isfinite(replays.estimate)
    estimate, truth = replays.estimate[defined], replays.truth[defined]
    return {
        "false_positive_rate": _mean(replays.rejected_null),
        "coverage": _mean(replays.covered),
        "power": _mean(replays.rejected),
        "estimate_mean": _mean(estimate),
        "estimate_sd": float(estimate.std(ddof=1)) if len(estimate) > 1 else None,
        "estimate_bias": _mean(estimate - truth),
        "interval_width": _mean(replays.width[np.isfinite(replays.width)]),
        "undefined": float(np.mean(~np.isfinite(replays.width))),
    }


def acceptance(views: Mapping[str, Mapping[str, Any]], alpha: float = ALPHA) -> list[dict[str, Any]]:
    """Each figure that has a band, with whether it keeps it; none at another `alpha` than the bands'."""
    checks: list[dict[str, Any]] = []
    if alpha != ALPHA:
        return checks
    for view, found_in in views.items():
        for one in found_in["comparisons"]:
            for method in (*JUDGED, "always_valid"):
                found = one["methods"][method]
                bands = {"false_positive_rate": FALSE_POSITIVES, "coverage": COVERAGE[view]}
                if method == "always_valid":
                    bands = ALWAYS_VALID
                for figure, (low, high) in bands.items():
                    value = found[figure]
                    checks.append(
                        {
                            "view": view,
                            "arm": one["arm"],
                            "control": one["control"],
                            "method": method,
                            "figure": figure,
                            "value": value,
                            "allowed": [low, high],
                            "kept": value is not None and low <= value <= high,
                        }
                    )
    return checks


def _mean(values: Array) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _p_counts(p_values: Array) -> list[int]:
    """A/A experiments with p in each of `P_BINS` equal bins of [0, 1]."""
    known = p_values[np.isfinite(p_values)]
    counts: list[int] = np.histogram(known, P_BINS, (0.0, 1.0))[0].tolist()
    return counts
