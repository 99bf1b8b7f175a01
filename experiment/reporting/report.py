"""The answer of a run: which arm acquires more, by how much, how sure; as the document of report.json.

Everything in the document is a function of configuration and seed, but for `run.clock`. Undefined is None,
and each comparison has a status. `experiment.reporting.text` renders it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiment.config import Config
from experiment.reporting import metrics, sections
from experiment.reporting.outcomes import Outcomes, pre_moments
from experiment.results import ArmResult, GateEntry
from experiment.stats import comparison, moments, ratio
from experiment.stats.forecast import Forecast
from experiment.stats.results import Analysis, Plan

__all__ = ["ArmResult", "GateEntry", "Report", "analyse", "build", "decided", "pairs"]


FORMAT = 1
"""Version of report.json."""


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
        from experiment.reporting.text import markdown

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
    """Whether each arm's always-valid p-value against the control, after Holm, is below alpha."""
    control = config.experiment.control
    p_values = [c.always_valid_p_holm for c in analysis.comparisons if c.control == control]
    return bool(p_values) and all(p is not None and p < config.experiment.alpha for p in p_values)


def build(
    config: Config,
    arms: Sequence[ArmResult],
    days: Sequence[int],
    gate: Sequence[GateEntry],
    clock: Mapping[str, Any],
    stopped: str | None = None,
    foreseen: Forecast | None = None,
) -> Report:
    """The report of a run.

    Args:
        config: of the run. arms: results in the order of `config.arms`.
        days: simulated days that were run, from 1.
        gate: all verdicts. clock: wall-clock times, the only ones of the report.
        stopped: why the run ended before its last day, if it did.
        foreseen: before day 1, of what the run would be able to see.
    """
    from experiment.reporting.text import verdict

    analysis = analyse(config, arms, days)
    outcomes = {arm.name: Outcomes.of(arm.window, arm.pre) for arm in arms}
    before = {arm.name: pre_moments(arm.pre) for arm in arms}
    balance = comparison.analyse(before, config.experiment.control, pairs=pairs(config))
    document: dict[str, Any] = {
        "format": FORMAT,
        "run": _run(config, days, stopped, clock),
        "foreseen": None if foreseen is None else dataclasses.asdict(foreseen),
        "verdict": None,
        "arms": {arm.name: sections.arm(config, arm, outcomes[arm.name], analysis) for arm in arms},
        "comparisons": sections.comparisons(analysis, outcomes),
        "secondary": metrics.secondary(config, outcomes),
        "guardrails": metrics.guardrails(config, outcomes),
        "days": [sections.day(number, arms, outcomes, analysis) for number in days],
        "health": sections.health(analysis, balance, {arm.name: arm.assigned for arm in arms}, gate),
        "gate": [sections.verdict(entry) for entry in gate],
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
