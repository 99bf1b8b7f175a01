"""Which offline figure foretells the online lift, counted over the cells of a study.

A case is an arm of a cell, against its control: what an offline figure says of it before it serves, and its
expected lift online (the same users under both arms), on its first day or over all days. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

TARGET, WHOLE_RUN = "first_day_lift", "expected_lift"
"""What is foretold: the lift on the first day, from one log for all arms, and that of all days."""

PREDICTORS = {
    "offline_auc": "offline AUC",
    "gauc": "per-request AUC",
    "gauc_examined": "per-request AUC, examined",
    "log_loss": "log loss",
    "offpolicy_direct": "direct method",
    "offpolicy_ips": "IPS",
    "offpolicy_snips": "SNIPS",
    "offpolicy_dr": "DR",
    "offpolicy_position_ips": "IPS by positions",
    "offpolicy_position_snips": "SNIPS by positions",
    "offpolicy_position_dr": "DR by positions",
}
"""Measure to its name. What is no lift counts as the arm's less the control's; of log loss, reversed."""


def predictors(cells: Iterable[Mapping[str, Any]], target: str = TARGET) -> list[dict[str, Any]]:
    """A row per predictor, the best rank correlation first.

    Args:
        cells: documents of cells that measured `offpolicy`. target: what is foretold, a measure.

    Returns:
        `{"predictor", "words", "cases", "right_sign", "right_by_arm", "spearman", "spearman_ci", "pearson",
        "error"}`: of how many cases the sign is right, `[right, cases]` by arm too; the correlations over all
        cases, with a 95% interval by resampling seeds; for predictors that are lifts, the root mean square
        error. Undefined is None.
    """
    documents = list(cells)
    rows = []
    for measure, words in PREDICTORS.items():
        cases = [case for cell in documents for case in _cases(cell, measure, target)]
        seeds = np.array([case.seed for case in cases])
        x, y = np.array([case.said for case in cases]), np.array([case.lift for case in cases])
        right = [case.said * case.lift > 0 for case in cases]
        by_arm: dict[str, list[int]] = {}
        for case, kept in zip(cases, right, strict=True):
            counts = by_arm.setdefault(case.arm, [0, 0])
            counts[0] += kept
            counts[1] += 1
        is_lift = measure.startswith("offpolicy_")
        rows.append(
            {
                "predictor": measure,
                "words": words,
                "cases": len(cases),
                "right_sign": sum(right),
                "right_by_arm": by_arm,
                "spearman": spearman(x, y),
                "spearman_ci": _interval(seeds, x, y),
                "pearson": pearson(x, y),
                "error": float(np.sqrt(np.mean((x - y) ** 2))) if is_lift and cases else None,
            }
        )
    return sorted(rows, key=lambda row: 2.0 if row["spearman"] is None else -row["spearman"])


class _Case(NamedTuple):
    """What is said of an arm in a seed, and its lift."""

    seed: int
    arm: str
    said: float
    lift: float


def _cases(cell: Mapping[str, Any], measure: str, target: str) -> list[_Case]:
    """A case for each arm but the control, where all is defined."""
    control = cell["arms"][cell["control"]]
    cases = []
    for arm, found in cell["arms"].items():
        said, base, lift = found.get(measure), control.get(measure), found.get(target)
        if arm == cell["control"] or said is None or base is None or lift is None:
            continue
        cases.append(_Case(cell["seed"], arm, base - said if measure == "log_loss" else said - base, lift))
    return cases


def pearson(x: Sequence[float] | Any, y: Sequence[float] | Any) -> float | None:
    """The correlation; None for fewer than three cases or where one of the two does not vary."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def spearman(x: Sequence[float] | Any, y: Sequence[float] | Any) -> float | None:
    """The correlation of the ranks, ties at their mean; None as `pearson`."""
    from scipy.stats import rankdata

    return None if len(x) < 3 else pearson(rankdata(x), rankdata(y))


def _interval(seeds: Any, x: Any, y: Any, draws: int = 1000) -> list[float] | None:
    """Percentile interval of Spearman's correlation; seeds are drawn anew, each with all of its arms."""
    known = np.unique(seeds)
    if len(known) < 3:
        return None
    rng = np.random.default_rng(0)
    of = {seed: np.flatnonzero(seeds == seed) for seed in known}
    found = []
    for _ in range(draws):
        rows = np.concatenate([of[seed] for seed in rng.choice(known, len(known))])
        found.append(spearman(x[rows], y[rows]))
    kept = [value for value in found if value is not None]
    return [float(end) for end in np.quantile(kept, [0.025, 0.975])] if kept else None
