"""What an experiment will be able to see, told from days before it.

A user's linearised value of a day, e = x - R y, has a part that stays (who the user is) and a part that every
day draws anew: over W days Var = W (D - C) + W^2 C, with D the variance of a day and C the covariance of two.
More days halve the second part alone, which is why impressions of one user are worth less than those of many;
what stays is also what CUPED takes out (Deng, Xu, Kohavi & Walker 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from experiment.stats.moments import Floats
from experiment.stats.power import design_effect, minimum_detectable


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a comparison of two arms will see.

    Attributes:
        users: of each arm. days: of the window.
        rate: acquisitions per impression. impressions_per_user: in the window.
        design_effect: of users on impressions, see `power.design_effect`.
        detectable_lift: found with 80% power by the ratio metric.
        detectable_lift_cuped: with the pre-period as the covariate.
    """

    users: int
    days: int
    rate: float
    impressions_per_user: float
    design_effect: float
    detectable_lift: float
    detectable_lift_cuped: float


def forecast(
    x: ArrayLike, y: ArrayLike, *, sampled: int, users: int, days: int, pre_days: int, alpha: float = 0.05
) -> Forecast | None:
    """Foresees a comparison; None where two days, two users, an acquisition or variance are missing.

    Args:
        x: [D, n], acquisitions of D days of users who came on one of them.
        y: [D, n], impressions.
        sampled: users of whom these are the ones who came, at least n.
        users: of each arm in the experiment.
        days: of the experiment.
        pre_days: of the covariate.
        alpha: level of the test.
    """
    acquired, shown = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = len(acquired)
    if known < 2 or sampled < 2 or users < 1 or acquired.sum() <= 0:
        return None
    rate = float(acquired.sum() / shown.sum())
    values = acquired - rate * shown
    daily = shown.sum() / (known * sampled)
    day = float(np.mean([_variance(one, sampled) for one in values]))
    both = (_variance(values.sum(axis=0), sampled) - known * day) / (known * (known - 1))
    if day <= 0.0:
        return None
    stays = min(max(both, 0.0), day)

    def variance(length: int) -> float:
        return length * (day - stays) + length**2 * stays

    v = variance(days) / (days * daily) ** 2
    shared = (pre_days * days * stays) ** 2 / (variance(pre_days) * variance(days))
    se = math.sqrt(2.0 * v / users) / rate
    lift = float(minimum_detectable(se, alpha=alpha))
    return Forecast(
        users=users,
        days=days,
        rate=rate,
        impressions_per_user=days * float(daily),
        design_effect=float(design_effect(rate, v, days * daily)),
        detectable_lift=lift,
        detectable_lift_cuped=lift * math.sqrt(1.0 - shared),
    )


def _variance(values: Floats, sampled: int) -> float:
    """Sample variance of `values` and of zeros for the rest of the `sampled`."""
    return float((np.square(values).sum() - values.sum() ** 2 / sampled) / (sampled - 1))
