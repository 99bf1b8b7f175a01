"""Before a run, what it can see; during it, how long it still takes.

Power of the two-sided z test of a difference d with standard error se is Phi(d/se - z) + Phi(-d/se - z), with
the ratio metric's own standard error (Kohavi, Tang & Xu 2020, chapter 17).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from experiment.stats.moments import Floats


def power(difference: ArrayLike, se: ArrayLike, *, alpha: float = 0.05) -> Floats:
    """Chance to reject at `alpha` under a true `difference` with standard error `se`, [...]; NaN for se 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.asarray(se, dtype=np.float64)
        distance = np.asarray(difference, dtype=np.float64) / np.where(scale > 0, scale, np.nan)
    z = special.ndtri(1 - alpha / 2)
    return np.asarray(special.ndtr(distance - z) + special.ndtr(-distance - z))


def distance(target: float = 0.8, *, alpha: float = 0.05) -> float:
    """The d / se at which the power is `target`; 2.80 for 80% at 5%.

    Raises ValueError unless alpha < target < 1.
    """
    from scipy.optimize import brentq

    if not 0 < alpha < target < 1:
        raise ValueError(
            f"power: got {target} at alpha {alpha}, numbers with 0 < alpha < power < 1 are allowed"
        )
    top = float(special.ndtri(1 - alpha / 2) + special.ndtri(target)) + 1
    return float(brentq(lambda d: float(power(d, 1.0, alpha=alpha)) - target, 0, top, xtol=1e-13))


def minimum_detectable(se: ArrayLike, *, target: float = 0.8, alpha: float = 0.05) -> Floats:
    """The true difference, in units of `se`'s metric, that is found with power `target`; [...] as `se`."""
    return np.asarray(distance(target, alpha=alpha) * np.asarray(se, dtype=np.float64))


def users_needed(
    difference: float, v: float, *, target: float = 0.8, alpha: float = 0.05, ratio: float = 1.0
) -> int:
    """Users of the control that give power `target` for a true `difference` of rates.

    Args:
        difference: not 0, in the metric's units.
        v: variance of one user's linearised value, taken as equal in both arms (`Rates.v`, `user_variance`).
        target: the power.
        alpha: level of the two-sided test.
        ratio: users of the treatment per user of the control.

    Raises:
        ValueError: for a difference of 0, v not above 0 or a ratio not above 0.
    """
    if difference == 0 or not math.isfinite(difference):
        raise ValueError(f"difference: got {difference}, finite numbers other than 0 are allowed")
    for name, value in (("v", v), ("ratio", ratio)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}: got {value}, finite numbers above 0 are allowed")
    need = distance(target, alpha=alpha) ** 2 * v * (1 + 1 / ratio) / difference**2
    return max(2, math.ceil(need * (1 - 1e-12)))


def design_effect(rate: ArrayLike, v: ArrayLike, impressions_per_user: ArrayLike) -> Floats:
    """How many times the binomial variance of an impression the user-clustered one is (Kish 1965); [...].

    v mean(y) / (R (1 - R)): 1 where impressions are independent; NaN for a rate of 0 or 1 or more.
    """
    r = np.asarray(rate, dtype=np.float64)
    binomial = r * (1 - r)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.asarray(v) * impressions_per_user / np.where(binomial > 0, binomial, np.nan))


def user_variance(rate: float, impressions_per_user: float, effect: float = 1.0) -> float:
    """Variance v of a user's linearised value from rate, impressions per user and design effect."""
    return rate * (1 - rate) * effect / impressions_per_user


def days_left(days: ArrayLike, variances: ArrayLike, target_variance: float) -> int | None:
    """Further days until the squared standard error is down to `target_variance`, at the looks' own pace.

    The squared standard error after d days is fitted as a + b / d (a: between users, who come back; b: what
    every day halves), by least squares weighted with d^2, a and b not below 0.

    Args:
        days: [looks], days since the start (1, 2, …), ascending.
        variances: [looks], squared standard error at each; NaN is left out.
        target_variance: e.g. (difference wanted / `distance()`)^2.

    Returns:
        0 once it is reached; None where more days alone never reach it (a >= the target) or no look
        is defined.
    """
    d, v = np.asarray(days, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    known = ~np.isnan(v)
    d, v = d[known], v[known]
    if not len(d):
        return None
    if v[-1] <= target_variance:
        return 0
    slope, level = np.polyfit(d, v * d, 1) if len(d) > 1 else (0.0, v[0] * d[0])
    if slope < 0:
        slope, level = 0.0, float(np.mean(v * d))
    elif level < 0:
        slope, level = float(np.sum(d * v * d) / np.sum(d * d)), 0.0
    if slope >= target_variance or level <= 0:
        return None
    end = level / (target_variance - slope)
    return max(1, math.ceil(float(end - d[-1]) - 1e-9))
