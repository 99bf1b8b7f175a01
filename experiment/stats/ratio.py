"""The acquisition rate, its difference and its lift, by the delta method with users as the units.

Deng, Knoblich & Lu (2018); Kohavi, Tang & Xu (2020), chapter 18; Fieller (1954).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from experiment.stats.moments import PX, PY, Floats, Moments, X, Y

NEGLIGIBLE = 1e-12
"""A variance below this share of its own terms is rounding, and counts as none."""

STATUSES = (
    "no_users",
    "no_impressions",
    "one_user",
    "no_variance",
    "zero_control",
    "zero_treatment",
    "ok",
)
"""What a comparison can be, in order: the first that applies."""

OK = STATUSES.index("ok")


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Rates R = sum x / sum y of cells, any leading shape [...].

    Attributes:
        n: users.
        rate: R; NaN without impressions.
        v: variance of one user's linearised value (x - R y) / mean(y), ddof 1; NaN without impressions or
            with fewer than two users; 0 where it is rounding.
        variance: v / n, the squared standard error of R; NaN as v.
    """

    n: Floats
    rate: Floats
    v: Floats
    variance: Floats

    @property
    def se(self) -> Floats:
        """The standard error of R; NaN as v."""
        return np.sqrt(self.variance)


def rates(moments: Moments, *, pre: bool = False) -> Rates:
    """The rates of the cells, of the pre-period where `pre`."""
    top, bottom = (PX, PY) if pre else (X, Y)
    n, covariance = moments.n, moments.covariance
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = moments.total[..., top] / _positive(moments.total[..., bottom])
        ybar = moments.total[..., bottom] / _positive(n)
        own = covariance[..., top, top] + rate**2 * covariance[..., bottom, bottom]
        v = own - 2 * rate * covariance[..., top, bottom]
        v = np.where(v <= NEGLIGIBLE * own, 0 * v, v) / ybar**2
        return Rates(n, rate, v, v / n)


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Treatment against control, any leading shape [...]; undefined is NaN.

    Attributes:
        control: rates of the control.
        treatment: rates of the treatment.
        status: int8, index into `STATUSES`.
        difference: R_t - R_c; NaN without impressions in either arm.
        variance: squared standard error of the difference, unpooled; NaN with fewer than two users in an arm.
        df: Welch's degrees of freedom; infinite for the z test.
        q: the two-sided quantile of the test, at 1 - alpha / 2.
        p_value: two-sided, of the difference over its standard error; NaN without variance.
        lift: R_t / R_c - 1; NaN where R_c is 0 or undefined.
        log_variance: squared standard error of log(R_t / R_c); NaN where either rate is 0 or has no variance
            to give (one user), and without variance.
        lift_ci: [..., 2], by the delta method on the logarithm; NaN as log_variance.
        fieller_ci: [..., 2], Fieller's; NaN as log_variance, and where unbounded: R_c^2 <= q^2 se_c^2.
    """

    control: Rates
    treatment: Rates
    status: NDArray[np.int8]
    difference: Floats
    variance: Floats
    df: Floats
    q: Floats
    p_value: Floats
    lift: Floats
    log_variance: Floats
    lift_ci: Floats
    fieller_ci: Floats

    @property
    def se(self) -> Floats:
        """The standard error of the difference."""
        return np.sqrt(self.variance)

    @property
    def log_lift(self) -> Floats:
        """log(R_t / R_c); NaN where log_variance is."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(np.isnan(self.log_variance), np.nan, np.log1p(self.lift))

    @property
    def difference_ci(self) -> Floats:
        """[..., 2], difference -+ q se; NaN without variance."""
        half = np.where(np.isnan(self.p_value), np.nan, self.q * self.se)
        return np.stack([self.difference - half, self.difference + half], axis=-1)


def contrast(control: Moments, treatment: Moments, *, alpha: float = 0.05, use_t: bool = False) -> Contrast:
    """Difference and lift of the treatment's rate against the control's.

    Args:
        control: statistics of the control's users, [...].
        treatment: of the treatment's; shapes broadcast.
        alpha: 1 - alpha is the coverage of the intervals.
        use_t: Welch's t in place of z.
    """
    c, t = rates(control), rates(treatment)
    status = statuses(control, treatment)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = t.rate - c.rate
        variance = c.variance + t.variance
        df, q, p_value = wald(difference, c, t, alpha=alpha, use_t=use_t)
        lift = t.rate / _positive(c.rate) - 1
        log_variance = np.where(status == OK, c.variance / c.rate**2 + t.variance / t.rate**2, np.nan)
    return Contrast(
        control=c,
        treatment=t,
        status=status,
        difference=difference,
        variance=variance,
        df=df,
        q=q,
        p_value=p_value,
        lift=lift,
        log_variance=log_variance,
        lift_ci=log_interval(lift, q * np.sqrt(log_variance)),
        fieller_ci=np.where((status == OK)[..., None], fieller(c, t, q), np.nan),
    )


def statuses(control: Moments, treatment: Moments) -> NDArray[np.int8]:
    """The status of each comparison, as an index into `STATUSES`: the first that applies."""
    c, t = rates(control), rates(treatment)
    conditions = [
        (control.n == 0) | (treatment.n == 0),
        (control.total[..., Y] == 0) | (treatment.total[..., Y] == 0),
        (control.n == 1) | (treatment.n == 1),
        (c.v == 0) & (t.v == 0),
        (c.rate == 0) & (t.n >= 0),
        (t.rate == 0) & (c.n >= 0),
    ]
    return np.select(conditions, list(range(OK)), OK).astype(np.int8)


def wald(
    difference: Floats, control: Rates, treatment: Rates, *, alpha: float, use_t: bool
) -> tuple[Floats, Floats, Floats]:
    """Degrees of freedom, quantile at 1 - alpha / 2 and two-sided p of a difference of two rates.

    Unpooled standard error; z, or Welch's t with the arms' own degrees of freedom (Welch 1947). p is NaN
    without variance.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = control.variance + treatment.variance
        z = np.abs(difference) / np.sqrt(_positive(variance))
        if use_t:
            df = variance**2 / (
                control.variance**2 / (control.n - 1) + treatment.variance**2 / (treatment.n - 1)
            )
            return df, special.stdtrit(df, 1 - alpha / 2), 2 * special.stdtr(df, -z)
        df = np.full(z.shape, np.inf)
        return df, np.full(z.shape, special.ndtri(1 - alpha / 2)), 2 * special.ndtr(-z)


def log_interval(lift: Floats, half: Floats) -> Floats:
    """[..., 2], the interval exp(log(1 + lift) -+ half) - 1 of a lift; NaN where `half` is."""
    with np.errstate(invalid="ignore", divide="ignore"):
        log = np.log1p(lift)
        return np.expm1(np.stack([log - half, log + half], axis=-1))


def fieller(control: Rates, treatment: Rates, q: Floats) -> Floats:
    """[..., 2], Fieller's interval (1954) of the lift of two independent rates; NaN where unbounded."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = treatment.rate / _positive(control.rate)
        g = q**2 * control.variance / control.rate**2
        rest = _positive(1 - g)
        half = q / control.rate * np.sqrt(treatment.variance * rest + ratio**2 * control.variance)
        return np.stack([(ratio - half) / rest - 1, (ratio + half) / rest - 1], axis=-1)


def _positive(values: Floats) -> Floats:
    """The values, NaN where they are not above 0."""
    return np.where(values > 0, values, np.nan)
