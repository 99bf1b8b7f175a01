"""Cross-product transformations (Cheng et al. 2016, section 3.1, equation 1), dictionary or hashed.

A cross AND(left=i, right=a) is binary: 1 where both hold, however often. `CrossDictionary` gives ids to the
pairs seen often enough; a rarer or unseen pair has id 0, to which a model gives no weight. Pairs live in an
open-addressing table in numpy arrays, so that tens of millions fit into memory and compiled loops can `find`
them. `models.cross_product` builds transformations of any order over any columns upon it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]
Keys = NDArray[np.uint64]

EMPTY = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""The key of a free slot: no pair of numbers below 2^31 has it."""

MAX_LOAD = 0.6
SMALLEST = 1024
AT_ONCE = 4_000_000
"""Pairs that `grow_and_forget` holds at a time, about."""

_SHIFT, _M1, _M2 = np.uint64(32), np.uint64(0xBF58_476D_1CE4_E5B9), np.uint64(0x94D0_49BB_1331_11EB)
_S1, _S2, _S3 = np.uint64(30), np.uint64(27), np.uint64(31)
_PIECE = np.uint64(40)  # above the bits that place a pair, in any table that fits into memory
_ONE, _LIMIT, _INT31 = np.uint64(1), -(2**31 - 1), 2**31 - 1


@njit(cache=True)
def pair_key(left: int, right: int) -> np.uint64:
    """The key left << 32 | right of a pair of numbers in 0 .. 2^31-1, uint64."""
    return (np.uint64(left) << _SHIFT) | np.uint64(right)


@njit(cache=True)
def mix(key: np.uint64) -> np.uint64:
    """A bijection where each bit of `key` moves half of the others (SplitMix64's; Steele et al. 2014)."""
    key = np.uint64(key)
    key = (key ^ (key >> _S1)) * _M1
    key = (key ^ (key >> _S2)) * _M2
    return key ^ (key >> _S3)


@njit(cache=True)
def slot_of(keys: Keys, key: np.uint64) -> np.uint64:
    """The slot that holds `key`, or the free one where it belongs."""
    key = np.uint64(key)  # from Python a key comes as an int
    mask = np.uint64(len(keys) - 1)
    slot: np.uint64 = mix(key) & mask
    while keys[slot] != key and keys[slot] != EMPTY:
        slot = (slot + _ONE) & mask
    return slot


@njit(cache=True)
def find(keys: Keys, ids: NDArray[np.int32], key: np.uint64) -> np.int32:
    """The id of `key` (uint64, see `pair_key`), int32; 0 if it has none."""
    found = ids[slot_of(keys, key)]
    return found if found > 0 else np.int32(0)


@njit(cache=True)
def _count_rows(
    keys: Keys,
    ids: NDArray[np.int32],
    lefts: NDArray[np.int32],
    rights: NDArray[np.int32],
    row: int,
    used: int,
    limit: int,
    piece: int,
    pieces: int,
) -> tuple[int, int]:
    """Counts the pairs of rows from `row` on, while no row can overfill the table: next row, used slots.

    Of the pairs it counts those whose hash is in `piece` of `pieces`, a power of 2.
    """
    width, shown = lefts.shape[1], rights.shape[1]
    mask = np.uint64(len(keys) - 1)
    ours, those = np.uint64(piece), np.uint64(pieces - 1)
    pairs = np.empty(width * shown, np.uint64)
    slots = np.empty(width * shown, np.uint64)
    while row < len(lefts) and used + width * shown <= limit:
        total = 0
        for i in range(width):
            left = lefts[row, i]
            fresh = left >= 0
            for k in range(i):
                fresh = fresh and lefts[row, k] != left
            if not fresh:
                continue
            for s in range(shown):
                if rights[row, s] >= 0:
                    pairs[total] = pair_key(left, rights[row, s])
                    hashed = mix(pairs[total])
                    slots[total] = hashed & mask
                    total += (hashed >> _PIECE) & those == ours
        for j in range(total):  # slots known ahead let the processor wait for several at a time
            slot = slots[j]
            while keys[slot] != pairs[j] and keys[slot] != EMPTY:
                slot = (slot + _ONE) & mask
            if keys[slot] == EMPTY:
                keys[slot] = pairs[j]
                used += 1
            if _LIMIT < ids[slot] <= 0:
                ids[slot] -= np.int32(1)
        row += 1
    return row, used


@njit(cache=True)
def _insert_all(keys: Keys, ids: NDArray[np.int32], old_keys: Keys, old_ids: NDArray[np.int32]) -> None:
    """Puts the used slots of another table into this one, which has room for them."""
    for i in range(len(old_keys)):
        if old_keys[i] != EMPTY:
            slot = slot_of(keys, old_keys[i])
            keys[slot] = old_keys[i]
            ids[slot] = old_ids[i]


@njit(cache=True)
def _find_all(keys: Keys, ids: NDArray[np.int32], lefts: Ids, rights: Ids, out: Ids) -> None:
    for j in range(len(out)):
        left, right = lefts[j], rights[j]
        if 0 <= left <= _INT31 and 0 <= right <= _INT31:
            out[j] = find(keys, ids, pair_key(left, right))


@njit(cache=True)
def _hash_all(buckets: int, lefts: Ids, rights: Ids, out: Ids) -> None:
    for j in range(len(out)):
        if lefts[j] >= 0 and rights[j] >= 0:
            key = mix(mix(np.uint64(lefts[j])) ^ np.uint64(rights[j]))
            out[j] = np.int64(key % np.uint64(buckets)) + 1


class CrossDictionary:
    """Ids of the pairs AND(left=i, right=a) seen at least `min_count` times; i and a in 0 .. 2^31-1.

    Ids are from 1, 0 is a pair that is rare, unseen or padded (a negative part). New ids follow old ones and
    depend on the counts alone: by descending count, then by key (left, then right).

    Attributes:
        min_count: occurrences from which on a pair gets an id.
        keys: uint64[capacity], left << 32 | right, or `EMPTY`; capacity is a power of 2, at most 0.6 full.
        ids: int32[capacity], the id where positive, minus the count so far where the pair has none yet.
        size: ids are 0 .. size-1.
        used: number of slots in use: the distinct pairs seen.
        by_id: uint64[size - 1], the keys of ids 1 .. size-1, in this order.

    Raises:
        ValueError: if `min_count` is outside of 1 .. 2^31-1.
    """

    def __init__(self, min_count: int = 1) -> None:
        if not 1 <= operator.index(min_count) <= _INT31:
            raise ValueError(f"min_count: got {min_count}, 1 to {_INT31} are allowed")
        self.min_count = operator.index(min_count)
        self.size = 1
        self.used = 0
        self.by_id: Keys = np.zeros(0, np.uint64)
        self.keys: Keys = np.zeros(0, np.uint64)
        self.ids: NDArray[np.int32] = np.zeros(0, np.int32)
        self._reserve(0)

    def grow_pairs(self, lefts: ArrayLike, rights: ArrayLike) -> Self:
        """Counts each distinct left of a row with each right of that row, then gives ids.

        Args:
            lefts: integers [B, I], negative ones are padding; repeats in a row count once (equation 1).
            rights: integers [B, S], negative ones are padding; each stands for one example (an impression).

        Raises:
            ValueError: if the shapes do not match or a number is not below 2^31.
        """
        return self.count_pairs(lefts, rights).assign_ids()

    def count_pairs(self, lefts: ArrayLike, rights: ArrayLike) -> Self:
        """The first half of `grow_pairs`, for data that comes in parts: counts, but gives no ids yet."""
        self._count(*_rows(lefts, rights))
        return self

    def grow_and_forget(self, lefts: ArrayLike, rights: ArrayLike) -> Self:
        """As `grow_pairs` and then `forget_rare`, but never with all rare pairs in memory.

        The pairs are counted piece by piece, by their hash: far fewer come to an id than are seen.
        """
        left, right = _rows(lefts, rights)
        if self.used > len(self.by_id):  # counts so far, to be gone on with
            return self.grow_pairs(left, right).forget_rare()
        seen = int(np.count_nonzero(left >= 0)) * right.shape[1]
        pieces = 1 << max(0, -(-seen // AT_ONCE) - 1).bit_length()
        new: list[tuple[Keys, NDArray[np.int32]]] = []
        scratch = CrossDictionary(self.min_count)
        for piece in range(pieces):
            scratch._empty()
            scratch._count(left, right, piece, pieces)
            often = np.flatnonzero(scratch.ids <= -self.min_count)
            keys, counts = scratch.keys[often], scratch.ids[often]
            unknown = self.lookup(keys >> _SHIFT, keys.astype(np.uint32)) == 0
            new.append((keys[unknown], counts[unknown]))
        keys, counts = (np.concatenate(parts) for parts in zip(*new, strict=True))
        keys = keys[np.lexsort((keys, counts))]
        ids = np.arange(self.size, self.size + len(keys), dtype=np.int32)
        self._reserve(self.used + len(keys))
        _insert_all(self.keys, self.ids, keys, ids)
        self.size += len(keys)
        self.by_id = np.concatenate([self.by_id, keys])
        self.used = len(self.by_id)
        return self

    def _count(
        self, left: NDArray[np.int32], right: NDArray[np.int32], piece: int = 0, pieces: int = 1
    ) -> None:
        per_row = left.shape[1] * right.shape[1]
        row = 0
        while row < len(left) and per_row:
            self._reserve(self.used + per_row)
            limit = int(MAX_LOAD * len(self.keys))
            row, self.used = _count_rows(
                self.keys, self.ids, left, right, row, self.used, limit, piece, pieces
            )

    def _empty(self) -> None:
        """Forgets every pair, but keeps the capacity."""
        self.keys.fill(EMPTY)
        self.ids.fill(0)
        self.used = 0

    def assign_ids(self) -> Self:
        """The second half of `grow_pairs`: the pairs that have come to `min_count` get the next ids."""
        new = np.flatnonzero(self.ids <= -self.min_count)
        new = new[np.lexsort((self.keys[new], self.ids[new]))]
        self.ids[new] = np.arange(self.size, self.size + len(new))
        self.size += len(new)
        self.by_id = np.concatenate([self.by_id, self.keys[new]])
        return self

    def forget_rare(self) -> Self:
        """Forgets the pairs that have no id yet, so that they count from 0 again; ids stay.

        The capacity stays too: the next days will want it, and growing there again costs more than the days.
        """
        self._empty()
        _insert_all(self.keys, self.ids, self.by_id, np.arange(1, self.size, dtype=np.int32))
        self.used = len(self.by_id)
        return self

    def lookup(self, left: ArrayLike, right: ArrayLike) -> Ids:
        """The ids of pairs, int64, of the shape to which `left` and `right` (integers) broadcast."""
        lefts, rights, out = _broadcast(left, right)
        _find_all(self.keys, self.ids, lefts, rights, out.reshape(-1))
        return out

    def pairs(self) -> tuple[Ids, Ids]:
        """The lefts and rights of ids 1 .. size-1, in this order; int64[size - 1] each."""
        return (self.by_id >> _SHIFT).astype(np.int64), self.by_id.astype(np.uint32).astype(np.int64)

    def to_state(self) -> dict[str, NDArray[Any]]:
        """Everything as numpy arrays: `keys`, `ids` of the used slots by key, `min_count`."""
        slots = np.flatnonzero(self.keys != EMPTY)
        slots = slots[np.argsort(self.keys[slots])]
        min_count = np.array([self.min_count], np.int64)
        return {"keys": self.keys[slots], "ids": self.ids[slots], "min_count": min_count}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """The dictionary that `to_state` described; it looks up and grows as the original does."""
        crosses = cls(int(state["min_count"][0]))
        keys, ids = np.ascontiguousarray(state["keys"]), np.ascontiguousarray(state["ids"])
        crosses._reserve(len(keys))
        _insert_all(crosses.keys, crosses.ids, keys, ids)
        crosses.used = len(keys)
        crosses.size = 1 + int(np.count_nonzero(ids > 0))
        crosses.by_id = np.empty(crosses.size - 1, np.uint64)
        crosses.by_id[ids[ids > 0] - 1] = keys[ids > 0]
        return crosses

    def _reserve(self, pairs: int) -> None:
        """Doubles the capacity until `pairs` slots fill at most `MAX_LOAD` of it."""
        present = len(self.keys)
        capacity = max(present, SMALLEST)
        while int(MAX_LOAD * capacity) < pairs:
            capacity *= 2
        if capacity == present:
            return
        keys, ids = np.full(capacity, EMPTY), np.zeros(capacity, np.int32)
        if present:
            _insert_all(keys, ids, self.keys, self.ids)
        self.keys, self.ids = keys, ids


class HashedCross:
    """Ids 1 .. `buckets` for any pair, by a hash: nothing to fit, never out of vocabulary, but pairs collide.

    Raises:
        ValueError: if `buckets` is less than 1.
    """

    def __init__(self, buckets: int) -> None:
        if operator.index(buckets) < 1:
            raise ValueError(f"buckets: got {buckets}, at least 1 is allowed")
        self.buckets = operator.index(buckets)

    @property
    def size(self) -> int:
        """Ids are 0 .. size-1, where 0 is padding only."""
        return self.buckets + 1

    def lookup(self, left: ArrayLike, right: ArrayLike) -> Ids:
        """The ids of pairs, int64, in the shape to which both broadcast; 0 where a part is negative."""
        lefts, rights, out = _broadcast(left, right)
        _hash_all(self.buckets, lefts, rights, out.reshape(-1))
        return out


def _rows(lefts: ArrayLike, rights: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    left, right = _int32_rows("lefts", lefts), _int32_rows("rights", rights)
    if len(left) != len(right):
        raise ValueError(f"rights: got {len(right)} rows, those of lefts, {len(left)}, are allowed")
    return left, right


def _int32_rows(name: str, numbers: ArrayLike) -> NDArray[np.int32]:
    array = np.asarray(numbers)
    if array.ndim != 2 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name}: got {array.dtype}{list(array.shape)}, rows of integers are allowed")
    if array.size and array.dtype != np.int32 and array.max() > _INT31:
        raise ValueError(f"{name}: got {array.max()}, numbers below 2^31 are allowed")
    if array.dtype.kind == "i" and array.dtype.itemsize == 8:
        array = np.maximum(array, -1)
    return np.ascontiguousarray(array, np.int32)


def _broadcast(left: ArrayLike, right: ArrayLike) -> tuple[Ids, Ids, Ids]:
    lefts, rights = np.broadcast_arrays(np.asarray(left, np.int64), np.asarray(right, np.int64))
    return lefts.ravel(), rights.ravel(), np.zeros(lefts.shape, np.int64)
