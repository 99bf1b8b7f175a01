"""What a run's users did, by arm, day and segment: the statistics behind the pages, from `metrics/user_days`.

The formulas are those of `experiment.stats`; this module only arranges the data for them. Also for runs that
have no report yet: then everything is of the days that are finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard import diaries
from dashboard.diaries import DayFile
from dashboard.metric_list import METRICS, Metric
from dashboard.reading import Run
from experiment.reporting.outcomes import Outcomes
from experiment.stats.moments import Moments
from experiment.stats.multiplicity import benjamini_hochberg
from experiment.stats.ratio import STATUSES, contrast

Array = NDArray[Any]
Columns = Mapping[str, Array]
Source = tuple[DayFile, ...]
"""The files that figures are made of: what is kept of them is kept for these alone."""

COLUMNS = ("user_id", "country", "impressions", "acquisitions", "expected", "new_impressions")


@dataclass(frozen=True, slots=True)
class Effect:
    """An arm against a control on one metric, or in one segment or on one day. Undefined is None.

    Attributes:
        label: of the metric, segment or day. arm, control: names.
        top, bottom: the arm's totals. control_top, control_bottom: the control's.
        rate, control_rate: their ratios. lift, ci: relative. difference, difference_ci: absolute.
        p_value: two-sided. p_adjusted: within its family. status: "ok", or why something is undefined.
        users, control_users: who are behind it.
    """

    label: str
    arm: str
    control: str
    top: float
    bottom: float
    control_top: float
    control_bottom: float
    rate: float | None
    control_rate: float | None
    lift: float | None
    ci: tuple[float, float] | None
    difference: float | None
    difference_ci: tuple[float, float] | None
    p_value: float | None
    p_adjusted: float | None
    status: str
    users: int
    control_users: int


@dataclass(frozen=True, slots=True, eq=False)
class ArmUsers:
    """An arm's user-days in the experiment and before it."""

    window: Columns
    pre: Columns
    outcomes: Outcomes


@lru_cache(maxsize=4)
def _user_days(source: Source) -> dict[str, dict[str, Array]]:
    """Columns by group over all finished days, `day` among them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for one in source:
        try:
            table = pq.read_table(
                one.path, columns=[*COLUMNS, "group", "day"], partitioning=None, read_dictionary=["group"]
            )
        except (OSError, pa.ArrowException):
            continue
        tables.append(table)
    if not tables:
        return {}
    whole = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    group = whole.column("group").combine_chunks()
    codes = group.indices.to_numpy()
    columns = {name: whole.column(name).to_numpy() for name in (*COLUMNS, "day")}
    names = group.dictionary.to_pylist()
    return {
        name: {column: values[codes == code] for column, values in columns.items()}
        for code, name in enumerate(names)
    }


@lru_cache(maxsize=4)
def groups(source: Source) -> dict[str, ArmUsers]:
    """All groups with user-days, production among them."""
    found = {}
    for name, columns in _user_days(source).items():
        during = columns["day"] > 0
        window = {column: values[during] for column, values in columns.items()}
        pre = {column: values[~during] for column, values in columns.items()}
        found[name] = ArmUsers(window, pre, Outcomes.of(window, pre))
    return found


def source(run: Run) -> Source:
    """The run's files of user-days that are as they were written."""
    return diaries.days_of(run.key, "user_days", "parquet")


def arms(run: Run) -> dict[str, ArmUsers]:
    """The run's arms with user-days, in the run's order; empty before the first day is finished."""
    found = groups(source(run))
    return {arm: found[arm] for arm in run.arms if arm in found}


def days(run: Run) -> list[int]:
    """The finished days of the experiment."""
    return run.key.days


def outcomes(of: Source, arm: str) -> Outcomes:
    """The arm's user-days, with each user's counts before the experiment."""
    return groups(of)[arm].outcomes


def cell(of: Source, arm: str, metric: Metric) -> Moments:
    """The arm's statistics of a metric over the whole window."""
    columns = totals(of, arm)
    return Moments.from_users(columns[metric.top], columns[metric.bottom])


@lru_cache(maxsize=64)
def totals(of: Source, arm: str) -> dict[str, Array]:
    """Totals per user of the arm over the window."""
    seen = outcomes(of, arm)
    index = np.cumsum(seen.first) - 1
    count = int(seen.first.sum())

    def summed(values: Array) -> Array:
        return np.bincount(index, values, count) if count else np.zeros(0)

    acquisitions = summed(seen.acquisitions)
    first = seen.first
    return {
        "users": np.ones(count),
        "impressions": summed(seen.impressions),
        "acquisitions": acquisitions,
        "expected": summed(seen.expected),
        "new_impressions": summed(seen.new_impressions),
        "acquirers": (acquisitions > 0).astype(np.float64),
        "country": seen.country[first],
        "pre_impressions": seen.pre_impressions[first],
    }


def effects(
    run: Run, pairs: Sequence[tuple[str, str]], alpha: float, control: str
) -> dict[str, list[Effect]]:
    """Each metric's effects, by its key.

    Benjamini-Hochberg over the secondary ones against `control`, as in the report; others have no adjusted p.
    """
    known = arms(run)
    usable = tuple(pair for pair in pairs if set(pair) <= set(known))
    return _effects(source(run), usable, alpha, control)


@lru_cache(maxsize=64)
def _effects(
    of: Source, pairs: tuple[tuple[str, str], ...], alpha: float, control: str
) -> dict[str, list[Effect]]:
    found = {}
    for metric in METRICS:
        cells = {arm: cell(of, arm, metric) for arm in {name for pair in pairs for name in pair}}
        found[metric.key] = [
            effect(metric.name, arm, base, cells[base], cells[arm], alpha) for arm, base in pairs
        ]
    secondary = [metric.key for metric in METRICS if metric.role == "secondary"]
    family = [one for key in secondary for one in found[key] if one.control == control]
    adjusted = dict(zip(family, false_discovery(family), strict=True))
    for key in secondary:
        found[key] = [with_p(one, adjusted.get(one)) for one in found[key]]
    return found


def exposures(run: Run) -> dict[str, list[int]]:
    """By arm, the users seen up to each finished day."""
    found = {}
    for arm, users in arms(run).items():
        first = users.outcomes.day[users.outcomes.first]
        found[arm] = [int((first <= day).sum()) for day in days(run)]
    return found


def effect(label: str, arm: str, base: str, control: Moments, treatment: Moments, alpha: float) -> Effect:
    """The effect between two cells, by the delta method over users."""
    found = contrast(control, treatment, alpha=alpha)
    return Effect(
        label=label,
        arm=arm,
        control=base,
        top=float(treatment.total[..., 0]),
        bottom=float(treatment.total[..., 1]),
        control_top=float(control.total[..., 0]),
        control_bottom=float(control.total[..., 1]),
        rate=_number(found.treatment.rate),
        control_rate=_number(found.control.rate),
        lift=_number(found.lift),
        ci=_interval(found.lift_ci),
        difference=_number(found.difference),
        difference_ci=_interval(found.difference_ci),
        p_value=_number(found.p_value),
        p_adjusted=None,
        status=STATUSES[int(found.status)],
        users=round(float(treatment.n)),
        control_users=round(float(control.n)),
    )


@dataclass(frozen=True, slots=True)
class Guarded:
    """A guardrail's test for non-inferiority.

    Attributes:
        margin: relative loss that would be too much. bound: the worst relative change that is not excluded.
        p_value: one-sided, of a loss of the margin or more. passed: whether that is excluded.
    """

    margin: float
    bound: float | None
    p_value: float | None
    passed: bool


def guarded(run: Run, metric: Metric, one: Effect, alpha: float) -> Guarded | None:
    """Whether a guardrail's margin holds; None for a metric that is none."""
    from experiment.stats.guardrail import guardrail

    if metric.margin is None:
        return None
    cells = [cell(source(run), name, metric) for name in (one.control, one.arm)]
    found = guardrail(*cells, margin=metric.margin, alpha=alpha)
    return Guarded(metric.margin, _number(found.bound), _number(found.p_value), bool(found.passed))


def with_p(one: Effect, p: float | None) -> Effect:
    """The effect with its p-value adjusted within a family."""
    return replace(one, p_adjusted=p)


def false_discovery(family: Sequence[Effect]) -> list[float | None]:
    """Benjamini-Hochberg over a family of effects."""
    if not family:
        return []
    p_values = [np.nan if one.p_value is None else one.p_value for one in family]
    return [_number(p) for p in benjamini_hochberg(p_values)]


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def _interval(ends: Array) -> tuple[float, float] | None:
    low, high = float(ends[..., 0]), float(ends[..., 1])
    return (low, high) if np.isfinite(low) and np.isfinite(high) else None
