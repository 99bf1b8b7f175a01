"""Published rankers: the immutable form that serves, small on disk and folded for speed in memory.

A score is a function of its own request and app alone, bit for bit, whatever else is in the call. Scoring
changes nothing of the ranker and scratch is each thread's own, so any number of threads may share a ranker.
Letters in shapes: B requests, C candidates.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models import checkpoint, published_form
from models.catalogue import Catalogue, user_codes
from models.folded_deep import FoldedNet
from models.folded_fm import FoldedFM
from models.folded_wide import FoldedWide
from models.settings import FeatureSettings
from simulator.schema import AppTable, Cardinalities, Requests

Array = NDArray[Any]


class Folded(Protocol):
    """A part of a published model."""

    def add(self, codes: Array, requests: Requests, out: Array) -> None:
        """Adds the part's log odds to `out` float32[B, C]."""
        ...


class Published:
    """A published model: the sum of its parts' log odds, times `scale`.

    Attributes:
        kind: name of the ranker's kind.
        meta: what `meta.json` says beside: `sim_day` (the last day fitted, or null), `nonzero` (weights other
            than 0 by part), `cardinalities`, `features`, `crosses`, `scale`.
        arrays: what `save` writes, by part and name; never changed.
        parts: the folded parts by name.

    Args:
        apps: the catalogue's table.
        kind: name of the ranker's kind.
        meta: as above.
        arrays: by part and name, `wide.ids` and the like.

    Raises:
        ValueError: if the arrays speak of apps beyond the table.
    """

    def __init__(
        self, apps: AppTable, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> None:
        self.kind, self.arrays = kind, dict(arrays)
        self.catalogue = Catalogue.of(
            apps,
            Cardinalities(**meta["cardinalities"]),
            FeatureSettings.model_validate(meta["features"]),
            self._under("features"),
        )
        self._scale = np.float32(meta["scale"])
        self.parts: dict[str, Folded] = {}
        nonzero: dict[str, int] = {}
        if wide := self._under("wide"):
            part = FoldedWide(self.catalogue, tuple(meta["crosses"]), wide)
            self.parts["wide"] = part
            nonzero |= part.counts()
        if deep := self._under("deep"):
            self.parts["deep"] = FoldedNet(self.catalogue, deep)
            nonzero["deep"] = sum(int(np.count_nonzero(array)) for array in deep.values())
        if fm := self._under("fm"):
            self.parts["fm"] = FoldedFM(self.catalogue, fm)
            nonzero["fm"] = sum(int(np.count_nonzero(array)) for array in fm.values())
        self.meta = {**meta, "nonzero": nonzero}

    def _under(self, part: str) -> dict[str, Array]:
        return {k.removeprefix(f"{part}."): v for k, v in self.arrays.items() if k.startswith(f"{part}.")}

    def score(self, requests: Requests) -> Array:
        """Log odds of acquisition at the top position, float32[B, C].

        Raises:
            ValueError: if an attribute or an app is outside of its range.
        """
        codes = user_codes(requests, self.catalogue.cardinalities, len(self.catalogue.codes))
        requests = _plain(requests)
        out = np.zeros(requests.apps.shape, np.float32)
        if out.size:
            for part in self.parts.values():
                part.add(codes, requests, out)
        if self._scale != 1:
            out *= self._scale
        return out

    def explain(self, requests: Requests, row: int, column: int) -> dict[str, float]:
        """The shares of one score by name: wide features, crosses, bias, and the deep part's logit.

        Shares of exactly 0 are left out; the others sum to `score(requests)[row, column]` but for rounding.

        Args:
            requests: the scored requests.
            row: of the request.
            column: of the app among its candidates.
        """
        one = _plain(requests.take(slice(row, row + 1)))
        codes = user_codes(one, self.catalogue.cardinalities, len(self.catalogue.codes))
        shares: dict[str, float] = {}
        for name, part in self.parts.items():
            if isinstance(part, FoldedWide):
                shares |= {n: s for n, s in part.shares(codes, one, 0, column) if s}
            else:
                out = np.zeros(one.apps.shape, np.float32)
                part.add(codes, one, out)
                shares[f"{name} logit"] = float(out[0, column])
        return {name: share * float(self._scale) for name, share in shares.items()}

    def rounded(self) -> Self:
        """The same model with the deep part's matrix products in bf16: faster, its scores a little off.

        Raises:
            ValueError: where the processor has no bf16 products.
        """
        other = copy.copy(self)
        other.parts = {
            name: part.rounded() if isinstance(part, FoldedNet) else part for name, part in self.parts.items()
        }
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of the weights and of what they are folded into; equal models have equal ones."""
        folded = sum(_held(value) for part in self.parts.values() for value in vars(part).values())
        return folded + sum(array.nbytes for array in self.arrays.values())

    def save(self, folder: Path) -> None:
        """Writes what serving needs into the existing `folder`."""
        checkpoint.write(folder, self.kind, self.arrays, form="published", **self.meta)

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        """The published ranker that `save` wrote; its scores are the same, bit for bit.

        Raises:
            FileNotFoundError: if the folder is not complete.
            ValueError: if it is of another format or form, or arrays and `meta.json` do not fit together or
                to the table.
        """
        arrays, meta = checkpoint.read(folder, None, "published")
        published_form.check(apps, meta, arrays)
        return cls(apps, meta.pop("kind"), meta, arrays)


def _held(value: Any) -> int:
    """Bytes of an array or a tensor, or of several."""
    if isinstance(value, list | tuple):
        return sum(_held(one) for one in value)
    return int(getattr(value, "nbytes", 0))


def _plain(requests: Requests) -> Requests:
    """The same requests with what compiled loops read in the one layout they are compiled for."""
    columns = {
        n: np.ascontiguousarray(getattr(requests, n), np.int32) for n in ("sim_day", "installed", "apps")
    }
    return dataclasses.replace(requests, **columns)


def part_arrays(parts: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays of several parts under one roof, `part.name`."""
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def describe(
    cardinalities: Cardinalities,
    features: FeatureSettings,
    crosses: tuple[str, ...],
    scale: float,
    day: int | None,
) -> dict[str, Any]:
    """The `meta` of a `Published`."""
    return {
        "cardinalities": dataclasses.asdict(cardinalities),
        "features": features.model_dump(mode="json"),
        "crosses": list(crosses),
        "scale": scale,
        "sim_day": day,
    }
