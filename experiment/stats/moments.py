"""Sufficient statistics of users: counts, totals and centred products; they merge exactly.

Columns, K of them: acquisitions x, impressions y, and where there is a pre-period its acquisitions px and
impressions py. Any ratio of totals may stand for x / y: with y = 1 the rate is a mean per user.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

X, Y, PX, PY = 0, 1, 2, 3
"""Positions of the columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sufficient statistics of users, with any leading shape (arm, day, segment, replay).

    Products are centred on the cell's own mean, so that counts of 1e9 keep their variance (Chan, Golub &
    LeVeque 1983).

    Attributes:
        n: float64[...], users.
        total: float64[..., K], the columns' totals; K is 2 (x, y) or 4 (x, y, px, py).
        scatter: float64[..., K, K], sums of products of deviations from the cell's means; 0 for no users.
    """

    n: Floats
    total: Floats
    scatter: Floats

    @classmethod
    def from_users(
        cls, x: ArrayLike, y: ArrayLike, px: ArrayLike | None = None, py: ArrayLike | None = None
    ) -> Self:
        """The statistics of users in the last axis of x, y (and px, py), all [..., users]."""
        rows = _columns(x, y, px, py)
        n = np.full(rows.shape[:-2], float(rows.shape[-1]))
        total = rows.sum(axis=-1)
        centred = rows - (total / np.maximum(n, 1)[..., None])[..., None]
        return cls(n, total, centred @ np.swapaxes(centred, -1, -2))

    @classmethod
    def from_groups(
        cls,
        codes: ArrayLike,
        groups: int,
        x: ArrayLike,
        y: ArrayLike,
        px: ArrayLike | None = None,
        py: ArrayLike | None = None,
    ) -> Self:
        """The statistics of each group, leading shape [groups]; `codes` int[users] are 0 .. groups-1."""
        rows = _columns(x, y, px, py)
        at = np.asarray(codes, dtype=np.intp)
        n = np.bincount(at, minlength=groups).astype(np.float64)
        total = np.stack([np.bincount(at, row, groups).astype(np.float64) for row in rows], axis=-1)
        centred = rows - (total / np.maximum(n, 1)[:, None])[at].T
        width = len(rows)
        scatter = np.empty((groups, width, width))
        for i in range(width):
            for j in range(i, width):
                scatter[:, i, j] = scatter[:, j, i] = np.bincount(at, centred[i] * centred[j], groups)
        return cls(n, total, scatter)

    @classmethod
    def from_weights(
        cls,
        weights: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        px: ArrayLike | None = None,
        py: ArrayLike | None = None,
    ) -> Self:
        """Many samples of the same users by one matrix product: leading shape that of `weights`.

        Args:
            weights: [..., users], how often each user is in a sample: 0 or 1 for an assignment, counts for
                draws with replacement.
            x: [users]; y, px, py likewise.
            y: see x.
            px: see x.
            py: see x.
        """
        rows = _columns(x, y, px, py)
        width = len(rows)
        origin = rows.mean(axis=-1)
        rows = rows - origin[:, None]
        upper = np.triu_indices(width)
        design = np.concatenate([np.ones_like(rows[:1]), rows, rows[upper[0]] * rows[upper[1]]])
        sums = np.asarray(weights, dtype=np.float64) @ design.T
        products = np.empty((*sums.shape[:-1], width, width))
        products[..., upper[0], upper[1]] = products[..., upper[1], upper[0]] = sums[..., 1 + width :]
        return cls.from_sums(sums[..., 0], sums[..., 1 : 1 + width], products, origin=origin)

    @classmethod
    def from_sums(
        cls, n: ArrayLike, total: ArrayLike, products: ArrayLike, origin: ArrayLike | None = None
    ) -> Self:
        """The statistics from raw sums.

        Args:
            n: [...], users.
            total: [..., K], sums of (value - origin).
            products: [..., K, K], sums of products of (value - origin). With the origin far from the mean,
                the difference of large numbers eats the variance; give one near it.
            origin: [..., K] or [K]; 0 by default.
        """
        count = np.asarray(n, dtype=np.float64)
        sums = np.asarray(total, dtype=np.float64)
        mean = sums / np.where(count > 0, count, 1)[..., None]
        scatter = np.asarray(products, dtype=np.float64) - mean[..., :, None] * sums[..., None, :]
        if origin is not None:
            sums = sums + count[..., None] * np.asarray(origin, dtype=np.float64)
        return cls(count, sums, scatter)

    @classmethod
    def empty(cls, shape: tuple[int, ...] = (), *, pre: bool = False) -> Self:
        """The statistics of no users, with leading `shape`."""
        width = 4 if pre else 2
        return cls(np.zeros(shape), np.zeros((*shape, width)), np.zeros((*shape, width, width)))

    @property
    def has_pre(self) -> bool:
        """Whether the pre-period's columns are there."""
        return int(self.total.shape[-1]) == 4

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading shape."""
        return self.n.shape

    @property
    def mean(self) -> Floats:
        """The columns' means, [..., K]; NaN for no users."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.total / self.n[..., None]

    @property
    def covariance(self) -> Floats:
        """Covariances with ddof 1, [..., K, K]; NaN for fewer than two users."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.scatter / np.where(self.n > 1, self.n - 1, np.nan)[..., None, None]

    def __add__(self, other: Moments) -> Moments:
        """The statistics of the users of both; shapes broadcast.

        Raises ValueError if only one has a pre-period.
        """
        if self.has_pre != other.has_pre:
            raise ValueError("pre-period: got it on one side of the sum, both or neither are allowed")
        n = self.n + other.n
        gap = other.total / np.maximum(other.n, 1)[..., None] - self.total / np.maximum(self.n, 1)[..., None]
        weight = self.n * other.n / np.where(n > 0, n, 1)
        scatter = (
            self.scatter + other.scatter + weight[..., None, None] * (gap[..., :, None] * gap[..., None, :])
        )
        return Moments(n, self.total + other.total, scatter)

    def __getitem__(self, index: Any) -> Moments:
        """The statistics at `index` of the leading shape."""
        return Moments(self.n[index], self.total[index], self.scatter[index])

    def sum(self, axis: int = 0) -> Moments:
        """All cells along `axis` of the leading shape merged."""
        if not -len(self.shape) <= axis < len(self.shape):
            raise ValueError(f"axis: got {axis}, one of a leading shape {self.shape} is allowed")
        axis = axis % len(self.shape)
        cells = (self[(slice(None),) * axis + (i,)] for i in range(self.shape[axis]))
        rest = self.shape[:axis] + self.shape[axis + 1 :]
        return reduce(Moments.__add__, cells, Moments.empty(rest, pre=self.has_pre))

    def without_pre(self) -> Moments:
        """The same users without the pre-period's columns."""
        return Moments(self.n, self.total[..., :2], self.scatter[..., :2, :2])

    def per_user(self, column: int = X) -> Moments:
        """The statistics whose rate is the mean of `column` per user: that column over y = 1."""
        total = np.stack([self.total[..., column], self.n], axis=-1)
        scatter = np.zeros((*self.shape, 2, 2))
        scatter[..., 0, 0] = self.scatter[..., column, column]
        return Moments(self.n, total, scatter)


def merge(parts: Iterable[Moments]) -> Moments:
    """All `parts` merged. Raises ValueError for none."""
    cells = list(parts)
    if not cells:
        raise ValueError("parts: got none, at least one is allowed")
    return reduce(Moments.__add__, cells)


def stack(parts: Iterable[Moments]) -> Moments:
    """All `parts`, of one shape, side by side along a new first axis."""
    cells = list(parts)
    return Moments(
        np.stack([c.n for c in cells]),
        np.stack([c.total for c in cells]),
        np.stack([c.scatter for c in cells]),
    )


def _columns(x: ArrayLike, y: ArrayLike, px: ArrayLike | None, py: ArrayLike | None) -> Floats:
    """The columns as float64[..., K, users]. Raises ValueError for half a pre-period."""
    if (px is None) != (py is None):
        raise ValueError("px, py: got one of them, both or neither are allowed")
    columns = [np.asarray(c, dtype=np.float64) for c in (x, y, px, py) if c is not None]
    return np.stack(np.broadcast_arrays(*columns), axis=-2)
