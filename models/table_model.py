"""A wide and a deep part joined over the rows of a table (Cheng et al. 2016, section 3.3, equation 3).

One forward pass of both logits, one logistic loss, and its gradient goes to both optimisers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ftrl import FTRL
from models.table import Encoded
from models.table_net import Inputs, NetSettings, TableNet
from models.table_rows import EPSILON, add_padded_logits, step_padded

Array = NDArray[Any]

SCORED_ROWS = 256
"""Rows are scored in blocks of this size, the last one filled up: matrix products of other shapes round
differently, and a row's score must not depend on its neighbours."""


BIAS_ACCUMULATOR = 0.1
"""The bias's initial sum of squared gradients."""


@dataclass(frozen=True, slots=True)
class Rows:
    """N rows as the two parts take them.

    Attributes:
        inputs: the deep part's, None without one.
        wide: int32[N, slots], coordinates of the wide part; 0 is none.
    """

    inputs: Inputs | None
    wide: Array

    def __len__(self) -> int:
        return len(self.wide)

    def take(self, rows: Array) -> Rows:
        """The rows at `rows`, in that order."""
        return Rows(None if self.inputs is None else self.inputs.take(rows), self.wide.take(rows, axis=0))


@dataclass(frozen=True, slots=True)
class WideSettings:
    """FTRL's alpha, beta, l1, l2; see `models.ftrl.FTRL`."""

    alpha: float
    beta: float
    l1: float
    l2: float


class TableModel:
    """The joint model: bias + wide logit + deep logit.

    Attributes:
        wide: FTRL over the wide part's coordinates, None without one.
        net: the deep part, None without one.
        bias: log odds common to all rows, trained by AdaGrad like the deep part.

    Args:
        sizes: number of ids of each categorical or multivalent column.
        dense: number of continuous columns.
        wide_size: number of the wide part's coordinates, 0 being none.
        wide: the wide part's settings, None for a model without it.
        deep: the deep part's, likewise.
        base_rate: share of positive rows, in (0, 1): the bias starts at its log odds.
        rate: AdaGrad's learning rate for the bias.
        rng: draws the initial weights.
    """

    def __init__(
        self,
        sizes: list[int],
        dense: int,
        wide_size: int,
        wide: WideSettings | None,
        deep: NetSettings | None,
        base_rate: float,
        rate: float,
        rng: np.random.Generator,
    ) -> None:
        self.wide = None if wide is None else FTRL(wide_size, wide.alpha, wide.beta, wide.l1, wide.l2)
        self.net = None if deep is None else TableNet(sizes, dense, deep, rng)
        self.bias = math.log(base_rate / (1 - base_rate))
        self._bias_square = BIAS_ACCUMULATOR
        self._rate = rate

    def arrange(self, encoded: Encoded) -> Rows:
        """Encoded rows as the parts take them."""
        inputs = None if self.net is None else self.net.arrange(encoded.ids, encoded.dense)
        return Rows(inputs, encoded.wide)

    def _logits(self, rows: Rows, projected: Any = None) -> tuple[Array, Array]:
        """The wide and the deep logits, float64[B] each."""
        wide, deep = np.zeros(len(rows)), np.zeros(len(rows))
        if self.wide is not None:
            add_padded_logits(self.wide.table, rows.wide, wide)
        if self.net is not None and rows.inputs is not None:
            deep += self.net.logits(rows.inputs, projected)
        return wide, deep

    def train(self, rows: Rows, labels: Array, weights: Array) -> float:
        """One mini-batch; labels (0 or 1) and weights are float64[B]. Returns the summed loss before it."""
        wide, deep = self._logits(rows)
        logits = wide + deep + self.bias
        gradients = weights * (sigmoid(logits) - labels)
        if self.wide is not None:
            w = self.wide
            step_padded(w.table, rows.wide, gradients, w.alpha, w.beta, w.l1, w.l2)
        if self.net is not None:
            self.net.step(gradients.astype(np.float32))
        total = float(gradients.sum())
        self._bias_square += total * total
        self.bias -= self._rate * total / (math.sqrt(self._bias_square) + EPSILON)
        return float(weights @ log_losses(logits, labels))

    def score(self, rows: Rows) -> tuple[Array, Array]:
        """The wide and the deep logits of N rows, float64[N] each, without the bias."""
        projected = None if self.net is None else self.net.project()
        wide, deep = np.zeros(len(rows)), np.zeros(len(rows))
        for start in range(0, len(rows), SCORED_ROWS):
            at = np.minimum(np.arange(start, start + SCORED_ROWS), len(rows) - 1)
            kept = min(SCORED_ROWS, len(rows) - start)
            for out, logits in zip((wide, deep), self._logits(rows.take(at), projected), strict=True):
                out[start : start + kept] = logits[:kept]
        return wide, deep

    def to_state(self) -> dict[str, Array]:
        """Weights and optimiser state of both parts, as copies."""
        state = {"bias": np.array([self.bias, self._bias_square])}
        for name, part in (("wide", self.wide), ("deep", self.net)):
            if part is not None:
                state |= {f"{name}.{key}": array for key, array in part.to_state().items()}
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` of a model of the same shape gave."""
        self.bias, self._bias_square = map(float, state["bias"])
        for name in ("wide", "deep"):
            own = {key.removeprefix(f"{name}."): a for key, a in state.items() if key.startswith(f"{name}.")}
            if name == "wide" and self.wide is not None:
                self.wide = FTRL.from_state(own)
                self.wide.weights()
            elif name == "deep" and self.net is not None:
                self.net.restore(own)


def sigmoid(logits: Array) -> Array:
    """Probabilities of log odds, without overflow."""
    probabilities: Array = 0.5 + 0.5 * np.tanh(0.5 * logits)
    return probabilities


def log_losses(logits: Array, labels: Array) -> Array:
    """The logistic loss of each row, log(1 + exp(-logit)) for label 1, without overflow."""
    losses: Array = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return losses
