"""The deep part: embeddings and ReLU layers (Cheng et al. 2016, section 3.2, figure 4), trained by AdaGrad.

The first layer is split, W1 [user; app; position] = W1u user + W1a app + W1p position, so that the user side
is computed once per request and the app side once per distinct app of a mini-batch. Gradients are those of
the *summed* loss. Tables by app are updated row by row, which equals AdaGrad (Duchi, Hazan and Singer 2011)
on the whole table: a zero gradient moves nothing. Letters in shapes: B requests, S shown apps, U distinct
apps, P positions, D dimensions of an embedding, H units of a layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import devices, matmul, rows
from models.catalogue import APP_FEATURES, DENSE_FEATURES, USER_FEATURES, app_sizes, user_sizes
from models.features import Day, Features
from models.keyed import normals
from models.settings import NetSettings
from simulator.schema import Cardinalities

Array = NDArray[Any]

EPSILON = 1e-10  # torch.optim.Adagrad's own

TABLES = ("apps", "installed")
"""Embedding tables by app, which grow."""

PADDING = 64
"""Distinct apps are padded to a multiple of it: matrix products compile anew for each new shape."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """First row of each attribute in the one table of attribute embeddings, and the table's size.

    Attributes:
        user: int64[7], by `USER_FEATURES`.
        app: int64[5], by `APP_FEATURES`, then the buckets of app age.
        position: first row of the positions.
        size: number of rows.
    """

    user: Array
    app: Array
    position: int
    size: int

    @classmethod
    def of(cls, cardinalities: Cardinalities, ages: int, positions: int) -> Blocks:
        """The blocks for these attributes."""
        sizes = [*user_sizes(cardinalities), *app_sizes(cardinalities), ages, positions]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        F = len(USER_FEATURES)
        return cls(starts[:F], starts[F:-2], int(starts[-2]), int(starts[-1]))


@dataclass(slots=True)
class _Batch:
    """What the forward pass leaves for the backward pass; ids are flat int32."""

    shape: tuple[int, int]
    user_ids: Tensor
    app_ids: Tensor
    app_rows: Tensor
    dense: Tensor
    installed: Tensor
    offsets: Tensor
    inverse: Tensor
    positions: Tensor
    user_side: Tensor = field(init=False)
    app_side: Tensor = field(init=False)
    hidden: list[Tensor] = field(init=False)


class NetPart:
    """Deep part in training: it predicts a mini-batch's logits, then takes a step on their gradients.

    Attributes:
        weights: by name: `attributes` [rows, D], `apps` [V, D], `installed` [V, D]; `user1`, `app1`,
            `position1` [H1, inputs] and `bias1`; `layer2`, `bias2`, ..; `out` [1, H], `out_bias` [1].
        squares: AdaGrad's accumulators, of the same names and shapes.
    """

    def __init__(self, features: Features, settings: NetSettings, key: int) -> None:
        matmul.prepare()
        self.settings, self.key = settings, key
        self.device = devices.require(settings.device)
        self.blocks = Blocks.of(features.cardinalities, features.age.buckets, features.settings.positions)
        self.weights: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}
        self._marks = np.full(len(features.codes), -1, np.int32)
        self._batch: _Batch | None = None
        self._start()

    def _start(self) -> None:
        """Initial weights; those of fixed size are views of one vector, which one AdaGrad update serves."""
        s, D = self.settings, self.settings.embedding_dim
        inputs = {
            "user1": (len(USER_FEATURES) + 1) * D,
            "app1": (len(APP_FEATURES) + 2) * D + len(DENSE_FEATURES),
            "position1": D,
        }
        for name in TABLES:
            self._add_rows(name, np.array([-1]))
        start: dict[str, Array] = {}

        def add(name: str, units: int, width: int, scale: float) -> None:
            start[name] = normals(self.key, f"net.{name}", np.arange(units), width, scale)

        add("attributes", self.blocks.size, D, s.embedding_scale)
        for name, width in inputs.items():
            add(name, s.hidden[0], width, math.sqrt(2 / sum(inputs.values())))
        start["bias1"] = np.zeros(s.hidden[0], np.float32)
        for layer, (width, units) in enumerate(itertools.pairwise(s.hidden), start=2):
            add(f"layer{layer}", units, width, math.sqrt(2 / width))
            start[f"bias{layer}"] = np.zeros(units, np.float32)
        add("out", 1, s.hidden[-1], math.sqrt(1 / s.hidden[-1]))
        start["out_bias"] = np.zeros(1, np.float32)
        self._flat = tuple(
            torch.empty(sum(x.size for x in start.values()), device=self.device) for _ in "wsg"
        )
        at = 0
        for name, values in start.items():
            views = [flat[at : at + values.size].view(values.shape) for flat in self._flat]
            self.weights[name], self.squares[name], self._gradients[name] = views
            self.weights[name].copy_(torch.from_numpy(values))
            at += values.size
        self._flat[1].fill_(s.initial_accumulator)

    def _add_rows(self, name: str, ids: Array) -> None:
        """Appends rows to an embedding table; each starts as a function of the key, the table and its id."""
        s = self.settings
        new = torch.from_numpy(normals(self.key, f"net.{name}", ids, s.embedding_dim, s.embedding_scale))
        new = new.to(self.device)
        squares = torch.full_like(new, s.initial_accumulator)
        if name in self.weights:
            new = torch.cat([self.weights[name], new])
            squares = torch.cat([self.squares[name], squares])
        self.weights[name], self.squares[name] = new, squares
        self._gradients[name] = torch.zeros_like(new)

    def grow(self, day: Day) -> None:
        """Appends the rows of the apps that the vocabularies have taken in."""
        for name, ids in (("apps", day.features.app_ids()), ("installed", day.features.installed_ids())):
            present = len(self.weights[name]) - 1
            if len(ids) > present:
                self._add_rows(name, ids[present:])

    def _indices(self, batch: Day) -> _Batch:
        """The indices of a mini-batch, on the device."""
        f = batch.features
        unique, inverse = rows.distinct(batch.apps.ravel(), self._marks)
        padded = np.zeros(-(-len(unique) // PADDING) * PADDING, np.int32)
        padded[: len(unique)] = unique
        app_rows = f.app_rows[padded]
        app_rows[len(unique) :] = 0
        app_ids = np.empty((len(padded), len(self.blocks.app)), np.int32)
        app_ids[:, :-1] = f.codes[padded]
        app_ids[:, -1] = batch.ages[padded]
        app_ids += self.blocks.app
        installed, offsets = rows.ragged(batch.installed, f.installed_rows)
        return _Batch(
            shape=(batch.apps.shape[0], batch.apps.shape[1]),
            user_ids=self._tensor(batch.codes + self.blocks.user).view(-1),
            app_ids=self._tensor(app_ids).view(-1),
            app_rows=self._tensor(app_rows),
            dense=self._tensor(f.dense[padded]),
            installed=self._tensor(installed),
            offsets=self._tensor(offsets),
            inverse=self._tensor(inverse),
            positions=self._tensor(batch.positions.ravel()),
        )

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _product(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        if self.settings.precision == "bf16":
            product = torch.mm(a.bfloat16(), b.bfloat16()).float()
            return product if out is None else out.copy_(product)
        return torch.mm(a, b, out=out) if out is not None else torch.mm(a, b)

    @torch.no_grad()
    def logits(self, batch: Day) -> Array:
        """The part's log odds, float32[B, S]; remembers what `step` needs."""
        w, n = self.weights, self._indices(batch)
        B, U = n.shape[0], len(n.app_rows)
        table = w["attributes"]
        pooled = rows.pool(w["installed"], n.installed, n.offsets)
        n.user_side = torch.cat([table.index_select(0, n.user_ids).view(B, -1), pooled], 1)
        own, attributes = w["apps"].index_select(0, n.app_rows), table.index_select(0, n.app_ids)
        n.app_side = torch.cat([own, attributes.view(U, -1), n.dense], 1)
        users = self._product(n.user_side, w["user1"].t()).add_(w["bias1"])
        apps = self._product(n.app_side, w["app1"].t())
        places = self._product(table[self.blocks.position :], w["position1"].t())
        h = rows.join(users, apps, places, n.inverse, n.positions)
        n.hidden = [h]
        for layer in range(2, len(self.settings.hidden) + 1):
            h = self._product(h, w[f"layer{layer}"].t()).add_(w[f"bias{layer}"]).relu_()
            n.hidden.append(h)
        self._batch = n
        logits: Array = torch.mv(h, w["out"][0]).add_(w["out_bias"]).view(n.shape).cpu().numpy()
        return logits

    @torch.no_grad()
    def backward(self, gradients: Array) -> dict[str, Tensor]:
        """The gradients of the summed loss by each weight, after `logits`; valid until the next call.

        `apps` is by distinct app of the batch, [U, D], and `installed` by the request's mean, [B, D].

        Args:
            gradients: float32[B, S], of the loss by the logits.
        """
        assert self._batch is not None
        w, n, out, D = self.weights, self._batch, self._gradients, self.settings.embedding_dim
        table, position = w["attributes"], self.blocks.position
        g = self._tensor(np.ascontiguousarray(gradients, np.float32).reshape(-1))
        torch.mv(n.hidden[-1].t(), g, out=out["out"][0])
        out["out_bias"].copy_(g.sum())
        dh = torch.outer(g, w["out"][0])
        for layer in range(len(self.settings.hidden), 1, -1):
            dh = torch.ops.aten.threshold_backward(dh, n.hidden[layer - 1], 0)
            self._product(dh.t(), n.hidden[layer - 2], out=out[f"layer{layer}"])
            torch.sum(dh, 0, out=out[f"bias{layer}"])
            dh = self._product(dh, w[f"layer{layer}"])
        counts = n.shape[0], len(n.app_rows), len(table) - position
        users, apps, places = rows.split(n.hidden[0], dh, n.inverse, n.positions, *counts)
        torch.sum(users, 0, out=out["bias1"])
        self._product(users.t(), n.user_side, out=out["user1"])
        self._product(apps.t(), n.app_side, out=out["app1"])
        self._product(places.t(), table[position:], out=out["position1"])
        d_user, d_app = self._product(users, w["user1"]), self._product(apps, w["app1"])
        d_table = out["attributes"]
        d_table[:position] = 0
        self._product(places, w["position1"], out=d_table[position:])
        F, K = len(self.blocks.user), len(self.blocks.app)
        rows.add_rows(d_table, n.user_ids, d_user[:, : F * D].reshape(-1, D))
        rows.add_rows(d_table, n.app_ids, d_app[:, D : (K + 1) * D].reshape(-1, D))
        return {**out, "apps": d_app[:, :D], "installed": d_user[:, F * D :]}

    @torch.no_grad()
    def step(self, gradients: Array) -> None:
        """One AdaGrad step on the last `logits` batch; `gradients` float32[B, S] by the logits."""
        by_name = self.backward(gradients)
        assert self._batch is not None
        n, rate = self._batch, self.settings.learning_rate
        w, squares, g = self._flat
        squares.addcmul_(g, g)
        w.addcdiv_(g, squares.sqrt().add_(EPSILON), value=-rate)
        rows.add_rows(self._gradients["apps"], n.app_rows, by_name["apps"])
        rows.unpool(self._gradients["installed"], n.installed, n.offsets, by_name["installed"])
        for name, touched in (("apps", n.app_rows), ("installed", n.installed)):
            table = (self.weights[name], self.squares[name], self._gradients[name])
            rows.adagrad(*table, touched, rate, EPSILON)

    def to_state(self) -> dict[str, Array]:
        """Weights and accumulators, as arrays."""
        state = {f"weights.{k}": v.cpu().numpy().copy() for k, v in self.weights.items()}
        return state | {f"squares.{k}": v.cpu().numpy().copy() for k, v in self.squares.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` gave."""
        for name in TABLES:
            self._add_rows(name, np.zeros(len(state[f"weights.{name}"]) - 1, np.int64))
        for name in self.weights:
            self.weights[name].copy_(torch.from_numpy(state[f"weights.{name}"]))
            self.squares[name].copy_(torch.from_numpy(state[f"squares.{name}"]))

    def published(self) -> dict[str, Array]:
        """The weights that serve, as copies."""
        return {k: v.cpu().numpy().copy() for k, v in self.weights.items()}
