"""Guardrails: non-inferiority of a ratio metric with a relative margin, outside the primary family.

z = (R_t - (1 - m) R_c) / sqrt(se_t^2 + (1 - m)^2 se_c^2); for a metric that should not grow,
z = ((1 + m) R_c - R_t) / sqrt(se_t^2 + (1 + m)^2 se_c^2) (Kohavi, Tang & Xu 2020, chapter 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from experiment.stats.moments import Floats, Moments
from experiment.stats.ratio import rates

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, eq=False)
class Guardrail:
    """A non-inferiority test, any leading shape [...]; undefined is NaN.

    Attributes:
        margin: m, the tolerated relative harm, a fraction.
        better: the metric's good direction.
        z: of the test; NaN where a rate is undefined, without variance in either arm, or with fewer than
            two users in one.
        p_value: one-sided, of the hypothesis that the harm is the margin or more; NaN as z.
        bound: the one-sided bound of the relative change at 1 - alpha: the worst that is not excluded; NaN as
            z and where the control's rate is not above 0 or is within noise of 0.
        passed: whether p_value < alpha; False where it is NaN.
    """

    margin: float
    better: Better
    z: Floats
    p_value: Floats
    bound: Floats
    passed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def guardrail(
    control: Moments,
    treatment: Moments,
    *,
    margin: float,
    better: Better = "higher",
    alpha: float = 0.05,
) -> Guardrail:
    """Tests that the treatment's rate is not worse than the control's by `margin` or more.

    Raises ValueError for a margin outside (0, 1).
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin: got {margin}, numbers above 0 and below 1 are allowed")
    c, t = rates(control), rates(treatment)
    sign = 1.0 if better == "higher" else -1.0
    limit = 1 - sign * margin
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = t.variance + limit**2 * c.variance
        z = sign * (t.rate - limit * c.rate) / np.sqrt(np.where(spread > 0, spread, np.nan))
        p_value = special.ndtr(-z)
        bound = np.where(np.isnan(z), np.nan, _bound(c.rate, c.variance, t.rate, t.variance, sign, alpha))
        return Guardrail(margin, better, z, p_value, bound, p_value < alpha)


def _bound(
    control: Floats, control_variance: Floats, treatment: Floats, variance: Floats, sign: float, alpha: float
) -> Floats:
    """The relative change whose test gives exactly alpha: Fieller's limit on the harmful side."""
    q = special.ndtri(1 - alpha)
    ratio = treatment / np.where(control > 0, control, np.nan)
    rest = 1 - q**2 * control_variance / control**2
    rest = np.where(rest > 0, rest, np.nan)
    half = q / control * np.sqrt(variance * rest + ratio**2 * control_variance)
    return np.asarray((ratio - sign * half) / rest - 1, dtype=np.float64)
