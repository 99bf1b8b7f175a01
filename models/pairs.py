"""A table of (left, right) pairs for compiled loops, packed by left app.

Each left app has a small open-addressing table of its own, so that the lookups of one installed app beside
many impression apps stay in the nearest cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

_SPREAD = np.uint32(0x9E3779B1)
_SHIFT = np.uint32(8)


class PackedPairs(NamedTuple):
    """Values by pair. The table of left app i lies at starts[i] .. starts[i+1]-1, a power of 2 or nothing.

    Attributes:
        starts: int64[A + 1].
        rights: int32[capacity], -1 in free slots.
        values: [capacity].
        bits: uint32[capacity / 2], 16 bits for each slot; that of a right app's hash is set where it may be
            present, so that most absent pairs cost one load and no branch.
    """

    starts: Array
    rights: Array
    values: Array
    bits: Array

    @classmethod
    def of(cls, lefts: Array, rights: Array, values: Array, n_apps: int) -> Self:
        """The table of distinct pairs; lefts, rights (integers in 0 .. n_apps-1) and values are [n]."""
        counts = np.bincount(lefts, minlength=n_apps)
        sizes = np.zeros(n_apps, np.int64)
        used = counts > 0
        sizes[used] = 2 ** np.ceil(np.log2(2 * counts[used])).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        slots = np.full(starts[-1], -1, np.int32)
        packed = np.zeros(starts[-1], values.dtype)
        bits = np.zeros(starts[-1] // 2, np.uint32)
        _fill(lefts, rights, values, starts, slots, packed, bits)
        return cls(starts, slots, packed, bits)


@njit(cache=True, inline="always")
def spread(right: Any) -> Any:
    """The hash by which a right app is placed, int64."""
    return np.int64((np.uint32(right) * _SPREAD) >> _SHIFT)


@njit(cache=True)
def _fill(lefts: Any, rights: Any, values: Any, starts: Any, slots: Any, packed: Any, bits: Any) -> None:
    for k in range(len(lefts)):
        start = starts[lefts[k]]
        mask = starts[lefts[k] + 1] - start - 1
        bit = spread(rights[k]) & (16 * mask + 15)
        bits[start // 2 + bit // 32] |= np.uint32(1) << np.uint32(bit % 32)
        place = spread(rights[k]) & mask
        while slots[start + place] >= 0:
            place = (place + 1) & mask
        slots[start + place] = rights[k]
        packed[start + place] = values[k]


@njit(cache=True, inline="always")
def maybe(pairs: Any, start: Any, mask: Any, hashed: Any) -> Any:
    """1 where the right app of this hash may be in the table that begins at `start`, else 0."""
    bit = hashed & (16 * mask + 15)
    return (pairs.bits[(start >> 1) + (bit >> 5)] >> np.uint32(bit & 31)) & np.uint32(1)


@njit(cache=True, inline="always")
def place_of(pairs: Any, start: Any, mask: Any, right: Any, hashed: Any) -> Any:
    """Where `right` (with its `spread`) lies in the table that begins at `start`; -1 if it is not there."""
    place = hashed & mask
    found = pairs.rights[start + place]
    while found >= 0 and found != right:
        place = (place + 1) & mask
        found = pairs.rights[start + place]
    return start + place if found >= 0 else -1
