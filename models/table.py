"""From the columns of a table to ids (Cheng et al. 2016, sections 3.1 and 4.1), for any table.

Categorical and multivalent columns go through vocabularies, continuous ones through their quantiles. The deep
part takes ids and values normalised to [0, 1]; the wide part takes one space of coordinates over all values,
quantiles of continuous columns and crosses. Letters in shapes: N rows, M values of a multivalent column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, pairwise, product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.cross_product import CrossProduct, distinct
from models.quantiles import QuantileNormalizer
from models.vocabulary import Vocabulary

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TableSettings:
    """What to make of which column; see `models.WideDeepClassifier`. Columns are known by their names."""

    categorical: tuple[str, ...]
    continuous: tuple[str, ...]
    multivalent: tuple[str, ...]
    crosses: tuple[tuple[str, ...], ...]
    min_count: int
    num_quantiles: int
    wide_quantiles: int
    hash_buckets: int | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A table as numbers.

    Attributes:
        ids: of each categorical, then multivalent column, int32[N] or [N, M]; 0 is unknown or absent.
        dense: float32[N, continuous columns], in [0, 1].
        wide: int32[N, slots], coordinates of the wide part; 0 is none.
    """

    ids: list[Array]
    dense: Array
    wide: Array


class TableEncoder:
    """Learns from a table what `encode` needs; a row is then encoded by itself, whoever its neighbours are.

    Attributes:
        settings: see `TableSettings`.
        vocabularies: of the categorical and multivalent columns.
        normalizers: of the continuous columns, for the deep part.
        buckets: of the continuous columns, coarser, for the wide part.
        crosses: one transformation for each of `settings.crosses`.
    """

    def __init__(self, settings: TableSettings) -> None:
        s = self.settings = settings
        self.vocabularies = {name: Vocabulary(s.min_count) for name in (*s.categorical, *s.multivalent)}
        self.normalizers = {name: QuantileNormalizer(s.num_quantiles) for name in s.continuous}
        self.buckets = {name: QuantileNormalizer(s.wide_quantiles) for name in s.continuous}
        self.crosses = [CrossProduct(len(parts), s.min_count, s.hash_buckets) for parts in s.crosses]

    @property
    def sizes(self) -> list[int]:
        """Number of ids of each categorical, then multivalent column."""
        return [vocabulary.size for vocabulary in self.vocabularies.values()]

    @property
    def wide_size(self) -> int:
        """Number of coordinates of the wide part, 0 (none) included."""
        return self._bases()[-1] + 1

    def fit(self, columns: Mapping[str, Array]) -> Self:
        """Learns from the columns, as `read_columns` gives them.

        Raises:
            ValueError: if a continuous column has no number.
        """
        s = self.settings
        for name in (*s.categorical, *s.multivalent):
            values = columns[name] if name in s.categorical else _flat(columns[name])[0]
            self.vocabularies[name].fit(values)
        for name in s.continuous:
            if np.isnan(columns[name]).all():
                raise ValueError(f"{name}: got no number, at least one that is not NaN is needed")
            self.normalizers[name].fit(columns[name])
            self.buckets[name].fit(columns[name])
        local = self._local(columns)
        for cross, parts in zip(self.crosses, s.crosses, strict=True):
            cross.grow([local[name] for name in parts])
        return self

    def encode(self, columns: Mapping[str, Array]) -> Encoded:
        """The columns as numbers."""
        local = self._local(columns)
        N = len(next(iter(columns.values())))
        blocks = [np.zeros((N, 0), np.int32)]
        for block, base in zip(self._blocks(local), self._bases(), strict=False):
            blocks.append(np.where(block > 0, block + base, 0).astype(np.int32))
        dense = np.zeros((N, len(self.normalizers)), np.float32)
        for j, (name, normalizer) in enumerate(self.normalizers.items()):
            dense[:, j] = normalizer.transform(columns[name], np.float32)
        return Encoded([local[name] for name in self.vocabularies], dense, np.concatenate(blocks, axis=1))

    def names(self, columns: Mapping[str, Array]) -> list[list[str]]:
        """The name of each row's wide features, in the order of `Encoded.wide`; "" where there is none."""
        local = {name: distinct(ids) for name, ids in self._local(columns).items()}
        slots = {name: self._value_names(name, ids) for name, ids in local.items()}
        rows = []
        for r in range(len(next(iter(columns.values())))):
            row = [name for column in local for name in slots[column][r]]
            for parts in self.settings.crosses:
                combinations = product(*(slots[name][r] for name in parts))
                row += [f"AND({', '.join(c)})" if all(c) else "" for c in combinations]
            rows.append(row)
        return rows

    def _local(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        """Ids of each column's own, int32[N] or [N, M]; a continuous one's by quantile, missing last."""
        s = self.settings
        local = {
            name: self.vocabularies[name].lookup(columns[name]).astype(np.int32) for name in s.categorical
        }
        for name in s.multivalent:
            flat, lengths = _flat(columns[name])
            padded = np.zeros((len(lengths), max(1, int(lengths.max(initial=1)))), np.int32)
            padded[np.arange(padded.shape[1]) < lengths[:, None]] = self.vocabularies[name].lookup(flat)
            local[name] = distinct(padded).astype(np.int32)
        for name in s.continuous:
            x = columns[name]
            quantile = np.searchsorted(self.buckets[name].boundaries, x, side="left") + 1
            local[name] = np.where(np.isnan(x), s.wide_quantiles + 1, quantile).astype(np.int32)
        return local

    def _blocks(self, local: Mapping[str, Array]) -> list[Array]:
        """The wide part's ids by column, then by cross, [N, M] each."""
        crosses = zip(self.crosses, self.settings.crosses, strict=True)
        return [
            *(ids[:, None] if ids.ndim == 1 else ids for ids in local.values()),
            *(cross.lookup([local[name] for name in parts]) for cross, parts in crosses),
        ]

    def _bases(self) -> list[int]:
        """What is added to the ids of each block to make coordinates, then the largest coordinate."""
        continuous = [self.settings.wide_quantiles + 2] * len(self.settings.continuous)
        sizes = [*self.sizes, *continuous, *(cross.size for cross in self.crosses)]
        return np.cumsum([0, *(size - 1 for size in sizes)]).tolist()  # type: ignore[no-any-return]

    def _value_names(self, column: str, ids: Array) -> list[list[str]]:
        if column in self.settings.continuous:
            edges = ["-inf", *(f"{edge:g}" for edge in self.buckets[column].boundaries.tolist()), "inf"]
            names = ["", *(f"{a} < {column} <= {b}" for a, b in pairwise(edges))]
            names.append(f"{column} missing")
        else:
            names = ["", *(f"{column}={value}" for value in self.vocabularies[column].values())]
        return [[names[i] for i in row] for row in ids.tolist()]

    def to_state(self) -> dict[str, Array]:
        """Everything learned, as numpy arrays."""
        state: dict[str, Array] = {}
        for kind, parts in self._parts().items():
            for j, part in enumerate(parts):
                state |= {f"{kind}.{j}.{name}": array for name, array in part.to_state().items()}
        return state

    @classmethod
    def from_state(cls, settings: TableSettings, state: Mapping[str, Array]) -> Self:
        """The encoder of these settings that `to_state` described."""
        encoder = cls(settings)
        learned: dict[str, list[Any]] = {}
        for kind, parts in encoder._parts().items():
            for j, part in enumerate(parts):
                prefix = f"{kind}.{j}."
                own = {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}
                learned.setdefault(kind, []).append(type(part).from_state(own))
        for kind in ("vocabularies", "normalizers", "buckets"):
            setattr(encoder, kind, dict(zip(getattr(encoder, kind), learned.get(kind, []), strict=True)))
        encoder.crosses = learned.get("crosses", [])
        return encoder

    def _parts(self) -> dict[str, list[Any]]:
        return {
            "vocabularies": list(self.vocabularies.values()),
            "normalizers": list(self.normalizers.values()),
            "buckets": list(self.buckets.values()),
            "crosses": list(self.crosses),
        }


def read_columns(frame: Any, settings: TableSettings) -> dict[str, Array]:
    """The columns of a data frame that `settings` name: objects, or float64 with NaN for continuous ones.

    Raises:
        ValueError: if a column is missing or a continuous one holds something else than numbers.
    """
    s = settings
    columns = {}
    for name in (*s.categorical, *s.multivalent, *s.continuous):
        if name not in frame.columns:
            raise ValueError(f"frame: got no column {name!r}, {list(frame.columns)} are there")
        if name in s.continuous:
            try:
                columns[name] = frame[name].to_numpy(np.float64, na_value=np.nan)
            except (TypeError, ValueError):
                raise ValueError(
                    f"{name}: got values of type {frame[name].dtype}, numbers are allowed"
                ) from None
        else:
            columns[name] = np.asarray(frame[name])
    return columns


def _flat(cells: Array) -> tuple[list[Any], Array]:
    """The values of all cells, one after the other, and how many each has; a cell is a list or one value."""
    lists = [_values(cell) for cell in cells]
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return list(chain.from_iterable(lists)), lengths


def _values(cell: Any) -> list[Any]:
    return list(cell) if isinstance(cell, np.ndarray | list | tuple | set | frozenset) else [cell]
