"""Arms against the control: every number of one comparison, and of a family of them.

The results are plain immutable records with None for what is undefined (`results`); the formulas are in the
modules beside this one and work on arrays of any shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiment.stats.bayes import posterior
from experiment.stats.cuped import adjust
from experiment.stats.moments import Floats, Moments, X, Y
from experiment.stats.multiplicity import benjamini_hochberg, holm
from experiment.stats.ratio import OK, STATUSES, Contrast, contrast, rates
from experiment.stats.results import (
    Analysis,
    Arm,
    Bayes,
    Comparison,
    Cuped,
    Day,
    Interval,
    Look,
    Method,
    Plan,
)
from experiment.stats.sequential import FEWEST, always_valid, mixing_variance, running
from experiment.stats.sequential import Sequence as Always


def plan(rate: float, v: float, users: float) -> Plan:
    """The plan for a pair of `users` together, halved between two arms with `rate` and user variance `v`."""
    return Plan(difference=4 * v / users, log_lift=4 * v / users / rate**2)


def compare(
    control: Moments,
    treatment: Moments,
    *,
    alpha: float = 0.05,
    planned_users: float | None = None,
    use_t: bool = False,
    planned: Plan | None = None,
    names: tuple[str, str] = ("treatment", "control"),
) -> Comparison:
    """Every number of one comparison.

    Args:
        control: statistics of the control's users: one cell, or looks [days], cumulative.
        treatment: of the treatment's, of the same shape.
        alpha: 1 - alpha is the coverage of the intervals.
        planned_users: N*, users of the pair for which the always-valid boundary is narrowest;
            by default those seen at the last look.
        use_t: Welch's t in place of z.
        planned: V*, in place of planned_users, where it is known before the looks.
        names: of the treatment and of the control.

    Raises:
        ValueError: for planned_users not above 0, alpha outside (0, 1) or cells of more than one axis.
    """
    return _compared(control, treatment, None, alpha, planned_users, planned, names, use_t=use_t)[0]


def analyse(
    arms: Mapping[str, Moments],
    control: str,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    days: Sequence[Day] | None = None,
    alpha: float = 0.05,
    planned_users: float | None = None,
    use_t: bool = False,
    planned: Plan | None = None,
) -> Analysis:
    """All arms against the control, with Holm over the family.

    Args:
        arms: statistics by name: one cell each, or with `days` looks [days] that accumulate.
        control: name of the control.
        pairs: (arm, control) of each comparison; by default every other arm against the control.
        days: labels of the looks.
        alpha: see `compare`.
        planned_users: see `compare`.
        use_t: see `compare`.
        planned: see `compare`.

    Raises:
        ValueError: for a name that is not an arm, and as `compare`.
    """
    family = [(arm, control) for arm in arms if arm != control] if pairs is None else list(pairs)
    for name in [control, *(name for pair in family for name in pair)]:
        if name not in arms:
            raise ValueError(f"arm: got {name!r}, one of {', '.join(arms)} is allowed")
    pairs_done = [
        _compared(arms[base], arms[arm], days, alpha, planned_users, planned, (arm, base), use_t=use_t)
        for arm, base in family
    ]
    comparisons = _with_holm([comparison for comparison, _ in pairs_done])
    by_day = [look for looks in zip(*(looks for _, looks in pairs_done), strict=True) for look in looks]
    last = {name: cells[-1] if cells.shape else cells for name, cells in arms.items()}
    return Analysis({name: summary(cell) for name, cell in last.items()}, comparisons, tuple(by_day))


def summary(cell: Moments) -> Arm:
    """The arm's totals and rate, of one cell."""
    rate = rates(cell)
    return Arm(
        users=round(float(cell.n)),
        impressions=round(float(cell.total[Y])),
        acquisitions=round(float(cell.total[X])),
        rate=_number(rate.rate),
        rate_se=_number(rate.se),
    )


def false_discovery(comparisons: Sequence[Comparison]) -> list[float | None]:
    """Benjamini-Hochberg over the family of all `comparisons`: secondary metrics, or segments."""
    return [_number(p) for p in benjamini_hochberg(_p_values(comparisons))]


def _with_holm(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    fixed, always = (
        holm(_p_values(comparisons, name)) if comparisons else () for name in ("p_value", "always_valid_p")
    )
    return tuple(
        replace(c, p_holm=_number(p), always_valid_p_holm=_number(q))
        for c, p, q in zip(comparisons, fixed, always, strict=True)
    )


def _p_values(comparisons: Sequence[Comparison], name: str = "p_value") -> Floats:
    found = [getattr(c, name) for c in comparisons]
    return np.array([np.nan if p is None else p for p in found], dtype=np.float64)


def _compared(
    control: Moments,
    treatment: Moments,
    days: Sequence[Day] | None,
    alpha: float,
    planned_users: float | None,
    planned: Plan | None,
    names: tuple[str, str],
    *,
    use_t: bool,
) -> tuple[Comparison, list[Look]]:
    _check(control, treatment, days, alpha, planned_users)
    if not control.shape:
        control, treatment = control[None], treatment[None]
    looks = contrast(control, treatment, alpha=alpha, use_t=use_t)
    if planned is None:
        users = float(control.n[-1] + treatment.n[-1])
        planned_users = users if planned_users is None else planned_users
        share = users / planned_users if planned_users else np.nan
        planned = Plan(share * float(looks.variance[-1]), share * float(looks.log_variance[-1]))
    else:
        planned_users = None
    enough = (np.minimum(control.n, treatment.n) >= FEWEST) | (control.shape == (1,))
    own_difference = _always(looks.difference, looks.variance, enough, planned.difference, alpha)
    own_lift = _always(looks.log_lift, looks.log_variance, enough, planned.log_lift, alpha)
    of_difference, of_lift = running(own_difference), running(own_lift)
    by_day = [
        Look(
            day=day,
            arm=names[0],
            control=names[1],
            difference=_number(looks.difference[i]),
            difference_se=_number(looks.se[i]),
            always_valid_p=_number(of_difference.p_value[i]),
            always_valid_ci=_interval(of_difference.ci[i]),
            lift=_number(looks.lift[i]),
            always_valid_lift_ci=_interval(np.expm1(of_lift.ci[i])),
            always_valid_look_ci=_interval(own_difference.ci[i]),
            always_valid_look_lift_ci=_interval(np.expm1(own_lift.ci[i])),
        )
        for i, day in enumerate(days or ())
    ]
    comparison = Comparison(
        arm=names[0],
        control=names[1],
        difference=_number(looks.difference[-1]),
        difference_se=_number(looks.se[-1]),
        p_value=_number(looks.p_value[-1]),
        lift=_number(looks.lift[-1]),
        lift_ci=_interval(looks.lift_ci[-1]),
        lift_fieller_ci=_interval(looks.fieller_ci[-1]),
        p_holm=None,
        always_valid_p=_number(of_difference.p_value[-1]),
        always_valid_ci=_interval(of_difference.ci[-1]),
        always_valid_lift_ci=_interval(np.expm1(of_lift.ci[-1])),
        always_valid_look_ci=_interval(own_difference.ci[-1]),
        always_valid_look_lift_ci=_interval(np.expm1(own_lift.ci[-1])),
        always_valid_p_holm=None,
        cuped=_cuped(control[-1], treatment[-1], alpha, use_t=use_t),
        status=STATUSES[int(looks.status[-1])],
        bayes=_bayes(looks),
        method=Method(
            name=f"ratio of totals, delta method over users, unpooled, {'Welch t' if use_t else 'z'}",
            n_control=round(float(control.n[-1])),
            n_treatment=round(float(treatment.n[-1])),
            df=_number(looks.df[-1]) if use_t else None,
            q=_number(looks.q[-1]),
            alpha=alpha,
            planned_users=planned_users,
        ),
    )
    return comparison, by_day


def _check(
    control: Moments,
    treatment: Moments,
    days: Sequence[Day] | None,
    alpha: float,
    planned_users: float | None,
) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha}, numbers above 0 and below 1 are allowed")
    if planned_users is not None and not (planned_users > 0 and np.isfinite(planned_users)):
        raise ValueError(f"planned_users: got {planned_users}, finite numbers above 0 are allowed")
    if control.shape != treatment.shape or len(control.shape) > 1:
        raise ValueError(
            f"shapes: got {control.shape} and {treatment.shape}, one cell or equal looks are allowed"
        )
    if days is not None and control.shape != (len(days),):
        raise ValueError(f"days: got {len(days)} for looks of shape {control.shape}, one per look is allowed")


def _always(
    estimate: Floats, variance: Floats, enough: NDArray[np.bool_], planned: float, alpha: float
) -> Always:
    spread = np.where(enough, variance, np.nan)
    return always_valid(estimate, spread, mixing_variance(planned, alpha), alpha=alpha)


def _cuped(control: Moments, treatment: Moments, alpha: float, *, use_t: bool) -> Cuped | None:
    if not (control.has_pre and treatment.has_pre):
        return None
    a = adjust(control, treatment, alpha=alpha, use_t=use_t)
    return Cuped(
        theta=_number(a.theta),
        difference=_number(a.difference),
        difference_se=_number(a.se),
        lift=_number(a.lift),
        lift_ci=_interval(a.lift_ci),
        p_value=_number(a.p_value),
        variance_ratio=_number(a.variance_ratio),
        control_rate=_number(a.control.rate),
        treatment_rate=_number(a.treatment.rate),
    )


def _bayes(looks: Contrast) -> Bayes | None:
    """Of the difference in units of the control's rate: the chance to win is then that of the z test."""
    rate = looks.control.rate[-1]
    view = posterior(looks.lift[-1], np.where(looks.status[-1] == OK, looks.se[-1] / rate, np.nan))
    if np.isnan(view.sd):
        return None
    return Bayes(float(view.mean), float(view.sd), float(view.chance_to_win), float(view.expected_loss))


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def _interval(ends: Floats) -> Interval | None:
    lower, upper = float(ends[0]), float(ends[1])
    return (lower, upper) if np.isfinite(lower) and np.isfinite(upper) else None
