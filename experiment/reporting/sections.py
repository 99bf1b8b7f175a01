"""The parts of report.json, as plain data: arms, comparisons, days, health, gate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiment.config import Config
from experiment.reporting.metrics import scoring_work
from experiment.reporting.outcomes import Outcomes
from experiment.results import ArmResult, GateEntry
from experiment.stats import power, srm
from experiment.stats.multiplicity import holm
from experiment.stats.results import Analysis, Comparison, Look

PRIMARY = "acquisition_rate"

OFFLINE = {
    "offline_auc": "auc",
    "offline_auc_ci": "auc_ci",
    "expected_auc": "expected_auc",
    "gauc": "gauc",
    "gauc_examined": "gauc_examined",
    "ndcg": "ndcg",
    "log_loss": "log_loss",
    "calibration": "calibration",
}
"""Names in the report of what `Quality` measures on the offline holdout."""


def arm(config: Config, result: ArmResult, outcomes: Outcomes, analysis: Analysis) -> dict[str, Any]:
    """An arm: counts, rates, and the quality of its first model on the offline holdout."""
    found = analysis.arms[result.name]
    users = int(outcomes.first.sum())
    expected = float(outcomes.expected.sum())
    document: dict[str, Any] = {
        "kind": config.arms[result.name].kind,
        "share": config.shares()[result.name],
        "assigned": result.assigned,
        "users": users,
        "impressions": found.impressions,
        "acquisitions": found.acquisitions,
        "acquisition_rate": found.rate,
        "acquisition_rate_se": found.rate_se,
        "expected_rate": expected / found.impressions if found.impressions else None,
        "scoring_work": scoring_work(config, result.name),
        "new_release_share": _ratio(int(outcomes.new_impressions.sum()), found.impressions),
    }
    for name, measure in OFFLINE.items():
        document[name] = _plain(getattr(result.offline, measure)) if result.offline is not None else None
    return document


def comparisons(analysis: Analysis, outcomes: Mapping[str, Outcomes]) -> list[dict[str, Any]]:
    """Every comparison on the primary metric, with CUPED and the expected lift."""
    cuped_p = holm([math.nan if c.cuped is None or c.cuped.p_value is None else c.cuped.p_value
                    for c in analysis.comparisons])  # fmt: skip
    return [
        _comparison(c, outcomes, None if math.isnan(p) else float(p))
        for c, p in zip(analysis.comparisons, cuped_p, strict=True)
    ]


def _comparison(c: Comparison, outcomes: Mapping[str, Outcomes], cuped_p: float | None) -> dict[str, Any]:
    cuped = None
    if c.cuped is not None and c.cuped.theta is not None:
        cuped = {
            "theta": c.cuped.theta,
            "lift": c.cuped.lift,
            "ci": _plain(c.cuped.lift_ci),
            "difference": c.cuped.difference,
            "difference_se": c.cuped.difference_se,
            "p_value": c.cuped.p_value,
            "p_adjusted": cuped_p,
            "variance_ratio": c.cuped.variance_ratio,
            "detectable_lift": _detectable(c.cuped.lift_ci, c),
        }
    return {
        "arm": c.arm,
        "control": c.control,
        "metric": PRIMARY,
        "status": c.status,
        "lift": c.lift,
        "ci": _plain(c.lift_ci),
        "p_value": c.p_value,
        "p_adjusted": c.p_holm,
        "always_valid_p": c.always_valid_p,
        "always_valid_ci": _plain(c.always_valid_lift_ci),
        "always_valid_look_ci": _plain(c.always_valid_look_lift_ci),
        "always_valid_p_adjusted": c.always_valid_p_holm,
        "cuped": cuped,
        "true_lift": None,
        "expected_lift": _expected_lift(outcomes[c.arm], outcomes[c.control]),
        "fieller_ci": _plain(c.lift_fieller_ci),
        "difference": c.difference,
        "difference_se": c.difference_se,
        "detectable_lift": _detectable(c.lift_ci, c),
        "bayes": None if c.bayes is None else dataclasses.asdict(c.bayes),
        "method": dataclasses.asdict(c.method),
    }


def day(
    number: int, arms: Sequence[ArmResult], outcomes: Mapping[str, Outcomes], analysis: Analysis
) -> dict[str, Any]:
    """A simulated day: the arms' counts of that day, and the comparisons over all days until then."""
    return {
        "day": number,
        "arms": {result.name: _arm_day(number, result, outcomes[result.name]) for result in arms},
        "comparisons": [_look(look) for look in analysis.days if look.day == number],
    }


def _arm_day(number: int, result: ArmResult, outcomes: Outcomes) -> dict[str, Any]:
    rows = outcomes.day == number
    impressions, acquisitions = int(outcomes.impressions[rows].sum()), int(outcomes.acquisitions[rows].sum())
    quality = result.served.get(number)
    return {
        "users": int(rows.sum()),
        "impressions": impressions,
        "acquisitions": acquisitions,
        "acquisition_rate": _ratio(acquisitions, impressions),
        "expected_rate": _ratio(float(outcomes.expected[rows].sum()), impressions),
        "quality": None
        if quality is None
        else {k: _plain(v) for k, v in dataclasses.asdict(quality).items()},
    }


def _look(look: Look) -> dict[str, Any]:
    return {
        "arm": look.arm,
        "control": look.control,
        "lift": look.lift,
        "always_valid_p": look.always_valid_p,
        "always_valid_ci": _plain(look.always_valid_lift_ci),
        "always_valid_look_ci": _plain(look.always_valid_look_lift_ci),
    }


def health(
    analysis: Analysis,
    balance: Analysis,
    assigned: Mapping[str, int],
    gate: Sequence[GateEntry],
) -> dict[str, Any]:
    """What to look at before the lifts.

    Args:
        analysis: of the experiment. balance: the same comparisons in the pre-period, where no arm differs.
        assigned: users of each arm, who came or not. gate: all verdicts.
    """
    observed = {name: found.users for name, found in analysis.arms.items()}
    ratio = srm.arrivals(observed, assigned)
    worst = min((c.p_value for c in balance.comparisons if c.p_value is not None), default=None)
    p_value = None if worst is None else min(1.0, worst * len(balance.comparisons))
    return {
        "srm": {"observed": observed, **dataclasses.asdict(ratio)},
        "pre_period": {"p_value": p_value, "alarm": p_value is not None and p_value < srm.ALARM},
        "gate_refusals": sum(not entry.verdict.accepted for entry in gate),
    }


def verdict(entry: GateEntry) -> dict[str, Any]:
    """A verdict of the gate; its warnings may be of the clock and stay out."""
    found = {name: _plain(v) for name, v in dataclasses.asdict(entry.verdict).items() if name != "warnings"}
    return {"day": entry.day, "arm": entry.arm, **found}


def _expected_lift(arm: Outcomes, control: Outcomes) -> float | None:
    ours = _ratio(float(arm.expected.sum()), int(arm.impressions.sum()))
    theirs = _ratio(float(control.expected.sum()), int(control.impressions.sum()))
    return None if ours is None or not theirs else ours / theirs - 1.0


def _detectable(ci: tuple[float, float] | None, c: Comparison) -> float | None:
    """The lift that a run like this one finds with 80% power at its level."""
    if ci is None or not c.method.q:
        return None
    se = (math.log1p(ci[1]) - math.log1p(ci[0])) / (2 * c.method.q)
    return float(power.minimum_detectable(se, alpha=c.method.alpha))


def _ratio(top: float, bottom: float) -> float | None:
    return top / bottom if bottom else None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
