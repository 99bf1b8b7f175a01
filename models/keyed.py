"""Keyed randomness for learners: initial weights and orders are functions of their keys, not of a sequence.

A row of an embedding table starts the same whenever, and in whatever company, its id enters the vocabulary.
The mixer is SplitMix64's finaliser (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import math
import operator
import zlib
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


@njit(cache=True, inline="always")
def fold(state: Any, word: Any) -> Any:
    """The hash `state` (uint64) extended by one more key `word` (any integer)."""
    x = state ^ (np.uint64(word) * _MULTIPLY_2 + _GOLDEN)
    x = (x ^ (x >> _S30)) * _MULTIPLY_1
    x = (x ^ (x >> _S27)) * _MULTIPLY_2
    return x ^ (x >> _S31)


@njit(cache=True, inline="always")
def unit(state: Any) -> Any:
    """A uniform number of the open interval (0, 1) out of a hash."""
    return (np.float64(state >> _S11) + 0.5) * 2.0**-53


@njit(cache=True)
def _fill_normal(state: Any, rows: Any, scale: float, out: Any) -> None:
    for r in range(len(rows)):
        row = fold(state, rows[r])
        for c in range(out.shape[1]):
            cell = fold(row, c)
            radius = math.sqrt(-2.0 * math.log(unit(cell)))
            out[r, c] = scale * radius * math.cos(2.0 * math.pi * unit(fold(cell, 1)))


@njit(cache=True)
def _fill_hash(state: Any, ids: Any, out: Any) -> None:
    for i in range(len(ids)):
        out[i] = fold(state, ids[i])


def stream(key: int, name: str) -> np.uint64:
    """The hash of `key` (any int) and a `name`, from which a stream of numbers is drawn."""
    state = fold(np.uint64(0), np.uint64(operator.index(key) & 0xFFFFFFFFFFFFFFFF))
    return np.uint64(fold(np.uint64(state), zlib.crc32(name.encode())))


def normals(key: int, name: str, rows: Array, columns: int, scale: float) -> Array:
    """Centred normal numbers, float32[len(rows), columns]; each row is a function of key, name and row id.

    Args:
        key: any int.
        name: the table's name.
        rows: int64[n], ids of rows.
        columns: numbers per row.
        scale: standard deviation.
    """
    out = np.empty((len(rows), columns), np.float32)
    _fill_normal(stream(key, name), np.ascontiguousarray(rows, np.int64), scale, out)
    return out


def order(key: int, name: str, ids: Array) -> Array:
    """A permutation int64[n] that sorts `ids` (integers[n]) by keyed hash; equal ids keep their order."""
    hashes = np.empty(len(ids), np.uint64)
    _fill_hash(stream(key, name), np.ascontiguousarray(ids).astype(np.uint64), hashes)
    return np.argsort(hashes, kind="stable")
