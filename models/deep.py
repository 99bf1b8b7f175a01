"""The deep part: embeddings and ReLU layers (Cheng et al. 2016, section 3.2, figure 4), trained by AdaGrad.

The first layer is split, W1 [user; app; position] = W1u user + W1a app + W1p position, so that the user side
is computed once per request and the app side once per distinct app of a mini-batch. Gradients are those of
the *summed* loss. Tables by app are updated row by row, which equals AdaGrad (Duchi, Hazan and Singer 2011)
on the whole table: a zero gradient moves nothing. Letters in shapes: B requests, S shown apps, U distinct
apps, P positions, D dimensions of an embedding, H units of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import matmul, rows
from models.features import APP_FEATURES, DENSE_FEATURES, USER_FEATURES, Day, Features, app_sizes, user_sizes
from models.keyed import normals
from models.settings import NetSettings
from simulator.schema import Cardinalities

Array = NDArray[Any]

EPSILON = 1e-10  # torch.optim.Adagrad's own


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
    """What the forward pass leaves for the backward pass."""

    shape: tuple[int, int]
    user_ids: Tensor
    app_ids: Tensor
    app_rows: Tensor
    app_slots: Tensor
    installed_rows: Tensor
    installed_index: Tensor
    offsets: Tensor
    inverse: Tensor
    positions: Tensor
    user_side: Tensor
    app_side: Tensor
    hidden: list[Tensor]


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
        self.device = torch.device(settings.device)
        self.blocks = Blocks.of(features.cardinalities, features.age.buckets, features.settings.positions)
        self.weights: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}
        self._app_marks = np.full(len(features.codes), -1, np.int32)
        self._installed_marks = np.full(1, -1, np.int32)
        self._batch: _Batch | None = None
        self._start()

    def _start(self) -> None:
        s, D = self.settings, self.settings.embedding_dim
        inputs = {
            "user1": (len(USER_FEATURES) + 1) * D,
            "app1": (len(APP_FEATURES) + 2) * D + len(DENSE_FEATURES),
            "position1": D,
        }
        self._add_rows("attributes", np.arange(self.blocks.size))
        for name in ("apps", "installed"):
            self._add_rows(name, np.array([-1]))
        for name, width in inputs.items():
            self._add("layer1." + name, name, s.hidden[0], width, math.sqrt(2 / sum(inputs.values())))
        self._set("bias1", torch.zeros(s.hidden[0]))
        for layer, (width, units) in enumerate(zip(s.hidden, s.hidden[1:], strict=False), start=2):
            self._add(f"layer{layer}", f"layer{layer}", units, width, math.sqrt(2 / width))
            self._set(f"bias{layer}", torch.zeros(units))
        self._add("out", "out", 1, s.hidden[-1], math.sqrt(1 / s.hidden[-1]))
        self._set("out_bias", torch.zeros(1))

    def _add(self, stream: str, name: str, units: int, width: int, scale: float) -> None:
        values = normals(self.key, f"net.{stream}", np.arange(units), width, scale)
        self._set(name, torch.from_numpy(values))

    def _set(self, name: str, values: Tensor) -> None:
        self.weights[name] = values.to(self.device)
        self.squares[name] = torch.full_like(self.weights[name], self.settings.initial_accumulator)

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

    def grow(self, day: Day) -> None:
        """Appends the rows of the apps that the vocabularies have taken in."""
        for name, ids in (("apps", day.features.app_ids()), ("installed", day.features.installed_ids())):
            present = len(self.weights[name]) - 1
            if len(ids) > present:
                self._add_rows(name, ids[present:])
        self._installed_marks = np.full(len(self.weights["installed"]), -1, np.int32)

    def _indices(self, batch: Day) -> _Batch:
        """The indices of a mini-batch, on the device."""
        f = batch.features
        unique, inverse = rows.distinct(batch.apps.ravel(), self._app_marks)
        app_rows = f.app_rows[unique]
        known = app_rows > 0
        slots = np.where(known, np.cumsum(known, dtype=np.int32), np.int32(0))
        app_ids = np.concatenate([f.codes[unique], batch.ages[unique][:, None]], 1) + self.blocks.app
        installed = np.where(batch.installed >= 0, f.installed_rows[batch.installed], 0)
        used = installed > 0
        offsets = np.concatenate([[0], np.cumsum(used.sum(1))])
        installed_rows, index = rows.distinct(installed[used], self._installed_marks)
        dense = self._tensor(f.dense[unique])

        def tensor(x: Array) -> Tensor:
            return self._tensor(np.ascontiguousarray(x, np.int32))

        return _Batch(
            shape=(batch.apps.shape[0], batch.apps.shape[1]),
            user_ids=tensor(batch.codes + self.blocks.user),
            app_ids=tensor(app_ids),
            app_rows=tensor(np.concatenate([[0], app_rows[known]])),
            app_slots=tensor(slots),
            installed_rows=tensor(installed_rows),
            installed_index=tensor(index),
            offsets=tensor(offsets),
            inverse=tensor(inverse),
            positions=tensor(batch.positions.ravel()),
            user_side=dense,
            app_side=dense,
            hidden=[],
        )

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        if self.settings.precision == "bf16":
            return torch.mm(a.bfloat16(), b.bfloat16()).float()
        return torch.mm(a, b)

    @torch.no_grad()
    def logits(self, batch: Day) -> Array:
        """The part's log odds, float32[B, S]; remembers what `step` needs."""
        w, n = self.weights, self._indices(batch)
        B, U = n.shape[0], len(n.app_ids)
        table = w["attributes"]
        pooled = rows.pool(w["installed"][n.installed_rows], n.installed_index, n.offsets)
        n.user_side = torch.cat([table[n.user_ids].view(B, -1), pooled], 1)
        own = w["apps"][n.app_rows][n.app_slots]
        n.app_side = torch.cat([own, table[n.app_ids].view(U, -1), n.app_side], 1)
        users = self._product(n.user_side, w["user1"].t()) + w["bias1"]
        apps = self._product(n.app_side, w["app1"].t())
        places = self._product(table[self.blocks.position :], w["position1"].t())
        h = rows.join(users, apps, places, n.inverse, n.positions)
        n.hidden = [h]
        for layer in range(2, len(self.settings.hidden) + 1):
            h = self._product(h, w[f"layer{layer}"].t()).add_(w[f"bias{layer}"]).relu_()
            n.hidden.append(h)
        self._batch = n
        logits: Array = (torch.mv(h, w["out"][0]) + w["out_bias"]).view(n.shape).cpu().numpy()
        return logits

    @torch.no_grad()
    def gradients(self, gradients: Array) -> dict[str, Tensor]:
        """The gradients of the summed loss by each weight, after `logits`.

        Those of `apps` and `installed` are of the batch's rows only, `_Batch.app_rows` and `.installed_rows`.

        Args:
            gradients: float32[B, S], of the loss by the logits.
        """
        assert self._batch is not None
        w, n, D = self.weights, self._batch, self.settings.embedding_dim
        B, U = n.shape[0], len(n.app_ids)
        table = w["attributes"]
        g = self._tensor(np.ascontiguousarray(gradients, np.float32).reshape(-1))
        out = {"out": torch.mv(n.hidden[-1].t(), g)[None], "out_bias": g.sum()[None]}
        dh = torch.outer(g, w["out"][0])
        for layer in range(len(self.settings.hidden), 1, -1):
            dh *= n.hidden[layer - 1] > 0
            out[f"layer{layer}"] = self._product(dh.t(), n.hidden[layer - 2])
            out[f"bias{layer}"] = dh.sum(0)
            dh = self._product(dh, w[f"layer{layer}"])
        places = len(table) - self.blocks.position
        users, apps, positions = rows.split(n.hidden[0], dh, n.inverse, n.positions, B, U, places)
        out["bias1"] = users.sum(0)
        out["user1"] = self._product(users.t(), n.user_side)
        out["app1"] = self._product(apps.t(), n.app_side)
        out["position1"] = self._product(positions.t(), table[self.blocks.position :])
        d_user = self._product(users, w["user1"])
        d_app = self._product(apps, w["app1"])
        d_table = torch.zeros_like(table)
        d_table[self.blocks.position :] = self._product(positions, w["position1"])
        F, K = n.user_ids.shape[1], n.app_ids.shape[1]
        rows.add_rows(d_table, n.user_ids.view(-1), d_user[:, : F * D].reshape(-1, D))
        rows.add_rows(d_table, n.app_ids.view(-1), d_app[:, D : (K + 1) * D].reshape(-1, D))
        out["attributes"] = d_table
        out["apps"] = table.new_zeros(len(n.app_rows), D)
        rows.add_rows(out["apps"], n.app_slots, d_app[:, :D])
        out["installed"] = table.new_zeros(len(n.installed_rows), D)
        rows.unpool(out["installed"], n.installed_index, n.offsets, d_user[:, F * D :])
        return out

    @torch.no_grad()
    def step(self, gradients: Array) -> None:
        """One AdaGrad step on the last `logits` batch; `gradients` float32[B, S] by the logits."""
        by_name = self.gradients(gradients)
        assert self._batch is not None
        touched = {"apps": self._batch.app_rows, "installed": self._batch.installed_rows}
        for name, g in by_name.items():
            w, squares = self.weights[name], self.squares[name]
            if name in touched:
                index = touched[name]
                part = squares[index].addcmul_(g, g)
                squares[index] = part
                w[index] = w[index].addcdiv_(
                    g, part.sqrt_().add_(EPSILON), value=-self.settings.learning_rate
                )
            else:
                squares.addcmul_(g, g)
                w.addcdiv_(g, squares.sqrt().add_(EPSILON), value=-self.settings.learning_rate)

    def to_state(self) -> dict[str, Array]:
        """Weights and accumulators, as arrays."""
        state = {f"weights.{k}": v.cpu().numpy().copy() for k, v in self.weights.items()}
        return state | {f"squares.{k}": v.cpu().numpy().copy() for k, v in self.squares.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` gave."""
        for name in self.weights:
            self.weights[name] = self._tensor(state[f"weights.{name}"].copy())
            self.squares[name] = self._tensor(state[f"squares.{name}"].copy())
        self._installed_marks = np.full(len(self.weights["installed"]), -1, np.int32)

    def published(self) -> dict[str, Array]:
        """The weights that serve, as copies."""
        return {k: v.cpu().numpy().copy() for k, v in self.weights.items()}
