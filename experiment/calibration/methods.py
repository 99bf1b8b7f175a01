"""What each method says of thousands of drawn experiments at once, the right ones and the naive ones.

The statistics are those of `experiment.stats`, on moments with the experiments as their leading shape. The
naive methods are here to be seen failing: impressions taken for the unit, the fixed-horizon test read every
day, the interval of the difference divided by the control's rate.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import special

from experiment.stats.cuped import adjust
from experiment.stats.moments import Floats, Moments, X, Y
from experiment.stats.ratio import Contrast, contrast, log_interval
from experiment.stats.results import Plan
from experiment.stats.sequential import always_valid, mixing_variance, running
from simulator.schema import Array

RIGHT = ("z", "welch_t", "fieller", "cuped", "always_valid", "always_valid_running")
NAIVE = ("naive_impressions", "naive_peeking", "naive_scaled")
METHODS = (*RIGHT, *NAIVE)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """R experiments of one pair: control and treatment.

    Attributes:
        control, treatment: statistics [R, D], looks accumulating.
        control_last, treatment_last: [R], of the whole window, with the pre-period.
        truth: float64[D], the lift of the outcomes that were drawn from, up to each look.
    """

    control: Moments
    treatment: Moments
    control_last: Moments
    treatment_last: Moments
    truth: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one method says of R experiments. All arrays are [R]; undefined is NaN, and rejects nothing.

    Attributes:
        estimate: of the lift.
        lower, upper: ends of its interval.
        truth: the lift that the interval should hold.
        rejected: bool, whether the method calls the effect other than 0.
        covered: bool, whether the interval holds the truth; false where there is none.
        p_value: NaN for a method without one.
    """

    estimate: Floats
    lower: Floats
    upper: Floats
    truth: Floats
    rejected: Array
    covered: Array
    p_value: Floats


def answers(drawn: Drawn, planned: Plan, alpha: float) -> dict[str, Answers]:
    """Every method's answers, by the names of `METHODS`.

    Args:
        drawn: the experiments. planned: fixes the always-valid boundary. alpha: of tests and intervals.
    """
    looks = contrast(drawn.control, drawn.treatment, alpha=alpha)
    welch = contrast(drawn.control_last, drawn.treatment_last, alpha=alpha, use_t=True)
    cuped = adjust(drawn.control_last, drawn.treatment_last, alpha=alpha)
    truth, lift = drawn.truth[-1], looks.lift[:, -1]
    fieller = looks.fieller_ci[:, -1]
    return {
        "z": _answers(lift, looks.lift_ci[:, -1], truth, looks.p_value[:, -1], alpha),
        "welch_t": _answers(lift, welch.lift_ci, truth, welch.p_value, alpha),
        "fieller": _by_interval(lift, fieller, truth),
        "cuped": _answers(cuped.lift, cuped.lift_ci, truth, cuped.p_value, alpha),
        **_always_valid(looks, drawn.truth, planned, alpha),
        "naive_impressions": _by_impressions(drawn, lift, truth, alpha),
        "naive_peeking": _peeking(looks, drawn.truth, alpha),
        "naive_scaled": _scaled(looks, truth, alpha),
    }


def _answers(estimate: Floats, ci: Floats, truth: float | Floats, p_value: Floats, alpha: float) -> Answers:
    with np.errstate(invalid="ignore"):
        rejected, covered = p_value < alpha, (ci[:, 0] <= truth) & (truth <= ci[:, 1])
    truths = np.broadcast_to(np.asarray(truth, np.float64), estimate.shape)
    return Answers(estimate, ci[:, 0], ci[:, 1], truths, rejected, covered, p_value)


def _by_interval(estimate: Floats, ci: Floats, truth: float | Floats) -> Answers:
    """A method that is an interval: it rejects what lies outside, and knows no p."""
    none = np.full(estimate.shape, np.nan)
    said = _answers(estimate, ci, truth, none, 0.0)
    with np.errstate(invalid="ignore"):
        outside = (ci[:, 0] > 0) | (ci[:, 1] < 0)
    return dataclasses.replace(said, rejected=outside)


def _always_valid(looks: Contrast, truth: Floats, planned: Plan, alpha: float) -> dict[str, Answers]:
    """Read after every look: by itself, and as reports show it, intersected over the looks.

    By itself each look's interval should hold the lift up to that look, all of them at once; a look without
    variance says nothing, so it cannot be wrong. The intersection is held against the lift at the end.
    """
    of_difference = always_valid(
        looks.difference, looks.variance, mixing_variance(planned.difference, alpha), alpha=alpha
    )
    tau2 = mixing_variance(planned.log_lift, alpha)
    of_lift = always_valid(looks.log_lift, looks.log_variance, tau2, alpha=alpha)
    p_value, lift = running(of_difference).p_value[:, -1], looks.lift[:, -1]
    ci = np.expm1(of_lift.ci)
    with np.errstate(invalid="ignore"):
        missed = ((truth < ci[..., 0]) | (ci[..., 1] < truth)).any(axis=1)
    each = _answers(lift, ci[:, -1], truth[-1], p_value, alpha)
    covered = ~missed & ~np.isnan(each.lower)
    shown = np.expm1(running(of_lift).ci[:, -1])
    return {
        "always_valid": dataclasses.replace(each, covered=covered),
        "always_valid_running": _answers(lift, shown, truth[-1], p_value, alpha),
    }


def _by_impressions(drawn: Drawn, lift: Floats, truth: float, alpha: float) -> Answers:
    """The two-proportion z test, pooled, and Katz's interval of their ratio, as if impressions were units."""
    xc, yc = (drawn.control_last.total[:, column] for column in (X, Y))
    xt, yt = (drawn.treatment_last.total[:, column] for column in (X, Y))
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (xc + xt) / (yc + yt)
        z = np.abs(xt / yt - xc / yc) / np.sqrt(pooled * (1 - pooled) * (1 / yc + 1 / yt))
        se = np.sqrt(1 / xt - 1 / yt + 1 / xc - 1 / yc)
    ci = log_interval(lift, special.ndtri(1 - alpha / 2) * se)
    return _answers(lift, ci, truth, 2 * special.ndtr(-z), alpha)


def _peeking(looks: Contrast, truth: Floats, alpha: float) -> Answers:
    """The fixed-horizon test read after every look, and stopped at the first p below alpha."""
    with np.errstate(invalid="ignore"):
        significant = looks.p_value < alpha
    last = looks.p_value.shape[1] - 1
    at = np.where(significant.any(axis=1), significant.argmax(axis=1), last)
    rows = np.arange(len(at))
    lowest = np.fmin.reduce(looks.p_value, axis=1)
    return _answers(looks.lift[rows, at], looks.lift_ci[rows, at], truth[at], lowest, alpha)


def _scaled(looks: Contrast, truth: float, alpha: float) -> Answers:
    """The interval of the difference over the control's rate, as if that were known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ci = looks.difference_ci[:, -1] / looks.control.rate[:, -1, None]
    return _answers(looks.lift[:, -1], ci, truth, looks.p_value[:, -1], alpha)
