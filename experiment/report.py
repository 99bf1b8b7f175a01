"""The answer of a run: which arm acquires more, by how much, how sure; as the document of report.json.

Everything in the document is a function of configuration and seed, but for `run.clock`. Undefined is None,
and each comparison has a status. `experiment.report_text` renders it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiment.config import Config
from experiment.outcomes import Outcomes, pre_moments
from experiment.stats import comparison, moments, power, ratio, srm
from experiment.stats.multiplicity import holm
from experiment.stats.results import Analysis, Comparison, Look, Plan
from simulator.schema import Array

if TYPE_CHECKING:
    from experiment.quality import Quality
    from models.gate import Verdict

PRIMARY = "acquisition_rate"

OFFLINE = {
    "offline_auc": "auc",
    "offline_auc_ci": "auc_ci",
    "expected_auc": "expected_auc",
    "gauc": "gauc",
    "ndcg": "ndcg",
    "log_loss": "log_loss",
    "calibration": "calibration",
}
"""Names in the report of what `Quality` measures on the offline holdout."""


@dataclass(frozen=True, slots=True, eq=False)
class ArmResult:
    """What one arm did, as the loop hands it over.

    Attributes:
        name: of the arm.
        assigned: users of its bucket, whether they came or not.
        window: user-days of the experiment, see `Outcomes.of`.
        pre: user-days of the same bucket in the pre-period.
        offline: of its first model on the holdout; None where it has none.
        served: of the scores that it served with, by simulated day.
    """

    name: str
    assigned: int
    window: Mapping[str, Array]
    pre: Mapping[str, Array]
    offline: Quality | None = None
    served: Mapping[int, Quality] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateEntry:
    """The gate's verdict on the model that an arm trained in the night after `day`."""

    day: int
    arm: str
    verdict: Verdict


@dataclass(frozen=True)
class Report:
    """A run's report.

    Attributes:
        document: plain data, as in report.json.
    """

    document: dict[str, Any]

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        """By name, in canonical order."""
        arms: dict[str, dict[str, Any]] = self.document["arms"]
        return arms

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """Each arm against the control, and Wide & Deep against deep."""
        comparisons: list[dict[str, Any]] = self.document["comparisons"]
        return comparisons

    def comparison(self, arm: str, control: str) -> dict[str, Any]:
        """The comparison of two arms. Raises KeyError where they are not compared."""
        for one in self.comparisons:
            if (one["arm"], one["control"]) == (arm, control):
                return one
        raise KeyError(f"comparison: got {arm} against {control}, which this run does not compare")

    def markdown(self) -> str:
        """The text of report.md."""
        from experiment.report_text import markdown

        return markdown(self.document)

    def _repr_markdown_(self) -> str:
        return self.markdown()


def pairs(config: Config) -> list[tuple[str, str]]:
    """(arm, control) of each comparison: all against the control, and Wide & Deep against deep."""
    control = config.experiment.control
    compared = [(arm, control) for arm in config.arms if arm != control]
    if {"wide_deep", "deep"} <= set(config.arms) and control not in ("wide_deep", "deep"):
        compared.append(("wide_deep", "deep"))
    return compared


def analyse(config: Config, arms: Sequence[ArmResult], days: Sequence[int]) -> Analysis:
    """The comparisons on the primary metric over `days`, cumulative, with Holm over them.

    The always-valid boundary is fixed before the first look, by the pre-period's rate and variance.
    """
    looks = {arm.name: Outcomes.of(arm.window, arm.pre).looks(days) for arm in arms}
    return comparison.analyse(
        looks,
        config.experiment.control,
        pairs=pairs(config),
        days=list(days),
        alpha=config.experiment.alpha,
        planned=_planned(config, arms),
    )


def decided(config: Config, analysis: Analysis) -> bool:
    """Whether each arm's always-valid p-value against the control is below alpha."""
    control = config.experiment.control
    p_values = [c.always_valid_p for c in analysis.comparisons if c.control == control]
    return bool(p_values) and all(p is not None and p < config.experiment.alpha for p in p_values)


def build(
    config: Config,
    arms: Sequence[ArmResult],
    days: Sequence[int],
    gate: Sequence[GateEntry],
    clock: Mapping[str, Any],
    stopped: str | None = None,
) -> Report:
    """The report of a run.

    Args:
        config: of the run. arms: results in the order of `config.arms`.
        days: simulated days that were run, from 1.
        gate: all verdicts. clock: wall-clock times, the only ones of the report.
        stopped: why the run ended before its last day, if it did.
    """
    from experiment.report_text import verdict

    analysis = analyse(config, arms, days)
    outcomes = {arm.name: Outcomes.of(arm.window, arm.pre) for arm in arms}
    document: dict[str, Any] = {
        "run": _run(config, days, stopped, clock),
        "verdict": None,
        "arms": {arm.name: _arm(config, arm, outcomes[arm.name], analysis) for arm in arms},
        "comparisons": _comparisons(analysis, outcomes),
        "days": [_day(day, arms, outcomes, analysis) for day in days],
        "health": _health(config, arms, gate, analysis),
        "gate": [_gate(entry) for entry in gate],
    }
    document["verdict"] = verdict(document)
    return Report(document)


def _run(
    config: Config, days: Sequence[int], stopped: str | None, clock: Mapping[str, Any]
) -> dict[str, Any]:
    from importlib.metadata import version

    experiment = config.experiment
    return {
        "preset": config.preset,
        "seed": config.seed,
        "config_hash": config.config_hash(),
        "version": version("storelift"),
        "population": config.users.population,
        "apps": config.world.apps,
        "pre_days": experiment.pre_days,
        "days": experiment.days,
        "days_run": len(days),
        "stopped": stopped,
        "control": experiment.control,
        "training": experiment.training,
        "identical_models": experiment.identical_models,
        "alpha": experiment.alpha,
        "clock": dict(clock),
    }


def _arm(config: Config, arm: ArmResult, outcomes: Outcomes, analysis: Analysis) -> dict[str, Any]:
    found = analysis.arms[arm.name]
    users = int(outcomes.first.sum())
    expected = float(outcomes.expected.sum())
    document: dict[str, Any] = {
        "kind": config.arms[arm.name].kind,
        "share": config.shares()[arm.name],
        "assigned": arm.assigned,
        "users": users,
        "impressions": found.impressions,
        "acquisitions": found.acquisitions,
        "acquisition_rate": found.rate,
        "acquisition_rate_se": found.rate_se,
        "expected_rate": expected / found.impressions if found.impressions else None,
        "new_release_share": _ratio(int(outcomes.new_impressions.sum()), found.impressions),
    }
    for name, measure in OFFLINE.items():
        document[name] = _plain(getattr(arm.offline, measure)) if arm.offline is not None else None
    return document


def _comparisons(analysis: Analysis, outcomes: Mapping[str, Outcomes]) -> list[dict[str, Any]]:
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


def _day(
    day: int, arms: Sequence[ArmResult], outcomes: Mapping[str, Outcomes], analysis: Analysis
) -> dict[str, Any]:
    return {
        "day": day,
        "arms": {arm.name: _arm_day(day, arm, outcomes[arm.name]) for arm in arms},
        "comparisons": [_look(look) for look in analysis.days if look.day == day],
    }


def _arm_day(day: int, arm: ArmResult, outcomes: Outcomes) -> dict[str, Any]:
    rows = outcomes.day == day
    impressions, acquisitions = int(outcomes.impressions[rows].sum()), int(outcomes.acquisitions[rows].sum())
    quality = arm.served.get(day)
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
    }


def _health(
    config: Config, arms: Sequence[ArmResult], gate: Sequence[GateEntry], analysis: Analysis
) -> dict[str, Any]:
    observed = {arm.name: analysis.arms[arm.name].users for arm in arms}
    sample_ratio = srm.sample_ratio(observed, config.shares())
    before = {arm.name: pre_moments(arm.pre) for arm in arms}
    balance = comparison.analyse(before, config.experiment.control, pairs=pairs(config)).comparisons
    worst = min((c.p_value for c in balance if c.p_value is not None), default=None)
    return {
        "srm": {"observed": observed, **dataclasses.asdict(sample_ratio)},
        "pre_period": {
            "p_value": None if worst is None else min(1.0, worst * len(balance)),
            "alarm": worst is not None and worst * len(balance) < srm.ALARM,
        },
        "gate_refusals": sum(not entry.verdict.accepted for entry in gate),
    }


def _gate(entry: GateEntry) -> dict[str, Any]:
    verdict = {name: _plain(v) for name, v in dataclasses.asdict(entry.verdict).items() if name != "warnings"}
    return {"day": entry.day, "arm": entry.arm, **verdict}


def _planned(config: Config, arms: Sequence[ArmResult]) -> Plan | None:
    """The planned squared standard errors: the pre-period's, at the experiment's length and bucket size."""
    merged = moments.merge(pre_moments(arm.pre) for arm in arms)
    rates = ratio.rates(merged)
    rate, v = float(rates.rate), float(rates.v)
    if not (rate > 0 and v > 0):
        return None
    scale = config.experiment.pre_days / config.experiment.days
    users = 2 * sum(arm.assigned for arm in arms) / len(arms)
    return comparison.plan(rate, v * scale, users)


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
