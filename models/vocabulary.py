"""Vocabularies: from raw categorical values to integer ids (Cheng et al. 2016, section 4.1).

"Tables mapping categorical feature strings to integer IDs are generated for all the string features that
occurred more than a minimum number of times." Here a value is in from `min_count` occurrences on, id 0 is
everything else, and a vocabulary grows without renumbering, as a warm-started model needs (section 4.2).
"""

from __future__ import annotations

import json
import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]


class Vocabulary:
    """Ids of the values seen at least `min_count` times; id 0 is out of vocabulary or missing.

    Values are hashable and equal as in Python (1, 1.0 and True are one value). None, NaN, NaT and pandas' NA
    are missing: never counted, always id 0. Equal counts are ordered by value: numbers by size, then strings
    by code point, bytes, tuples item by item, then anything else by the name of its type and its `repr`.

    Attributes:
        min_count: occurrences from which on a value gets an id.

    Raises:
        ValueError: if `min_count` is less than 1.
    """

    def __init__(self, min_count: int = 1) -> None:
        if operator.index(min_count) < 1:
            raise ValueError(f"min_count: got {min_count}, at least 1 is allowed")
        self.min_count = operator.index(min_count)
        self._table: _IntegerTable | _ObjectTable | None = None

    @property
    def size(self) -> int:
        """How many ids there are, 0 included: ids are 0 .. size-1."""
        return 1 if self._table is None else self._table.size

    def values(self) -> list[Any]:
        """The values of ids 1 .. size-1, in this order."""
        return [] if self._table is None else self._table.values()

    def fit(self, values: ArrayLike | Iterable[Any]) -> Self:
        """Forgets everything, then counts `values` (any shape); ids go by descending count, then value.

        Raises:
            TypeError: if a value is not hashable.
        """
        self._table = None
        return self.grow(values)

    def grow(self, values: ArrayLike | Iterable[Any]) -> Self:
        """Adds to the counts; newly qualified values get the next ids, by descending count, then value.

        Ids given before stay. Values still under `min_count` are remembered with their counts.

        Raises:
            TypeError: if a value is not hashable.
        """
        array = _as_array(values)
        if self._table is None:
            self._table = _IntegerTable() if array.dtype.kind == "i" else _ObjectTable({}, {})
        if isinstance(self._table, _IntegerTable) and array.dtype.kind != "i":
            self._table = self._table.generalise()
        self._table.add(array, self.min_count)
        return self

    def lookup(self, values: ArrayLike | Iterable[Any]) -> Ids:
        """The ids of `values`, int64 of the same shape (a list or an iterable is one-dimensional).

        Raises:
            TypeError: if a value is not hashable.
        """
        array = _as_array(values)
        if self._table is None:
            return np.zeros(array.shape, np.int64)
        return self._table.lookup(array)

    def to_state(self) -> dict[str, NDArray[Any]]:
        """Everything as numpy arrays: `min_count`, `values` (int64, or UTF-8 JSON bytes), `counts`, `ids`.

        Raises:
            TypeError: if a value is none of bool, int, float, str, bytes or a tuple of these.
        """
        min_count = np.array([self.min_count], np.int64)
        state = _IntegerTable().to_state() if self._table is None else self._table.to_state()
        return {"min_count": min_count, **state}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """The vocabulary that `to_state` wrote; it looks up and grows as the original does."""
        vocabulary = cls(int(state["min_count"][0]))
        counts, ids = np.asarray(state["counts"]), np.asarray(state["ids"])
        if state["values"].dtype == np.int64:
            vocabulary._table = _IntegerTable(np.array(state["values"]), counts.copy(), ids.copy())
        else:
            values = [_decode(v) for v in json.loads(state["values"].tobytes())]
            assigned = sorted((i, v) for v, i in enumerate(ids.tolist()) if i)
            vocabulary._table = _ObjectTable(
                dict(zip(values, counts.tolist(), strict=True)), {values[v]: i for i, v in assigned}
            )
        return vocabulary


class _IntegerTable:
    """Counts and ids of int64 values, sorted by value: every operation is vectorised."""

    def __init__(self, keys: Ids | None = None, counts: Ids | None = None, ids: Ids | None = None) -> None:
        empty = np.zeros(0, np.int64)
        self.keys: Ids = empty if keys is None else keys
        self.counts: Ids = empty if counts is None else counts
        self.ids: Ids = empty if ids is None else ids
        self.size = 1 + int(np.count_nonzero(self.ids))
        self._objects: _ObjectTable | None = None
        self._direct: Ids | None = None

    def add(self, array: NDArray[Any], min_count: int) -> None:
        keys, counts = _count_integers(array.ravel())
        union = np.union1d(self.keys, keys)
        total, ids = np.zeros(len(union), np.int64), np.zeros(len(union), np.int64)
        old = np.searchsorted(union, self.keys)
        total[old], ids[old] = self.counts, self.ids
        total[np.searchsorted(union, keys)] += counts
        new = np.flatnonzero((ids == 0) & (total >= min_count))
        new = new[np.argsort(-total[new], kind="stable")]  # union is sorted: ties go by value
        ids[new] = np.arange(self.size, self.size + len(new))
        self.keys, self.counts, self.ids = union, total, ids
        self.size += len(new)
        self._objects = self._direct = None

    def lookup(self, array: NDArray[Any]) -> Ids:
        if array.dtype.kind != "i":
            if self._objects is None:
                self._objects = self.generalise()
            return self._objects.lookup(array)
        if not len(self.keys):
            return np.zeros(array.shape, np.int64)
        first, last = int(self.keys[0]) - 1, int(self.keys[-1]) + 1
        if last - first > 8 * len(self.keys) + 1024 or first < _INT64.min or last > _INT64.max:
            at = np.minimum(np.searchsorted(self.keys, array), len(self.keys) - 1)
            return np.where(self.keys[at] == array, self.ids[at], 0)
        if self._direct is None:  # dense values: a table with a 0 at both ends
            self._direct = np.zeros(last - first + 1, np.int64)
            self._direct[self.keys - first] = self.ids
        found: Ids = self._direct[np.clip(array, first, last) - first]
        return found

    def values(self) -> list[Any]:
        used = np.flatnonzero(self.ids)
        ordered: list[Any] = self.keys[used[np.argsort(self.ids[used])]].tolist()
        return ordered

    def generalise(self) -> _ObjectTable:
        keys = self.keys.tolist()
        values = self.values()
        return _ObjectTable(
            dict(zip(keys, self.counts.tolist(), strict=True)),
            dict(zip(values, range(1, self.size), strict=True)),
        )

    def to_state(self) -> dict[str, NDArray[Any]]:
        return {"values": self.keys.copy(), "counts": self.counts.copy(), "ids": self.ids.copy()}


class _ObjectTable:
    """Counts and ids of any hashable values, in dictionaries (`ids` in the order of its ids)."""

    def __init__(self, counts: dict[Any, int], ids: dict[Any, int]) -> None:
        self.counts = counts
        self.ids = ids

    @property
    def size(self) -> int:
        return 1 + len(self.ids)

    def add(self, array: NDArray[Any], min_count: int) -> None:
        seen = _count_objects(array)
        new = []
        for value, count in seen.items():
            total = self.counts.get(value, 0) + count
            self.counts[value] = total
            if total >= min_count and value not in self.ids:
                new.append((-total, _order(value), value))
        new.sort(key=lambda entry: entry[:2])
        for _, _, value in new:
            self.ids[value] = len(self.ids) + 1

    def lookup(self, array: NDArray[Any]) -> Ids:
        find = self.ids.get
        if array.dtype.kind == "O":
            found = [0 if is_missing(v) else find(_plain(v), 0) for v in array.ravel().tolist()]
            return np.array(found, np.int64).reshape(array.shape)
        values, inverse = np.unique(array, return_inverse=True)  # NaN is in no dictionary
        table = np.fromiter((find(v, 0) for v in values.tolist()), np.int64, len(values))
        return table[inverse].reshape(array.shape)

    def values(self) -> list[Any]:
        return list(self.ids)

    def to_state(self) -> dict[str, NDArray[Any]]:
        document = json.dumps([_encode(value) for value in self.counts], ensure_ascii=False)
        return {
            "values": np.frombuffer(document.encode("utf-8", "surrogatepass"), np.uint8).copy(),
            "counts": np.array(list(self.counts.values()), np.int64),
            "ids": np.array([self.ids.get(value, 0) for value in self.counts], np.int64),
        }


_INT64 = np.iinfo(np.int64)


def _as_array(values: ArrayLike | Iterable[Any]) -> NDArray[Any]:
    """`values` as int64, as one of numpy's own kinds without missing values but NaN, or as objects."""
    if isinstance(values, np.ndarray) or hasattr(values, "__array__"):
        array = np.asarray(values)
    else:
        items = (
            list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else [values]
        )
        array = np.fromiter(items, object, len(items))
        if items and all(type(item) is int and abs(item) <= _INT64.max for item in items):
            array = array.astype(np.int64)
    if array.dtype.kind == "u" and (array.size == 0 or int(array.max()) <= _INT64.max):
        array = array.astype(np.int64)
    if array.dtype.kind == "i":
        return array.astype(np.int64, copy=False)
    return array if array.dtype.kind in "OUSbfu" else array.astype(object)


def _count_integers(values: Ids) -> tuple[Ids, Ids]:
    """The distinct values, ascending, and how often each occurs."""
    if len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < 4 * len(values) + 1024:
            counts = np.bincount(values - low)
            used = np.flatnonzero(counts)
            return used + low, counts[used]
    return np.unique(values, return_counts=True)


def _count_objects(array: NDArray[Any]) -> dict[Any, int]:
    if array.dtype.kind == "O":
        return Counter(v for v in map(_plain, array.ravel().tolist()) if not is_missing(v))
    values, counts = np.unique(array, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return {value: count for value, count in pairs if not is_missing(value)}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: None, NaN, NA or NaT."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float | np.floating | np.datetime64 | np.timedelta64) and bool(value != value)


def _order(value: Any) -> tuple[Any, ...]:
    """A key under which values of any types have one total order."""
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, bytes):
        return (2, value)
    if isinstance(value, tuple):
        return (3, tuple(map(_order, value)))
    return (4, type(value).__qualname__, repr(value))


def _encode(value: Any) -> Any:
    """JSON of one value: itself for bool, int, float and str, else tagged in a one-key object."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, tuple):
        return {"tuple": list(map(_encode, value))}
    raise TypeError(
        f"value: got {value!r} of type {type(value).__name__}, "
        "only bool, int, float, str, bytes and tuples of these can be saved"
    )


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return bytes.fromhex(value["bytes"]) if "bytes" in value else tuple(map(_decode, value["tuple"]))
