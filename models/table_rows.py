"""Row operations of a network over a table's columns: gather, join, split, AdaGrad by row.

Compiled loops on the CPU, torch operations elsewhere; sums run in the order of the rows, so that results
repeat bit for bit. Letters in shapes: B rows of a batch, K id slots, F fields, D dimensions of an embedding,
H units, R rows of a table of embeddings. The slots of field f are starts[f] .. starts[f + 1] - 1; a field
with several present values (ids >= 0) in a row stands for their mean.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models import devices
from models.ftrl import update_at

EPSILON = 1e-10
"""Added to the root of AdaGrad's accumulator, as in torch.optim.Adagrad."""


@njit(cache=True)
def add_padded_logits(table: Any, ids: Any, out: Any) -> None:
    """out[b] += the FTRL weights of row b's coordinates ids [B, K]; 0 is no coordinate."""
    for b in range(len(ids)):
        total = 0.0
        for k in range(ids.shape[1]):
            if ids[b, k] > 0:
                total += table[ids[b, k], 2]
        out[b] += total


@njit(cache=True)
def step_padded(
    table: Any, ids: Any, gradients: Any, alpha: float, beta: float, l1: float, l2: float
) -> None:
    """One FTRL mini-batch on coordinates ids [B, K], 0 being none, with the gradients [B] by the logits."""
    for b in range(len(ids)):
        for k in range(ids.shape[1]):
            if ids[b, k] > 0:
                table[ids[b, k], 3] += gradients[b]
    for b in range(len(ids)):
        for k in range(ids.shape[1]):
            if ids[b, k] > 0:
                update_at(table, ids[b, k], alpha, beta, l1, l2)


@njit(cache=True)
def _share(ids: Any, b: int, first: int, last: int) -> np.float32:
    """One over the number of present values of a field, 0 if there is none."""
    present = 0
    for k in range(first, last):
        present += ids[b, k] >= 0
    return np.float32(1.0 / present) if present else np.float32(0.0)


@njit(cache=True)
def _gather(table: Any, ids: Any, starts: Any, out: Any) -> None:
    D = table.shape[1]
    for b in range(len(ids)):
        for f in range(len(starts) - 1):
            scale, at = _share(ids, b, starts[f], starts[f + 1]), f * D
            for d in range(D):
                out[b, at + d] = np.float32(0.0)
            for k in range(starts[f], starts[f + 1]):
                r = ids[b, k]
                if r >= 0:
                    for d in range(D):
                        out[b, at + d] += table[r, d] * scale


@njit(cache=True)
def _join(hidden: Any, projected: Any, ids: Any, starts: Any) -> None:
    zero, H = np.float32(0.0), hidden.shape[1]
    for b in range(len(hidden)):
        for f in range(len(starts) - 1):
            scale = _share(ids, b, starts[f], starts[f + 1])
            for k in range(starts[f], starts[f + 1]):
                r = ids[b, k]
                if r >= 0:
                    for h in range(H):
                        hidden[b, h] += projected[r, h] * scale
        for h in range(H):
            hidden[b, h] = max(hidden[b, h], zero)


@njit(cache=True)
def _mask(hidden: Any, gradient: Any) -> None:
    zero = np.float32(0.0)
    for b in range(len(hidden)):
        for h in range(hidden.shape[1]):
            gradient[b, h] = gradient[b, h] if hidden[b, h] > zero else zero


@njit(cache=True)
def _split(gradient: Any, ids: Any, starts: Any, projected: Any) -> None:
    for b in range(len(gradient)):
        for f in range(len(starts) - 1):
            scale = _share(ids, b, starts[f], starts[f + 1])
            for k in range(starts[f], starts[f + 1]):
                r = ids[b, k]
                if r >= 0:
                    for h in range(gradient.shape[1]):
                        projected[r, h] += gradient[b, h] * scale


@njit(cache=True, error_model="numpy")
def _adagrad(weights: Any, squares: Any, gradient: Any, rate: np.float32, epsilon: np.float32) -> None:
    for i in range(len(weights)):
        squares[i] += gradient[i] * gradient[i]
        weights[i] -= rate * gradient[i] / (np.sqrt(squares[i]) + epsilon)


@njit(cache=True, error_model="numpy")
def _adagrad_rows(
    table: Any,
    squares: Any,
    ids: Any,
    starts: Any,
    gradient: Any,
    rate: np.float32,
    epsilon: np.float32,
    marks: Any,
    found: Any,
    sums: Any,
) -> None:
    D, n = table.shape[1], 0
    for b in range(len(ids)):
        for f in range(len(starts) - 1):
            scale, at = _share(ids, b, starts[f], starts[f + 1]), f * D
            for k in range(starts[f], starts[f + 1]):
                r = ids[b, k]
                if r < 0:
                    continue
                m = marks[r]
                if m < 0:
                    marks[r] = n
                    found[n] = r
                    for d in range(D):
                        sums[n, d] = gradient[b, at + d] * scale
                    n += 1
                else:
                    for d in range(D):
                        sums[m, d] += gradient[b, at + d] * scale
    for i in range(n):
        r = found[i]
        marks[r] = -1
        for d in range(D):
            squares[r, d] += sums[i, d] * sums[i, d]
            table[r, d] -= rate * sums[i, d] / (np.sqrt(squares[r, d]) + epsilon)


def gather(table: Tensor, ids: Tensor, starts: Tensor, out: Tensor) -> None:
    """out[:, f D : (f + 1) D] = field f's embedding; table [R, D], ids int32[B, K], starts int64[F + 1]."""
    if table.is_cpu:
        _gather(table.numpy(), ids.numpy(), starts.numpy(), out.numpy())
        return
    D = table.shape[1]
    for f, (slots, share) in enumerate(_fields(ids, starts)):
        out[:, f * D : (f + 1) * D] = (table[slots.clamp(min=0)] * share[:, :, None]).sum(1)


def join(hidden: Tensor, projected: Tensor, ids: Tensor, starts: Tensor) -> None:
    """Adds each field's row of `projected` [R, H] to `hidden` [B, H], then takes the ReLU, in place."""
    if hidden.is_cpu:
        _join(hidden.numpy(), projected.numpy(), ids.numpy(), starts.numpy())
        return
    for slots, share in _fields(ids, starts):
        hidden += (projected[slots.clamp(min=0)] * share[:, :, None]).sum(1)
    hidden.relu_()


def mask(hidden: Tensor, gradient: Tensor) -> None:
    """The way back through a ReLU that gave `hidden` [B, H]: clears `gradient` [B, H] where that is 0."""
    if hidden.is_cpu:
        _mask(hidden.numpy(), gradient.numpy())
    else:
        gradient *= hidden > 0


def split(gradient: Tensor, ids: Tensor, starts: Tensor, projected: Tensor) -> None:
    """The way back through `join`: adds the masked `gradient` [B, H] to the rows of `projected` [R, H]."""
    if gradient.is_cpu:
        _split(gradient.numpy(), ids.numpy(), starts.numpy(), projected.numpy())
        return
    for slots, share in _fields(ids, starts):
        source = gradient[:, None, :] * share[:, :, None]
        rows = slots.clamp(min=0).reshape(-1)
        devices.add_at(projected, rows, source.reshape(-1, source.shape[-1]))


def adagrad(weights: Tensor, squares: Tensor, gradient: Tensor, rate: float) -> None:
    """One step of AdaGrad (Duchi, Hazan and Singer 2011) on flat tensors of one length."""
    if weights.is_cpu:
        step, epsilon = np.float32(rate), np.float32(EPSILON)
        _adagrad(weights.numpy(), squares.numpy(), gradient.numpy(), step, epsilon)
        return
    squares.addcmul_(gradient, gradient)
    weights.addcdiv_(gradient, squares.sqrt().add_(EPSILON), value=-rate)


class AdagradRows:
    """AdaGrad on the touched rows of a table: as on all of it, since a gradient of 0 moves nothing.

    Args:
        rows: R, the number of rows of the table.
    """

    def __init__(self, rows: int) -> None:
        self._marks = np.full(rows, -1, np.int32)
        self._found = np.zeros(0, np.int32)
        self._sums = np.zeros((0, 0), np.float32)

    def step(
        self, table: Tensor, squares: Tensor, ids: Tensor, starts: Tensor, gradient: Tensor, rate: float
    ) -> None:
        """One step on `table`, `squares` [R, D] with the gradient [B, F D] by what `gather` gave."""
        if table.is_cpu:
            if self._sums.shape != (ids.numel(), table.shape[1]):
                self._found = np.zeros(ids.numel(), np.int32)
                self._sums = np.zeros((ids.numel(), table.shape[1]), np.float32)
            tensors = (table, squares, ids, starts, gradient)
            scalars = (np.float32(rate), np.float32(EPSILON))
            _adagrad_rows(*(t.numpy() for t in tensors), *scalars, self._marks, self._found, self._sums)
            return
        D = table.shape[1]
        rows, parts = [], []
        for f, (slots, share) in enumerate(_fields(ids, starts)):
            source = gradient[:, None, f * D : (f + 1) * D] * share[:, :, None]
            rows.append(slots[slots >= 0])
            parts.append(source[slots >= 0])
        found, inverse = torch.unique(torch.cat(rows), return_inverse=True)
        g = table.new_zeros(len(found), D)
        devices.add_at(g, inverse, torch.cat(parts))
        part = squares[found].addcmul_(g, g)
        squares[found] = part
        table[found] = table[found].addcdiv_(g, part.sqrt().add_(EPSILON), value=-rate)


def _fields(ids: Tensor, starts: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Each field's slots, int32[B, k], and each slot's share in the field's mean, float32[B, k]."""
    fields = []
    bounds = starts.tolist()
    for first, last in pairwise(bounds):
        slots = ids[:, first:last]
        present = (slots >= 0).float()
        fields.append((slots, present / present.sum(1, keepdim=True).clamp(min=1)))
    return fields
