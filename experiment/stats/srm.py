"""Sample ratio mismatch: do the arms hold the users that the configured shares promise?

Fixed: Pearson's chi-square over users (Fabijan et al. 2019). Where it is known how many users were assigned,
what can go wrong is who of them is seen: the chi-square test of equal shares of arrivals. Sequential, for
daily alarms: the multinomial test of Lindon & Malek (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from experiment.stats.moments import Floats

ALARM = 0.001
"""p below this is an alarm."""

CONCENTRATION = 10_000.0
"""Of the Dirichlet prior around the configured shares: it looks for deviations of about half a percent."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The fixed test of the arms' users against the configured shares.

    Attributes:
        chi2: Pearson's statistic over the arms with a weight above 0; None without users in them, and where
            an arm of weight 0 has users: it is infinite then.
        df: arms with weight > 0, less 1.
        p_value: None without users or with df 0; 0 where an arm of weight 0 has users.
        alarm: whether p_value < 0.001.
        expected: users expected in each arm.
    """

    chi2: float | None
    df: int
    p_value: float | None
    alarm: bool
    expected: dict[str, float]


def sample_ratio(users: Mapping[str, float], weights: Mapping[str, float] | None = None) -> SampleRatio:
    """The test of `users` by arm; `weights` are the planned shares up to a factor, equal by default.

    An arm in `weights` and not in `users` has none. Raises ValueError for an arm without weight and for
    weights that are negative, not finite or all 0.
    """
    if weights is None:
        weights = dict.fromkeys(users, 1.0)
    for arm in users:
        if arm not in weights:
            raise ValueError(f"weights: got none for arm {arm!r}, a number from 0 is allowed for each arm")
    for arm, weight in weights.items():
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(f"weights: got {weight} for arm {arm!r}, finite numbers from 0 are allowed")
    whole = sum(weights.values())
    if not whole > 0:
        raise ValueError("weights: got only zeros, at least one above 0 is allowed")
    seen = sum(users.values())
    expected = {arm: seen * weight / whole for arm, weight in weights.items()}
    held = [arm for arm, weight in weights.items() if weight > 0]
    df = len(held) - 1
    if any(users.get(arm, 0) > 0 for arm, weight in weights.items() if weight == 0):
        return SampleRatio(None, df, 0.0, alarm=True, expected=expected)
    if seen == 0:
        return SampleRatio(None, df, None, alarm=False, expected=expected)
    chi2 = float(sum((users.get(arm, 0) - expected[arm]) ** 2 / expected[arm] for arm in held))
    if df == 0:
        return SampleRatio(chi2, df, None, alarm=False, expected=expected)
    p_value = float(special.chdtrc(df, chi2))
    return SampleRatio(chi2, df, p_value, alarm=p_value < ALARM, expected=expected)


def arrivals(users: Mapping[str, float], assigned: Mapping[str, float]) -> SampleRatio:
    """The test that the same share of the users `assigned` to each arm was seen.

    Pearson's chi-square of arm x (seen, not seen). Assigned numbers that are fixed by design vary less than
    those of a coin, so against the shares alone no leak would be found (`sample_ratio` asks for coins).

    Args:
        users: seen, by arm. assigned: all of the arm's users, for each arm of `users`.

    Returns:
        `expected` is of users seen; p is None with fewer than two arms that have users, or nobody seen.

    Raises:
        ValueError: for an arm with fewer users assigned than seen.
    """
    for arm, seen in users.items():
        if not 0 <= seen <= assigned.get(arm, 0):
            raise ValueError(
                f"users: got {seen} in arm {arm!r}, 0 to the {assigned.get(arm, 0)} assigned are allowed"
            )
    share = sum(users.values()) / max(sum(assigned.values()), 1)
    expected = {arm: n * share for arm, n in assigned.items()}
    held = [arm for arm, n in assigned.items() if n > 0]
    df = max(len(held) - 1, 0)
    if df == 0 or share == 0:
        return SampleRatio(None, df, None, alarm=False, expected=expected)
    off = [(users.get(arm, 0) - expected[arm]) ** 2 / assigned[arm] for arm in held]
    chi2 = float(sum(off)) / (share * (1 - share)) if share < 1 else 0.0
    p_value = float(special.chdtrc(df, chi2))
    return SampleRatio(chi2, df, p_value, alarm=p_value < ALARM, expected=expected)


def sequential_sample_ratio(
    users: ArrayLike, weights: ArrayLike, *, concentration: float = CONCENTRATION
) -> Floats:
    """Sequential p-values of cumulative counts, valid at all looks together: p = min(1, 1 / Bayes factor).

    Args:
        users: [..., looks, arms], users seen up to each look. All arms' weights are above 0.
        weights: [arms], the planned shares up to a factor.
        concentration: of the Dirichlet prior under the alternative, with the planned shares as its mean.

    Returns:
        [..., looks], the running minimum over looks.

    Raises:
        ValueError: for a weight that is not above 0.
    """
    counts = np.asarray(users, dtype=np.float64)
    planned = np.asarray(weights, dtype=np.float64)
    if not (planned > 0).all():
        raise ValueError(f"weights: got {planned.tolist()}, numbers above 0 are allowed")
    shares = planned / planned.sum()
    prior = concentration * shares
    seen = counts.sum(axis=-1)
    log_factor = (
        special.gammaln(concentration)
        - special.gammaln(concentration + seen)
        + (special.gammaln(prior + counts) - special.gammaln(prior) - counts * np.log(shares)).sum(axis=-1)
    )
    p_value = np.exp(np.minimum(-log_factor, 0))
    return np.asarray(np.minimum.accumulate(p_value, axis=-1))
