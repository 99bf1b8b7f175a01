"""How a ranker's scores become a slate: the best first, or with Gumbel noise where the policy explores.

Scores plus Gumbel noise of scale s, sorted, are a Plackett-Luce ranking with log odds scores / s (Yellott
1977). The chance of an app to be shown at a position, which off-policy estimates need, is an integral over
its own arrival time of a Poisson-binomial count of the apps that come first, computed by quadrature.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from simulator.keys import Stream, fold, gumbel, root
from simulator.schema import Array

_STEP = math.log(2.0) / 2.0
_BEFORE = 14.0
"""Log time by which the quadrature starts before the fastest app's mean; sooner has chance 1e-6."""
_NEGLIGIBLE = 1e-9
_FINISHED = 1e-7
_MOST = 700.0
_LANES = 8
"""Nodes of the quadrature that are worked on at once."""


def slates(
    seed: int, users: Array, days: Array, apps: Array, scores: Array, shown: int, scale: float
) -> Array:
    """int64[B, S]: columns of the `shown` best candidates of each request, best first.

    Args:
        seed: the run's seed. users: int64[B]. days: int32[B].
        apps: int32[B, C] candidates; the noise is keyed by user, app and day.
        scores: float32[B, C]. Ties go to the earlier column.
        shown: S.
        scale: scale of the Gumbel noise; 0 does not explore.
    """
    values = scores.astype(np.float64)
    if scale > 0.0:
        values = _noisy(values, users, days, apps, scale, root(seed, Stream.EXPLORATION))
    return np.asarray(_best(values, shown))


def propensities(scores: Array, slate: Array, scale: float) -> Array:
    """float32[B, S]: the chance of each shown app to stand at its position; NaN without exploration.

    Args:
        scores: float32[B, C]. slate: int64[B, S] columns as from `slates`. scale: of the Gumbel noise.
    """
    if scale <= 0.0:
        return np.full(slate.shape, np.nan, np.float32)
    return np.asarray(_propensities(scores.astype(np.float64) / scale, slate))


@njit(cache=True)
def _noisy(values: Any, users: Any, days: Any, apps: Any, scale: Any, key: Any) -> Any:
    B, C = values.shape
    noisy = np.empty((B, C), np.float64)
    for b in range(B):
        state = fold(fold(key, users[b]), days[b])
        for c in range(C):
            noisy[b, c] = values[b, c] + scale * gumbel(fold(state, apps[b, c]))
    return noisy


@njit(cache=True)
def _best(values: Any, shown: Any) -> Any:
    B, C = values.shape
    best = np.empty((B, shown), np.int64)
    for b in range(B):
        count = 0
        for c in range(C):
            value = values[b, c]
            if count == shown and value <= values[b, best[b, shown - 1]]:
                continue
            place = count if count < shown else shown - 1
            while place > 0 and values[b, best[b, place - 1]] < value:
                best[b, place] = best[b, place - 1]
                place -= 1
            best[b, place] = c
            if count < shown:
                count += 1
    return best


@njit(cache=True)
def _propensities(scores: Any, slate: Any) -> Any:
    # Gumbel noise is an exponential race: app j arrives at a time of rate exp(score_j), and stands at
    # position s when s others arrive before it. The trapezoidal rule over log time is exact to 1e-4.
    # Two nodes double the time, so that the chance q of having arrived becomes q (2 - q): no exponential.
    # Nodes are lanes: `_LANES` of them go through the same sums side by side.
    B, C = scores.shape
    S = slate.shape[1]
    out = np.zeros((B, S), np.float32)
    chance = np.empty(S, np.float64)
    arrived = np.empty((C, _LANES), np.float64)
    waiting = np.empty((S, _LANES), np.float64)
    density = np.empty((S, _LANES), np.float64)
    ahead = np.empty((S + 1, S, _LANES), np.float64)
    behind = np.empty((S + 1, S, _LANES), np.float64)
    shown = np.empty(C, np.bool_)
    last = _LANES - 1
    for b in range(B):
        shown[:] = False
        chance[:] = 0.0
        fastest = scores[b, slate[b, 0]]
        for s in range(S):
            shown[slate[b, s]] = True
            fastest = max(fastest, scores[b, slate[b, s]])
        now, anew = -fastest - _BEFORE, True  # log time of the first lane; whether no lanes lead up to it
        while True:
            for c in range(C):
                for n in range(2):
                    if anew or arrived[c, n] == 0.0:
                        arrived[c, n] = -math.expm1(-_rate(scores[b, c] + now + n * _STEP))
                for n in range(2, _LANES):
                    arrived[c, n] = arrived[c, n - 2] * (2.0 - arrived[c, n - 2])
            for s in range(S):
                for n in range(2):
                    moment = _rate(scores[b, slate[b, s]] + now + n * _STEP)
                    waiting[s, n] = math.exp(-moment)
                    density[s, n] = _STEP * moment
                for n in range(2, _LANES):
                    waiting[s, n] = waiting[s, n - 2] * waiting[s, n - 2]
                    density[s, n] = 2.0 * density[s, n - 2]
                for n in range(_LANES):
                    density[s, n] *= waiting[s, n]
            # How many arrived: those not shown and the slate's before s (`ahead`); those after s (`behind`).
            ahead[0] = 0.0
            ahead[0, 0] = 1.0
            behind[S] = ahead[0]
            for c in range(C):
                if not shown[c] and arrived[c, last] > _NEGLIGIBLE:
                    _count(ahead[0], ahead[0], arrived[c])
            for s in range(S):
                _count(ahead[s], ahead[s + 1], arrived[slate[b, s]])
            for s in range(S - 1, 0, -1):
                _count(behind[s + 1], behind[s], arrived[slate[b, s]])
            left, next_one = 0.0, -np.inf
            for s in range(S):
                for k in range(s + 1):
                    for n in range(_LANES):
                        chance[s] += density[s, n] * ahead[s, k, n] * behind[s + 1, s - k, n]
                before = 0.0
                for k in range(S):
                    before += behind[s + 1, k, last]
                    left += waiting[s, last] * ahead[s, S - 1 - k, last] * before
                if waiting[s, last] > 0.0:
                    next_one = max(next_one, scores[b, slate[b, s]])
            if left < _FINISHED:
                break
            now += _LANES * _STEP
            anew = next_one + now < -_BEFORE
            if anew:  # nobody is due for long: on to the next
                now = -next_one - _BEFORE
            for c in range(C):
                for n in range(2):
                    before = arrived[c, last - 1 + n]
                    arrived[c, n] = before * (2.0 - before)
        for s in range(S):
            out[b, s] = chance[s]
    return out


@njit(cache=True, inline="always")
def _rate(log_rate: Any) -> Any:
    """The rate of this logarithm, kept within what a float holds."""
    return math.exp(min(max(log_rate, -_MOST), _MOST))


@njit(cache=True, inline="always")
def _count(counts: Any, out: Any, chances: Any) -> None:
    """Adds an arrival to the distribution `counts` of their number, [S, lanes]; into `out`, maybe itself."""
    for k in range(len(counts) - 1, 0, -1):
        for n in range(_LANES):
            out[k, n] = counts[k, n] + chances[n] * (counts[k - 1, n] - counts[k, n])
    for n in range(_LANES):
        out[0, n] = counts[0, n] - chances[n] * counts[0, n]
