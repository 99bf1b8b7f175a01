"""CUPED on a ratio metric: the pre-period's rate taken out of the difference.

Deng, Xu, Kohavi & Walker (2013), on the values linearised by the delta method (Deng, Knoblich & Lu 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiment.stats.moments import PX, PY, Floats, Moments, X, Y
from experiment.stats.ratio import NEGLIGIBLE, OK, Contrast, Rates, contrast, log_interval, rates, wald


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """The adjusted comparison, any leading shape [...]; undefined is NaN.

    All is NaN where an arm has no pre-period impressions or fewer than two users, or where the pre-period
    rate has no variance in either arm.

    Attributes:
        theta: slope of the window's linearised value on the pre-period's, over both arms.
        control: the control's adjusted rate R_c - theta (R'_c - R'), R' of the pair pooled, with the variance
            of e - theta e'.
        treatment: the treatment's, likewise.
        difference: (R_t - R_c) - theta (R'_t - R'_c).
        variance: its squared standard error.
        df: Welch's degrees of freedom; infinite for the z test.
        q: the two-sided quantile.
        p_value: two-sided; NaN without variance.
        lift: difference over the control's adjusted rate; NaN where that, or a rate, is not above 0 (a
            treatment rate of 0 leaves it).
        log_variance: squared standard error of the logarithm of the adjusted rates' ratio; NaN where the
            comparison's status is not ok or an adjusted rate is not above 0.
        lift_ci: [..., 2], by the delta method on the logarithm; NaN as log_variance.
        variance_ratio: (adjusted standard error / unadjusted)^2; NaN without variance.
    """

    theta: Floats
    control: Rates
    treatment: Rates
    difference: Floats
    variance: Floats
    df: Floats
    q: Floats
    p_value: Floats
    lift: Floats
    log_variance: Floats
    lift_ci: Floats
    variance_ratio: Floats

    @property
    def se(self) -> Floats:
        """The standard error of the adjusted difference."""
        return np.sqrt(self.variance)


def adjust(
    control: Moments,
    treatment: Moments,
    *,
    alpha: float = 0.05,
    use_t: bool = False,
    plain: Contrast | None = None,
) -> Adjusted:
    """The comparison adjusted for the pre-period; both arms need its columns (K = 4).

    `plain` is the unadjusted contrast of the same arms, where the caller has it. Raises ValueError without
    the pre-period's columns.
    """
    if not (control.has_pre and treatment.has_pre):
        raise ValueError("pre-period: got none, columns px and py are needed in both arms")
    plain = plain or contrast(control, treatment, alpha=alpha, use_t=use_t)
    before_c, before_t = rates(control, pre=True), rates(treatment, pre=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        cross_c, cross_t = _cross(control), _cross(treatment)
        spread = before_c.v + before_t.v
        theta = (cross_c + cross_t) / np.where(spread > 0, spread, np.nan)
        total = control.total + treatment.total
        pooled = total[..., PX] / total[..., PY]
        c = _shifted(plain.control, before_c, cross_c, theta, pooled)
        t = _shifted(plain.treatment, before_t, cross_t, theta, pooled)
        difference = plain.difference - theta * (before_t.rate - before_c.rate)
        df, q, p_value = wald(difference, c, t, alpha=alpha, use_t=use_t)
        variance = c.variance + t.variance
        lift = np.where((c.rate > 0) & (plain.control.rate > 0), difference / c.rate, np.nan)
        fine = (plain.status == OK) & (c.rate > 0) & (t.rate > 0) & (variance > 0)
        log_variance = np.where(fine, c.variance / c.rate**2 + t.variance / t.rate**2, np.nan)
        ratio = variance / np.where(plain.variance > 0, plain.variance, np.nan)
    return Adjusted(
        theta=theta,
        control=c,
        treatment=t,
        difference=difference,
        variance=variance,
        df=df,
        q=q,
        p_value=p_value,
        lift=lift,
        log_variance=log_variance,
        lift_ci=log_interval(np.where(fine, lift, np.nan), q * np.sqrt(log_variance)),
        variance_ratio=ratio,
    )


def _cross(moments: Moments) -> Floats:
    """Covariance of a user's linearised values in the window and before it, [...]."""
    now, before = rates(moments).rate, rates(moments, pre=True).rate
    s, mean = moments.covariance, moments.mean
    cross = s[..., X, PX] - before * s[..., X, PY] - now * s[..., Y, PX] + now * before * s[..., Y, PY]
    return np.asarray(cross / (mean[..., Y] * mean[..., PY]), dtype=np.float64)


def _shifted(now: Rates, before: Rates, cross: Floats, theta: Floats, pooled: Floats) -> Rates:
    """The arm's adjusted rate, with the variance of e - theta e'."""
    own = now.v + theta**2 * before.v
    v = own - 2 * theta * cross
    v = np.where(v <= NEGLIGIBLE * own, 0 * v, v)
    return Rates(now.n, now.rate - theta * (before.rate - pooled), v, v / now.n)
