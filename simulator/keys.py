"""Keyed randomness: every random number is a function of its keys, never of a sequence.

`uniform(seed, stream, user, app, day)` is a 64-bit integer hash of its arguments. The same user meeting the
same app on the same day has the same luck under every arm (common random numbers), and no result depends on
batch size, shard, worker count or order. The mixer is SplitMix64's finaliser (Steele, Lea & Flood 2014).
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Stream(IntEnum):
    """One independent stream of random numbers for each purpose."""

    CATALOGUE = 1
    ATTRIBUTE_VECTORS = 2
    QUALITY = 3
    POPULARITY = 4
    RELEASE = 5
    POPULATION = 6
    TASTE = 7
    PROPENSITY = 8
    HOUR = 9
    VISIT = 10
    INITIAL_INSTALLS = 11
    EXCEPTION_REDRAW = 12
    EXCEPTION_DRAW = 13
    RETRIEVAL = 14
    EXPLORATION = 15
    ACQUISITION = 16
    CALIBRATION_SAMPLE = 17
    TRAINING = 18
    GATE_HOLDOUT = 19


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)
_SECOND = np.uint64(0xD1B54A32D192ED03)
_S12, _S27, _S30, _S31 = np.uint64(12), np.uint64(27), np.uint64(30), np.uint64(31)
_TO_UNIT = 2.0**-52


@njit(cache=True, inline="always")
def mix(x: Any) -> Any:
    """A bijection of uint64 in which each input bit changes each output bit with chance one half."""
    x = (x ^ (x >> _S30)) * _MULTIPLY_1
    x = (x ^ (x >> _S27)) * _MULTIPLY_2
    return x ^ (x >> _S31)


@njit(cache=True, inline="always")
def fold(state: Any, word: Any) -> Any:
    """The hash `state` (uint64) extended by one more key `word` (any integer)."""
    return mix(state ^ (np.uint64(word) * _MULTIPLY_2 + _GOLDEN))


@njit(cache=True, inline="always")
def unit(state: Any) -> Any:
    """A uniform number of the open interval (0, 1) out of a hash."""
    return (np.float64(state >> _S12) + 0.5) * _TO_UNIT


@njit(cache=True, inline="always")
def gauss(state: Any) -> Any:
    """A standard normal number out of a hash (Box & Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(unit(state)))
    return radius * math.cos(2.0 * math.pi * unit(mix(state ^ _SECOND)))


@njit(cache=True, inline="always")
def gumbel(state: Any) -> Any:
    """A standard Gumbel number out of a hash."""
    return -math.log(-math.log(unit(state)))


def root(seed: int, stream: Stream, *keys: int) -> np.uint64:
    """The hash of a seed, a stream and further scalar keys, from which kernels fold on."""
    return np.uint64(hash_keys(seed, stream, *keys)[()])


def hash_keys(seed: int, stream: Stream, *keys: Any) -> NDArray[np.uint64]:
    """uint64 hashes of the keys, broadcast against each other.

    Equal to `fold(... fold(root, key_1) ..., key_n)` inside a kernel. `keys` are integers or integer arrays;
    negative integers count as their two's complement.
    """
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for key in (seed, int(stream), *keys):
            word = np.asarray(key).astype(np.int64).astype(np.uint64)
            mixed = state ^ (word * _MULTIPLY_2 + _GOLDEN)
            mixed = (mixed ^ (mixed >> _S30)) * _MULTIPLY_1
            mixed = (mixed ^ (mixed >> _S27)) * _MULTIPLY_2
            state = mixed ^ (mixed >> _S31)
    return np.asarray(state, np.uint64)


def uniform(seed: int, stream: Stream, *keys: Any) -> NDArray[np.float64]:
    """Uniform numbers of (0, 1) for the broadcast keys."""
    return ((hash_keys(seed, stream, *keys) >> _S12).astype(np.float64) + 0.5) * _TO_UNIT


def normal(seed: int, stream: Stream, *keys: Any) -> NDArray[np.float64]:
    """Standard normal numbers for the broadcast keys (Box & Muller 1958)."""
    state = hash_keys(seed, stream, *keys)
    return np.asarray(_gauss_all(state.ravel()).reshape(state.shape))


@njit(cache=True)
def _gauss_all(states: Any) -> Any:
    out = np.empty(len(states), np.float64)
    for i in range(len(states)):
        out[i] = gauss(states[i])
    return out
