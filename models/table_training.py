"""Passes over the rows of a table: order, mini-batches, early stopping, progress."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.table_model import Rows, TableModel, log_losses

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Examples:
    """N rows with their labels (0 or 1) and the weights of their losses, float64[N] each."""

    rows: Rows
    labels: Array
    weights: Array


@dataclass(frozen=True, slots=True)
class Schedule:
    """Epochs at most, rows of a mini-batch, epochs without improvement before the end, a bar or none."""

    epochs: int
    batch_size: int
    patience: int
    progress: bool


def train(
    model: TableModel, own: Examples, held_out: Examples, schedule: Schedule, rng: np.random.Generator
) -> list[dict[str, float | None]]:
    """Trains `model` on `own`; with rows held out it ends as it was after the best epoch on them.

    Returns:
        One dict per epoch: `loss` while training and `validation_loss` (None without rows held out), weighted
        means of the log loss.

    Raises:
        FloatingPointError: if the loss is no longer finite.
    """
    history: list[dict[str, float | None]] = []
    best, state, waited = math.inf, None, 0
    for epoch in _epochs(schedule):
        order, total = rng.permutation(len(own.rows)), 0.0
        for start in range(0, len(order), schedule.batch_size):
            at = order[start : start + schedule.batch_size]
            total += model.train(own.rows.take(at), own.labels[at], own.weights[at])
        if not math.isfinite(total):
            raise FloatingPointError(f"loss: got {total} in epoch {epoch + 1}, a finite number is needed")
        loss = None
        if len(held_out.rows):
            wide, deep = model.score(held_out.rows)
            loss = _mean(log_losses(wide + deep + model.bias, held_out.labels), held_out.weights)
            waited += 1
            if loss < best:
                best, state, waited = loss, model.to_state(), 0
        history.append({"loss": total / max(float(own.weights.sum()), _TINY), "validation_loss": loss})
        if loss is not None and waited >= schedule.patience:
            break
    if state is not None:
        model.restore(state)
    return history


_TINY = 1e-300


def _mean(losses: Array, weights: Array) -> float:
    return float(weights @ losses) / max(float(weights.sum()), _TINY)


def _epochs(schedule: Schedule) -> Iterator[int]:
    if not schedule.progress:
        yield from range(schedule.epochs)
        return
    from rich.progress import track

    yield from track(range(schedule.epochs), "training")
