"""Always-valid p-values and intervals: asymptotic confidence sequences, over looks of any number.

Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (arXiv 2103.06476); equal to the mixture sequential probability
ratio test of Johari, Koomen, Pekelis & Walsh (2022) with mixing variance tau^2. The clock is information,
1 / V with V the squared standard error at a look: users who come back daily add information, not users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from experiment.stats.moments import Floats

FEWEST = 30
"""Users of each arm from which on one of several looks counts: the sequences are asymptotic, and a handful of
users may happen to vary hardly at all, which a running minimum would never forget."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Always-valid p-values and intervals, any shape [...]; undefined is NaN.

    Attributes:
        p_value: two-sided, valid at any look.
        ci: [..., 2], an interval valid at all looks together.
    """

    p_value: Floats
    ci: Floats


def mixing_variance(planned_variance: ArrayLike, alpha: float = 0.05) -> Floats:
    """tau^2 that makes the sequence narrowest at the planned squared standard error V*.

    tau^2 = (-2 ln alpha + ln(1 - 2 ln alpha)) V*: with V* = V N / N* this is N V rho^2 of the
    confidence sequence with rho chosen for N* users.
    """
    factor = -2 * np.log(alpha) + np.log1p(-2 * np.log(alpha))
    return np.asarray(factor * np.asarray(planned_variance, dtype=np.float64))


def always_valid(
    estimate: ArrayLike, variance: ArrayLike, tau2: ArrayLike, *, alpha: float = 0.05
) -> Sequence:
    """p-value and interval of each look by itself.

    Args:
        estimate: [...], of what is 0 under the null hypothesis.
        variance: [...], its squared standard error V; not above 0 gives NaN.
        tau2: [...], one mixing variance for all looks, see `mixing_variance`.
        alpha: 1 - alpha is the coverage over all looks.
    """
    value = np.asarray(estimate, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        spread = np.asarray(variance, dtype=np.float64)
        spread = np.where(spread > 0, spread, np.nan)
        clock = np.asarray(tau2, dtype=np.float64) / spread
        share = clock / (clock + 1)
        log_p = 0.5 * np.log1p(clock) - 0.5 * value**2 / spread * share
        half = np.sqrt(spread * 2 / share * (0.5 * np.log1p(clock) - np.log(alpha)))
        return Sequence(np.exp(np.minimum(log_p, 0)), np.stack([value - half, value + half], axis=-1))


def running(sequence: Sequence, axis: int = -1) -> Sequence:
    """The verdict that never flips back: running minimum of p and running intersection of the intervals.

    Looks lie along `axis` of the shape. NaN before the first defined look. An empty intersection, a sign that
    the effect changed over the looks, gives an interval of NaN from there on.
    """
    p_value = np.fmin.accumulate(sequence.p_value, axis=axis)
    along = axis if axis >= 0 else axis + sequence.p_value.ndim
    lower = np.fmax.accumulate(sequence.ci[..., 0], axis=along)
    upper = np.fmin.accumulate(sequence.ci[..., 1], axis=along)
    ci = np.stack([lower, upper], axis=-1)
    return Sequence(p_value, np.where((lower > upper)[..., None], np.nan, ci))


def one_look(
    estimate: ArrayLike,
    variance: ArrayLike,
    users: ArrayLike,
    planned_users: ArrayLike,
    *,
    alpha: float = 0.05,
) -> Sequence:
    """The sequence at one look of N `users` (both arms), planned for N*: V* = V N / N*."""
    spread = np.asarray(variance, dtype=np.float64)
    planned = spread * np.asarray(users, dtype=np.float64) / np.asarray(planned_users, dtype=np.float64)
    return always_valid(estimate, spread, mixing_variance(planned, alpha), alpha=alpha)
