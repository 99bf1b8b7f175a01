"""The deep part over any table: embeddings and ReLU layers, by AdaGrad (Cheng et al. 2016, section 3.2).

The backward pass is written out, of the *summed* loss. Columns with few values are folded: W1 is linear, so
their whole embedding table goes through the first layer once per mini-batch, and each row adds up its values'
projections; columns with many values are gathered into the matrix product and updated row by row. Both equal
the plain network up to rounding. Letters in shapes: B rows of a batch, D dimensions of an embedding, H1 units
of the first layer, X inputs of its matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import devices, matmul, table_rows

Array = NDArray[Any]

_Slots = tuple[Tensor, Tensor]

EMBEDDING_SCALE = 0.05
"""Standard deviation of the initial embeddings."""

FOLDED_VALUES = 512
"""A column of at most this many ids is folded."""

FOLDED_ROWS = 1024
"""All folded columns together have at most this many ids: their projections stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Rows as a network takes them; ids are rows of its tables, -1 is an absent one of several values.

    Attributes:
        folded: int32[N, Kf], the slots of the folded columns.
        gathered: int32[N, Kg], the slots of the others.
        dense: float32[N, continuous columns].
        folded_starts: int64[columns + 1], each folded column's first slot, then Kf.
        gathered_starts: int64[columns + 1], of the others.
    """

    folded: Array
    gathered: Array
    dense: Array
    folded_starts: Array
    gathered_starts: Array

    def __len__(self) -> int:
        return len(self.dense)

    def take(self, rows: Array) -> Inputs:
        """The rows at `rows`, in that order."""
        folded, gathered, dense = (x.take(rows, axis=0) for x in (self.folded, self.gathered, self.dense))
        return Inputs(folded, gathered, dense, self.folded_starts, self.gathered_starts)


@dataclass(frozen=True, slots=True)
class NetSettings:
    """How a network is built and trained; see `models.WideDeepClassifier`."""

    embedding_dim: int
    hidden: tuple[int, ...]
    learning_rate: float
    initial_accumulator: float
    precision: str
    device: str


class TableNet:
    """Embeddings of categorical columns and dense values through ReLU layers to one logit, without a bias.

    Dense weights, folded embeddings among them, lie in one flat tensor: AdaGrad is one pass over it.

    Attributes:
        weights: by name, views of the flat tensor: `embedding` [rows, D] of the folded columns, `fold`
            [columns, D, H1] and `layer1` [H1, X], the parts of W1, `bias1`, `layer2` [H2, H1], .., `out` [H].
        table: [rows, D], embeddings of the gathered columns.

    Args:
        sizes: number of ids of each categorical or multivalent column.
        dense: number of continuous columns.
        settings: see `NetSettings`.
        rng: draws the initial weights; rows of id 0 start at 0, so that a value never seen adds nothing.
    """

    def __init__(
        self, sizes: Sequence[int], dense: int, settings: NetSettings, rng: np.random.Generator
    ) -> None:
        matmul.prepare()
        self.settings, self.sizes, self.dense = settings, list(sizes), dense
        self.folded, total = [], 0
        for f in sorted(range(len(sizes)), key=lambda f: (sizes[f], f)):
            total += sizes[f]
            if sizes[f] <= FOLDED_VALUES and total <= FOLDED_ROWS:
                self.folded.append(f)
        self.folded.sort()
        self.gathered = [f for f in range(len(sizes)) if f not in self.folded]
        self._device = devices.require(settings.device)
        D, (H1, *_) = settings.embedding_dim, settings.hidden
        self._bounds = np.cumsum([0, *(sizes[f] for f in self.folded)]).tolist()
        self._offsets = np.cumsum([0, *(sizes[f] for f in self.gathered)]).tolist()
        self._width = len(self.gathered) * D
        inputs = len(sizes) * D + dense
        shapes = {
            "embedding": ((self._bounds[-1], D), EMBEDDING_SCALE),
            "fold": ((len(self.folded), D, H1), math.sqrt(2 / max(inputs, 1))),
            "layer1": ((H1, self._width + dense), math.sqrt(2 / max(inputs, 1))),
            "bias1": ((H1,), 0.0),
        }
        for layer, (width, units) in enumerate(zip(settings.hidden, settings.hidden[1:], strict=False), 2):
            shapes[f"layer{layer}"] = ((units, width), math.sqrt(2 / width))
            shapes[f"bias{layer}"] = ((units,), 0.0)
        shapes["out"] = ((settings.hidden[-1],), math.sqrt(1 / settings.hidden[-1]))
        self._shapes = {name: shape for name, (shape, _) in shapes.items()}
        flat = [scale * rng.standard_normal(shape, np.float32).ravel() for shape, scale in shapes.values()]
        table = np.float32(EMBEDDING_SCALE) * rng.standard_normal((self._offsets[-1], D), np.float32)
        table[self._offsets[:-1]] = 0
        flat[0].reshape(-1, D)[self._bounds[:-1]] = 0
        self._flat = self._tensor(np.concatenate(flat).astype(np.float32))
        self.table = self._tensor(table)
        self._flat_squares = torch.full_like(self._flat, settings.initial_accumulator)
        self._table_squares = torch.full_like(self.table, settings.initial_accumulator)
        self._gradient = torch.zeros_like(self._flat)
        self.weights, self.gradients = self._views(self._flat), self._views(self._gradient)
        self._rows = table_rows.AdagradRows(self._offsets[-1])
        self._batch: tuple[_Slots, _Slots, Tensor] | None = None
        self._hidden: list[Tensor] = []

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        views, at = {}, 0
        for name, shape in self._shapes.items():
            views[name] = flat[at : at + math.prod(shape)].view(shape)
            at += math.prod(shape)
        return views

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def arrange(self, columns: Sequence[Array], dense: Array) -> Inputs:
        """The columns' ids as rows of this network's tables.

        Args:
            columns: int32 ids of each column, [N], or [N, M] with 0 as absent.
            dense: float32[N, continuous columns].
        """
        parts: list[Array] = []
        for chosen, bounds in ((self.folded, self._bounds), (self.gathered, self._offsets)):
            ids = [np.zeros((len(dense), 0), np.int32)]
            for f, start in zip(chosen, bounds, strict=False):
                column = columns[f]
                rows = column[:, None] if column.ndim == 1 else np.where(column > 0, column, -1 - start)
                ids.append((rows + start).astype(np.int32))
            parts.append(np.concatenate(ids, axis=1))
        widths = [1 if column.ndim == 1 else column.shape[1] for column in columns]
        starts = (np.cumsum([0, *(widths[f] for f in chosen)]) for chosen in (self.folded, self.gathered))
        folded, gathered = (s.astype(np.int64) for s in starts)
        return Inputs(parts[0], parts[1], dense, folded, gathered)

    def _product(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        if self.settings.precision == "bf16":
            product = torch.mm(a.bfloat16(), b.bfloat16())
            return product.float() if out is None else out.copy_(product)
        return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)

    @torch.no_grad()
    def project(self) -> Tensor:
        """The folded columns' embeddings through the first layer, [rows, H1]."""
        w, bounds = self.weights, self._bounds
        projected = self.table.new_empty(bounds[-1], self.settings.hidden[0])
        for f, (first, last) in enumerate(pairwise(bounds)):
            self._product(w["embedding"][first:last], w["fold"][f], projected[first:last])
        return projected

    @torch.no_grad()
    def logits(self, inputs: Inputs, projected: Tensor | None = None) -> Array:
        """The logits, float32[B]; remembers what `step` needs. `projected` is a `project` still in force."""
        w = self.weights
        folded = (self._tensor(inputs.folded), self._tensor(inputs.folded_starts))
        gathered = (self._tensor(inputs.gathered), self._tensor(inputs.gathered_starts))
        x = self.table.new_empty(len(inputs), self._width + self.dense)
        table_rows.gather(self.table, *gathered, x)
        x[:, self._width :] = self._tensor(inputs.dense)
        # Copies of the weights: where a factor is transposed MKL for AVX2 rounds a row by its place.
        h = self._product(x, w["layer1"].t().contiguous()).add_(w["bias1"])
        table_rows.join(h, self.project() if projected is None else projected, *folded)
        self._batch, self._hidden = (folded, gathered, x), [h]
        for layer in range(2, len(self.settings.hidden) + 1):
            h = self._product(h, w[f"layer{layer}"].t().contiguous()).add_(w[f"bias{layer}"]).relu_()
            self._hidden.append(h)
        logits: Array = torch.mv(h, w["out"]).cpu().numpy()
        return logits

    @torch.no_grad()
    def step(self, gradients: Array) -> None:
        """One AdaGrad step on the last `logits` batch; `gradients` float32[B] are by its logits."""
        w, d, hidden = self.weights, self.gradients, self._hidden
        assert self._batch is not None
        folded, gathered, x = self._batch
        g = self._tensor(gradients)
        torch.mv(hidden[-1].t(), g, out=d["out"])
        dh = torch.outer(g, w["out"])
        for layer in range(len(hidden), 1, -1):
            table_rows.mask(hidden[layer - 1], dh)
            self._product(dh.t(), hidden[layer - 2], d[f"layer{layer}"])
            torch.sum(dh, 0, out=d[f"bias{layer}"])
            dh = self._product(dh, w[f"layer{layer}"])
        projected = dh.new_zeros(self._bounds[-1], dh.shape[1])
        table_rows.mask(hidden[0], dh)
        table_rows.split(dh, *folded, projected)
        torch.sum(dh, 0, out=d["bias1"])
        self._product(dh.t(), x, d["layer1"])
        for f, (first, last) in enumerate(pairwise(self._bounds)):
            self._product(w["embedding"][first:last].t(), projected[first:last], d["fold"][f])
            self._product(projected[first:last], w["fold"][f].t(), d["embedding"][first:last])
        rate = self.settings.learning_rate
        if self.gathered:
            dx = self._product(dh, w["layer1"][:, : self._width])
            self._rows.step(self.table, self._table_squares, *gathered, dx, rate)
        table_rows.adagrad(self._flat, self._flat_squares, self._gradient, rate)

    def to_state(self) -> dict[str, Array]:
        """Weights and accumulators, as copies."""
        tensors = (self._flat, self._flat_squares, self.table, self._table_squares)
        names = ("flat", "flat_squares", "table", "table_squares")
        return {name: t.cpu().numpy().copy() for name, t in zip(names, tensors, strict=True)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` gave."""
        self._flat.copy_(self._tensor(state["flat"]))
        self._flat_squares.copy_(self._tensor(state["flat_squares"]))
        self.table.copy_(self._tensor(state["table"]))
        self._table_squares.copy_(self._tensor(state["table_squares"]))
