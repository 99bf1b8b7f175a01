"""Cross-product transformations of any columns and order (Cheng et al. 2016, section 3.1, equation 1)."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.crosses import CrossDictionary, HashedCross

Ids = NDArray[np.int64]


class CrossProduct:
    """The multivalent cross-product transformation of `order` columns (equation 1).

    A column is ids [N] or, with several values to a row, [N, M]; 0 is out of vocabulary or padding, and no
    cross has it as a part. A row has every combination of its columns' distinct values, each once.

    A cross of order k is a pair of a cross of order k-1 and a value, so that dictionary ids are exact at any
    order; only the last pair is held to `min_count`.

    Args:
        order: number of columns, at least 2.
        min_count: rows from which on a cross gets an id.
        buckets: if not None, crosses are hashed into ids 1 .. buckets instead.

    Raises:
        ValueError: for arguments outside of these ranges.
    """

    def __init__(self, order: int, min_count: int = 1, buckets: int | None = None) -> None:
        if operator.index(order) < 2:
            raise ValueError(f"order: got {order}, at least 2 is allowed")
        self.order = operator.index(order)
        self._hashed = None if buckets is None else HashedCross(buckets)
        counts = [1] * (order - 2) + [min_count]
        self._pairs = [CrossDictionary(count) for count in counts]

    @property
    def size(self) -> int:
        """Ids are 0 .. size-1."""
        return self._pairs[-1].size if self._hashed is None else self._hashed.size

    def grow(self, columns: Sequence[ArrayLike]) -> Self:
        """Counts the crosses of the rows of `columns` and gives ids, as `CrossDictionary.grow_pairs`."""
        if self._hashed is None:
            first, *rest = self._distinct(columns)
            for pairs, column in zip(self._pairs, rest, strict=True):
                pairs.grow_pairs(first, column)
                first = _absent_as_padding(_combine(pairs, first, column))
        return self

    def lookup(self, columns: Sequence[ArrayLike]) -> Ids:
        """The crosses of each row, int64[N, M1 * .. * Mk], the last column's values innermost; 0 is none."""
        first, *rest = self._distinct(columns)
        for position, column in enumerate(rest):
            last = position == len(rest) - 1
            if self._hashed is None:
                first = _absent_as_padding(_combine(self._pairs[position], first, column))
            else:
                first = _absent_as_padding(_combine(self._hashed if last else _WIDE_HASH, first, column))
        return np.maximum(first, 0)

    def to_state(self) -> dict[str, NDArray[Any]]:
        """Everything as numpy arrays; the dictionaries' names begin with their position."""
        buckets = 0 if self._hashed is None else self._hashed.buckets
        state = {"shape": np.array([self.order, self._pairs[-1].min_count, buckets], np.int64)}
        for position, pairs in enumerate(self._pairs):
            state |= {f"{position}.{name}": array for name, array in pairs.to_state().items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """The transformation that `to_state` described."""
        order, min_count, buckets = map(int, state["shape"])
        product = cls(order, min_count, buckets or None)
        product._pairs = [
            CrossDictionary.from_state({name: state[f"{p}.{name}"] for name in ("keys", "ids", "min_count")})
            for p in range(order - 1)
        ]
        return product

    def _distinct(self, columns: Sequence[ArrayLike]) -> list[Ids]:
        """The columns as [N, M] with -1 for padding and for repeats within a row."""
        if len(columns) != self.order:
            raise ValueError(f"columns: got {len(columns)}, {self.order} are allowed")
        shaped = [distinct(column) for column in columns]
        if len({len(column) for column in shaped}) > 1:
            raise ValueError(f"columns: got {[len(c) for c in shaped]} rows, equally many are allowed")
        return [_absent_as_padding(column) for column in shaped]


_WIDE_HASH = HashedCross(2**62)


def distinct(column: ArrayLike) -> Ids:
    """`column` (ids [N] or [N, M]) as [N, M], with 0 in place of what a row has had further left."""
    ids = np.asarray(column, np.int64)
    if ids.ndim == 1:
        return ids[:, None]
    if ids.ndim != 2:
        raise ValueError(f"column: got {ids.ndim} dimensions, [N] or [N, M] are allowed")
    repeated = np.zeros(ids.shape, bool)
    for j in range(1, ids.shape[1]):
        repeated[:, j] = (ids[:, :j] == ids[:, j : j + 1]).any(axis=1)
    return np.where(repeated, 0, ids)


def _absent_as_padding(ids: Ids) -> Ids:
    return np.where(ids > 0, ids, -1)


def _combine(pairs: CrossDictionary | HashedCross, first: Ids, column: Ids) -> Ids:
    width = first.shape[1] * column.shape[1]
    return pairs.lookup(first[:, :, None], column[:, None, :]).reshape(len(first), width)
