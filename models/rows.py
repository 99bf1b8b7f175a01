"""Row operations of embedding models: gather, pool, scatter; compiled loops on the CPU, torch elsewhere.

Torch's own `index_add_` takes a call per row on the CPU. Sums run in the order of the rows, so results repeat
bit for bit. Letters in shapes: N rows, H columns, B requests, S shown apps, U distinct apps, P positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from models import devices

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def _distinct(values: Any, marks: Any, found: Any, inverse: Any) -> int:
    n = 0
    for k in range(len(values)):
        v = values[k]
        if marks[v] < 0:
            marks[v] = n
            found[n] = v
            n += 1
        inverse[k] = marks[v]
    for k in range(n):
        marks[found[k]] = -1
    return n


@njit(cache=True)
def _add_rows(target: Any, index: Any, source: Any) -> None:
    for n in range(len(index)):
        t = index[n]
        for h in range(target.shape[1]):
            target[t, h] += source[n, h]


@njit(cache=True)
def _pool(table: Any, index: Any, offsets: Any, out: Any) -> None:
    for b in range(len(offsets) - 1):
        first, last = offsets[b], offsets[b + 1]
        for n in range(first, last):
            for h in range(table.shape[1]):
                out[b, h] += table[index[n], h]
        if last > first:
            scale = np.float32(1.0 / (last - first))
            for h in range(table.shape[1]):
                out[b, h] *= scale


@njit(cache=True)
def _unpool(target: Any, index: Any, offsets: Any, source: Any) -> None:
    for b in range(len(offsets) - 1):
        first, last = offsets[b], offsets[b + 1]
        if last > first:
            scale = np.float32(1.0 / (last - first))
            for n in range(first, last):
                for h in range(target.shape[1]):
                    target[index[n], h] += source[b, h] * scale


@njit(cache=True)
def _adagrad(weights: Any, squares: Any, gradients: Any, index: Any, rate: Any, epsilon: Any) -> None:
    zero = np.float32(0.0)
    for n in range(len(index)):
        r = index[n]
        for h in range(weights.shape[1]):
            g = gradients[r, h]
            square = squares[r, h] + g * g
            squares[r, h] = square
            weights[r, h] -= rate * (g / (np.sqrt(square) + epsilon))
            gradients[r, h] = zero


@njit(cache=True, nogil=True)
def _ragged(values: Any, table: Any, out: Any, offsets: Any) -> None:
    end = 0
    offsets[0] = 0
    for b in range(values.shape[0]):
        for i in range(values.shape[1]):
            if values[b, i] >= 0 and table[values[b, i]] > 0:
                out[end] = table[values[b, i]]
                end += 1
        offsets[b + 1] = end


@njit(cache=True)
def _join(users: Any, apps: Any, places: Any, inverse: Any, positions: Any, out: Any) -> None:
    zero = np.float32(0.0)
    S = len(inverse) // max(len(users), 1)
    for n in range(len(inverse)):
        b, a, p = n // S, inverse[n], positions[n]
        for h in range(users.shape[1]):
            out[n, h] = max(users[b, h] + apps[a, h] + places[p, h], zero)


@njit(cache=True)
def _split(
    hidden: Any, gradient: Any, inverse: Any, positions: Any, users: Any, apps: Any, places: Any
) -> None:
    zero = np.float32(0.0)
    S = len(inverse) // max(len(users), 1)
    for n in range(len(inverse)):
        b, a, p = n // S, inverse[n], positions[n]
        for h in range(users.shape[1]):
            g = gradient[n, h] if hidden[n, h] > zero else zero
            users[b, h] += g
            apps[a, h] += g
            places[p, h] += g


def distinct(values: Array, marks: Array) -> tuple[Array, Array]:
    """The distinct `values` in order of first appearance, and each value's place among them.

    Args:
        values: int32[N], >= 0.
        marks: int32[above the largest value], all -1; scratch, left as it was.

    Returns:
        int32[U] and int32[N].
    """
    found, inverse = np.empty(len(values), np.int32), np.empty(len(values), np.int32)
    n = _distinct(values, marks, found, inverse)
    return found[:n], inverse


def ragged(values: Array, table: Array) -> tuple[Array, Array]:
    """The positive table[values[b, i]] of each row b, one after the other, and where each row's begin.

    Args:
        values: int32[B, I], negative ones are padding.
        table: int32[above the largest value].

    Returns:
        int32[n] and int32[B + 1].
    """
    out, offsets = np.empty(values.size, np.int32), np.empty(len(values) + 1, np.int32)
    _ragged(values, table, out, offsets)
    return out[: offsets[-1]], offsets


def adagrad(
    weights: Tensor, squares: Tensor, gradients: Tensor, index: Tensor, rate: float, epsilon: float
) -> None:
    """One step of AdaGrad for the rows in `index` (repeats allowed), which clears their gradients.

    Equal to `torch.optim.Adagrad` on the whole table: rows without a gradient do not move.

    Args:
        weights: [R, H].
        squares: [R, H], accumulated squared gradients.
        gradients: [R, H], 0 outside of the rows in `index`.
        index: int32[N].
        rate: the learning rate.
        epsilon: added to the root of the accumulator.
    """
    if weights.is_cpu:
        tables = (x.numpy() for x in (weights, squares, gradients, index))
        _adagrad(*tables, np.float32(rate), np.float32(epsilon))
        return
    touched = torch.unique(index)
    g = gradients[touched]
    square = squares[touched].addcmul_(g, g)
    squares[touched] = square
    weights[touched] = weights[touched].addcdiv_(g, square.sqrt().add_(epsilon), value=-rate)
    gradients[touched] = 0


def add_rows(target: Tensor, index: Tensor, source: Tensor) -> None:
    """target[index[n]] += source[n]; target [R, H], index int32[N], source [N, H]."""
    if target.is_cpu:
        _add_rows(target.numpy(), index.numpy(), source.numpy())
    else:
        devices.add_at(target, index, source)


def pool(table: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """Means [B, H] of the rows index[offsets[b]:offsets[b + 1]] of `table`; 0 where there are none."""
    out = table.new_zeros(len(offsets) - 1, table.shape[1])
    if table.is_cpu:
        _pool(table.numpy(), index.numpy(), offsets.numpy(), out.numpy())
        return out
    counts = offsets.diff()
    bag = torch.repeat_interleave(torch.arange(len(counts), device=table.device), counts)
    devices.add_at(out, bag, table[index])
    return out / counts.clamp(min=1)[:, None]


def unpool(target: Tensor, index: Tensor, offsets: Tensor, source: Tensor) -> None:
    """The gradient of `pool`: adds source[b] / count(b) to each of the bag's rows of `target`."""
    if target.is_cpu:
        _unpool(target.numpy(), index.numpy(), offsets.numpy(), source.numpy())
        return
    counts = offsets.diff()
    bag = torch.repeat_interleave(torch.arange(len(counts), device=target.device), counts)
    devices.add_at(target, index, (source / counts.clamp(min=1)[:, None])[bag])


def join(users: Tensor, apps: Tensor, places: Tensor, inverse: Tensor, positions: Tensor) -> Tensor:
    """ReLU of the first layer, [B * S, H]: users[b] + apps[inverse[n]] + places[positions[n]], n = b S + s.

    Args:
        users: [B, H], once per request.
        apps: [U, H], once per distinct app.
        places: [P, H], once per position.
        inverse: int32[B * S].
        positions: int32[B * S].
    """
    if users.is_cpu:
        out = users.new_empty(len(inverse), users.shape[1])
        _join(*(x.numpy() for x in (users, apps, places, inverse, positions, out)))
        return out
    S = len(inverse) // max(len(users), 1)
    return torch.relu(users.repeat_interleave(S, 0) + apps[inverse] + places[positions])


def split(
    hidden: Tensor, gradient: Tensor, inverse: Tensor, positions: Tensor, B: int, U: int, P: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of `join`: [B, H], [U, H], [P, H] from its output `hidden` and its output's `gradient`."""
    users, apps, places = (gradient.new_zeros(n, gradient.shape[1]) for n in (B, U, P))
    if gradient.is_cpu:
        _split(*(x.numpy() for x in (hidden, gradient, inverse, positions, users, apps, places)))
        return users, apps, places
    gradient = gradient * (hidden > 0)
    if B:
        users = gradient.view(B, -1, gradient.shape[1]).sum(1)
    devices.add_at(apps, inverse, gradient)
    devices.add_at(places, positions, gradient)
    return users, apps, places
