"""FTRL-Proximal with L1 and L2, per coordinate (McMahan et al. 2013, Algorithm 1), for sparse examples.

Cheng et al. 2016, section 3.3 train the wide part with it. A coordinate's state lies in one row
(z, n, w, gradient) of a table, so that one cache line serves it; `add_logits`, `add_gradients` and `update`
are the kernels, for other compiled loops to call.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, DTypeLike, NDArray

Floats = NDArray[Any]
Ids = NDArray[np.int64]

Z, N, W, G = 0, 1, 2, 3
"""The columns of `FTRL.table`: z and n of Algorithm 1, the weight, the gradient summed so far (0 at rest)."""


@njit(cache=True)
def update_at(table: Floats, i: int, alpha: float, beta: float, l1: float, l2: float) -> None:
    """One step of Algorithm 1 for coordinate i with the gradient in `table[i, G]`, which it clears.

    sigma = (sqrt(n + g^2) - sqrt(n)) / alpha is written without its cancellation. A gradient of 0 changes
    nothing.
    """
    g = np.float64(table[i, 3])
    if g == 0.0:
        return
    n = np.float64(table[i, 1])
    roots = math.sqrt(n + g * g) + math.sqrt(n)
    sigma = g * g / (roots * alpha) if roots > 0.0 else 0.0  # g^2 may underflow
    table[i, 0] += g - sigma * table[i, 2]
    table[i, 1] = n + g * g
    table[i, 2] = weight(table[i, 0], table[i, 1], alpha, beta, l1, l2)
    table[i, 3] = 0.0


@njit(cache=True)
def update(row: Floats, alpha: float, beta: float, l1: float, l2: float) -> None:
    """As `update_at`, for one row of `FTRL.table`; indices in place of a row are a quarter faster."""
    update_at(row.reshape(1, 4), 0, alpha, beta, l1, l2)


@njit(cache=True)
def weight(z: float, n: float, alpha: float, beta: float, l1: float, l2: float) -> float:
    """The weight of a coordinate with state z, n: exactly 0 where |z| <= l1 (or beta, n and l2 are 0)."""
    z = np.float64(z)
    if abs(z) <= l1:
        return 0.0
    slope = (beta + math.sqrt(np.float64(n))) / alpha + l2
    return (math.copysign(l1, z) - z) / slope if slope > 0.0 else 0.0


@njit(cache=True)
def refresh(table: Floats, alpha: float, beta: float, l1: float, l2: float) -> None:
    """Computes the weights of the whole `table` [size, 4] from its z and n."""
    for i in range(len(table)):
        table[i, 2] = weight(table[i, 0], table[i, 1], alpha, beta, l1, l2)


@njit(cache=True)
def add_logits(table: Floats, ids: Ids, offsets: Ids, values: Floats, out: Floats) -> None:
    """out[b] += sum of w[i] * x_i over the ids of example b; empty `values` stand for ones."""
    weighted = len(values) > 0
    for b in range(len(offsets) - 1):
        total = 0.0
        for j in range(offsets[b], offsets[b + 1]):
            total += table[ids[j], 2] * values[j] if weighted else np.float64(table[ids[j], 2])
        out[b] += total


@njit(cache=True)
def add_gradients(table: Floats, ids: Ids, offsets: Ids, gradients: Floats, values: Floats) -> None:
    """Adds each example's gradient by its logit, times x_i, to the gradients of its coordinates."""
    weighted = len(values) > 0
    for b in range(len(offsets) - 1):
        g = gradients[b]
        for j in range(offsets[b], offsets[b + 1]):
            table[ids[j], 3] += g * values[j] if weighted else g


@njit(cache=True)
def update_all(table: Floats, ids: Ids, alpha: float, beta: float, l1: float, l2: float) -> None:
    """One update for each coordinate of `ids` (repeats allowed: the first clears the gradient)."""
    for j in range(len(ids)):
        update_at(table, ids[j], alpha, beta, l1, l2)


class FTRL:
    """A linear logistic part over `size` coordinates, without a bias of its own.

    A mini-batch is one step of Algorithm 1 for each touched coordinate, with the gradients of the batch
    summed. Arithmetic is in float64, state in `dtype`. Ids are plain coordinates; 0 is one like the others.

    Attributes:
        table: dtype[size, 4], the columns z, n, weight and summed gradient (0 between steps).

    Args:
        size: number of coordinates, >= 0.
        alpha: learning rate, > 0.
        beta: added to the root of the summed squared gradients, >= 0.
        l1: strength of the L1 penalty, >= 0; weights of coordinates with |z| <= l1 are exactly 0.
        l2: strength of the L2 penalty, >= 0.
        dtype: np.float32 or np.float64.

    Raises:
        ValueError: for arguments outside of these ranges.
    """

    def __init__(
        self,
        size: int,
        alpha: float = 0.1,
        beta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if operator.index(size) < 0:
            raise ValueError(f"size: got {size}, at least 0 is allowed")
        if not (math.isfinite(alpha) and alpha > 0):
            raise ValueError(f"alpha: got {alpha}, a finite number above 0 is allowed")
        for name, value in (("beta", beta), ("l1", l1), ("l2", l2)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: got {value}, a finite number of at least 0 is allowed")
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype: got {self.dtype}, float32 or float64 are allowed")
        self.alpha, self.beta, self.l1, self.l2 = float(alpha), float(beta), float(l1), float(l2)
        self.table: Floats = np.zeros((operator.index(size), 4), self.dtype)
        self._ones = np.zeros(0, self.dtype)
        self._exposed = False  # z or n were handed out and may have been written to

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.table)

    @property
    def z(self) -> Floats:
        """Algorithm 1's z, dtype[size], a writable view.

        Weights follow what is written before the next call; for writing after it, ask for the view anew.
        """
        self._exposed = True
        return self.table[:, Z]

    @property
    def n(self) -> Floats:
        """Algorithm 1's n (summed squared gradients), dtype[size], a writable view like `z`."""
        self._exposed = True
        return self.table[:, N]

    def weights(self) -> Floats:
        """A copy of the weights, dtype[size]: -(z - sgn(z) l1) / ((beta + sqrt(n)) / alpha + l2)."""
        self._exposed = True
        self._settle()
        return self.table[:, W].copy()

    def logits(
        self, ids: ArrayLike, offsets: ArrayLike, values: ArrayLike | None = None, out: Floats | None = None
    ) -> Floats:
        """The logits of B examples, dtype[B].

        Args:
            ids: int64[n], coordinates; those of example b are ids[offsets[b]:offsets[b + 1]]. A repeated id
                counts as often as it stands there.
            offsets: int64[B + 1], ascending from 0 to n.
            values: float[n], x_i of each id; ones where None.
            out: dtype[B] to be overwritten and returned.

        Raises:
            ValueError: if lengths or offsets do not match, or `out` has another shape or dtype.
            IndexError: if an id is outside of 0 .. size-1.
        """
        ids, offsets, values = self._examples(ids, offsets, values)
        if out is None:
            out = np.zeros(len(offsets) - 1, self.dtype)
        elif out.shape != (len(offsets) - 1,) or out.dtype != self.dtype:
            raise ValueError(
                f"out: got {out.dtype}{list(out.shape)}, {self.dtype}[{len(offsets) - 1}] is allowed"
            )
        else:
            out[:] = 0
        self._settle()
        add_logits(self.table, ids, offsets, values, out)
        return out

    def step(
        self, ids: ArrayLike, offsets: ArrayLike, gradients: ArrayLike, values: ArrayLike | None = None
    ) -> None:
        """One mini-batch: `gradients` float[B] are those of the loss by each example's logit (p - y).

        The other arguments are those of `logits`. Coordinates not in `ids`, and those whose gradients sum
        to 0, do not move.

        Raises:
            ValueError: if lengths or offsets do not match or a gradient is not finite.
            IndexError: if an id is outside of 0 .. size-1.
        """
        ids, offsets, values = self._examples(ids, offsets, values)
        gradients = np.ascontiguousarray(gradients, self.dtype)
        if gradients.shape != (len(offsets) - 1,):
            raise ValueError(f"gradients: got shape {gradients.shape}, ({len(offsets) - 1},) is allowed")
        if not np.isfinite(gradients).all():
            bad = gradients[~np.isfinite(gradients)][0]
            raise ValueError(f"gradients: got {bad}, finite numbers are allowed")
        self._settle()
        add_gradients(self.table, ids, offsets, gradients, values)
        update_all(self.table, ids, self.alpha, self.beta, self.l1, self.l2)

    def grow(self, size: int) -> Self:
        """Appends coordinates with zero state up to `size`; the others keep theirs.

        Raises:
            ValueError: if `size` is less than the present size.
        """
        if operator.index(size) < self.size:
            raise ValueError(f"size: got {size}, at least the present {self.size} is allowed")
        if size > self.size:
            table = np.zeros((size, 4), self.dtype)
            table[: self.size] = self.table
            self.table = table
        return self

    def to_state(self) -> dict[str, NDArray[Any]]:
        """Copies of everything: `z`, `n` (dtype[size]), `settings` (float64: alpha, beta, l1, l2)."""
        settings = np.array([self.alpha, self.beta, self.l1, self.l2])
        return {"z": self.table[:, Z].copy(), "n": self.table[:, N].copy(), "settings": settings}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """The `FTRL` that `to_state` described; it goes on as the original would."""
        z = np.asarray(state["z"])
        alpha, beta, l1, l2 = map(float, state["settings"])
        ftrl = cls(len(z), alpha, beta, l1, l2, z.dtype)
        ftrl.table[:, Z], ftrl.table[:, N] = z, state["n"]
        ftrl._exposed = True
        return ftrl

    def _settle(self) -> None:
        """Weights follow z and n where a caller may have written to these."""
        if self._exposed:
            refresh(self.table, self.alpha, self.beta, self.l1, self.l2)
            self._exposed = False

    def _examples(
        self, ids: ArrayLike, offsets: ArrayLike, values: ArrayLike | None
    ) -> tuple[Ids, Ids, Floats]:
        ids, offsets = _integers("ids", ids), _integers("offsets", offsets)
        if not len(offsets) or offsets[0] != 0:
            got = f"{offsets[0]} first" if len(offsets) else "no number"
            raise ValueError(f"offsets: got {got}, B + 1 numbers from 0 on are allowed")
        if (offsets[1:] < offsets[:-1]).any():
            raise ValueError("offsets: got a smaller number after a larger one, ascending ones are allowed")
        if offsets[-1] != len(ids):
            raise ValueError(f"offsets: got {offsets[-1]} last, the number of ids, {len(ids)}, is allowed")
        if len(ids) and (ids.min() < 0 or ids.max() >= self.size):
            bad = ids[(ids < 0) | (ids >= self.size)][0]
            raise IndexError(f"ids: got {bad}, 0 to {self.size - 1} are allowed")
        if values is None:
            return ids, offsets, self._ones
        values = np.ascontiguousarray(values, self.dtype)
        if values.shape != ids.shape:
            raise ValueError(f"values: got shape {values.shape}, that of the ids, {ids.shape}, is allowed")
        return ids, offsets, values


def _integers(name: str, numbers: ArrayLike) -> Ids:
    array = np.asarray(numbers)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name}: got {array.dtype}{list(array.shape)}, one row of integers is allowed")
    return np.ascontiguousarray(array, np.int64)
