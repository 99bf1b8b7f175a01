"""Draws from a fixed discrete distribution in constant time, by one hash (Walker 1977, Vose 1991)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numba import njit

from simulator.keys import fold, unit


@njit(cache=True)
def alias_table(weights: Any, accept: Any, alias: Any) -> None:
    """Fills `accept` float64[n] and `alias` int32[n] for weights float64[n] >= 0 with a positive sum."""
    n = len(weights)
    total = 0.0
    for i in range(n):
        total += weights[i]
    small = np.empty(n, np.int32)
    large = np.empty(n, np.int32)
    n_small = 0
    n_large = 0
    for i in range(n):
        accept[i] = weights[i] * n / total
        alias[i] = i
        if accept[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small > 0 and n_large > 0:
        low = small[n_small - 1]
        high = large[n_large - 1]
        n_small -= 1
        alias[low] = high
        accept[high] -= 1.0 - accept[low]
        if accept[high] < 1.0:
            n_large -= 1
            small[n_small] = high
            n_small += 1
    for i in range(n_large):
        accept[large[i]] = 1.0
    for i in range(n_small):
        accept[small[i]] = 1.0


@njit(cache=True, inline="always")
def draw(accept: Any, alias: Any, start: Any, length: Any, state: Any) -> Any:
    """An index of the table stored at [start, start + length), by the hash `state` (uint64)."""
    cell = int(unit(state) * length)
    if unit(fold(state, 1)) < accept[start + cell]:
        return cell
    return alias[start + cell]


def segmented_alias(weights: Any, offsets: Any) -> tuple[Any, Any]:
    """Alias tables of consecutive segments: weights float64[n], offsets int64[s + 1]; empty segments stay.

    Returns:
        accept float64[n] and alias int32[n], whose aliases count from the segment's start.
    """
    accept = np.empty(len(weights), np.float64)
    alias = np.empty(len(weights), np.int32)
    for low, high in itertools.pairwise(offsets):
        if high > low:
            alias_table(weights[low:high], accept[low:high], alias[low:high])
    return accept, alias
