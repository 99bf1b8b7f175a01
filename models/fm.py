"""Kind `fm`: a factorization machine over the same sparse features (Rendle 2012; paper, section 6).

    y(x) = w_0 + sum_i w_i x_i + 1/2 sum_f [(sum_i v_if x_i)^2 - sum_i v_if^2 x_i^2]

The features are the attributes of user, context and app, the app itself, its dense values, and the installed
apps, each with the value 1 / (number of installed apps with an id). A feature's row holds w_i, then v_i. It
learns by AdaGrad on the summed logistic loss. Letters in shapes: B requests, S shown apps, C candidates, I
installed slots, A apps, K = 1 + factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from models import rows
from models.catalogue import APP_FEATURES, DENSE_FEATURES
from models.deep import EPSILON, Blocks
from models.features import Day, Features
from models.folded_fm import add_feature
from models.keyed import normals
from models.settings import FactorSettings, FMSettings
from models.training import Learned, Part

Array = NDArray[Any]

TABLES = ("fixed", "apps", "installed")


@njit(cache=True)
def _logits(
    bias: Any, fixed: Any, apps: Any, installed: Any, dense_at: int, user_ids: Any, own: Any, offsets: Any,
    app_ids: Any, app_rows: Any, dense: Any, totals: Any, out: Any,
) -> None:  # fmt: skip
    """Writes log odds to out [B, S], and each impression's sums over its features to totals [B * S, K]."""
    B, S = out.shape
    user = np.empty(fixed.shape[1], np.float32)
    for b in range(B):
        for k in range(len(user)):
            user[k] = 0.0
        common = np.float32(0.0)
        for f in range(user_ids.shape[1]):
            common += add_feature(fixed[user_ids[b, f]], np.float32(1.0), user)
        for n in range(offsets[b], offsets[b + 1]):
            common += add_feature(installed[own[n]], np.float32(1.0 / (offsets[b + 1] - offsets[b])), user)
        for s in range(S):
            m = b * S + s
            total = totals[m]
            for k in range(len(user)):
                total[k] = user[k]
            squares = common
            for f in range(app_ids.shape[1]):
                squares += add_feature(fixed[app_ids[m, f]], np.float32(1.0), total)
            if app_rows[m] > 0:
                squares += add_feature(apps[app_rows[m]], np.float32(1.0), total)
            for d in range(dense.shape[1]):
                squares += add_feature(fixed[dense_at + d], dense[m, d], total)
            y = np.float64(bias[0, 0]) + total[0] - 0.5 * squares
            for k in range(1, len(total)):
                y += 0.5 * total[k] * total[k]
            out[b, s] = y


@njit(cache=True)
def _descend(row: Any, value: Any, g: Any, sums: Any, out: Any) -> None:
    """Adds a feature's gradient to `out` [K]: g is the summed gradient by logit, `sums` that times totals."""
    out[0] += g * value
    for k in range(1, len(row)):
        out[k] += value * (sums[k] - row[k] * value * g)


@njit(cache=True)
def _gradients(
    fixed: Any, apps: Any, installed: Any, d_fixed: Any, d_apps: Any, d_installed: Any, dense_at: int,
    user_ids: Any, own: Any, offsets: Any, app_ids: Any, app_rows: Any, dense: Any, totals: Any,
    gradients: Any,
) -> None:  # fmt: skip
    """Adds each feature's gradient to the tables of gradients; those of the user side once per request."""
    B, S = gradients.shape
    one = np.float32(1.0)
    sums, mine = np.empty(fixed.shape[1], np.float32), np.empty(fixed.shape[1], np.float32)
    for b in range(B):
        for k in range(len(sums)):
            sums[k] = 0.0
        common = np.float32(0.0)
        for s in range(S):
            m, g = b * S + s, gradients[b, s]
            common += g
            for k in range(len(sums)):
                mine[k] = g * totals[m, k]
                sums[k] += mine[k]
            for f in range(app_ids.shape[1]):
                _descend(fixed[app_ids[m, f]], one, g, mine, d_fixed[app_ids[m, f]])
            if app_rows[m] > 0:
                _descend(apps[app_rows[m]], one, g, mine, d_apps[app_rows[m]])
            for d in range(dense.shape[1]):
                _descend(fixed[dense_at + d], dense[m, d], g, mine, d_fixed[dense_at + d])
        for f in range(user_ids.shape[1]):
            _descend(fixed[user_ids[b, f]], one, common, sums, d_fixed[user_ids[b, f]])
        for n in range(offsets[b], offsets[b + 1]):
            value = np.float32(1.0 / (offsets[b + 1] - offsets[b]))
            _descend(installed[own[n]], value, common, sums, d_installed[own[n]])


class FactorPart:
    """A factorization machine in training; it runs on the CPU."""

    def __init__(self, features: Features, settings: FactorSettings, key: int) -> None:
        self.settings, self.key = settings, key
        self.blocks = Blocks.of(features.cardinalities, features.age.buckets, features.settings.positions)
        self.tables: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        self._append("bias", np.array([0]), 1)
        self._append("fixed", np.arange(self.blocks.size + len(DENSE_FEATURES)), 1 + settings.factors)
        for name in TABLES[1:]:
            self._append(name, np.array([-1]), 1 + settings.factors)
        self._batch: tuple[Array, ...] = ()

    def _append(self, name: str, ids: Array, width: int) -> None:
        """Appends rows of weights, accumulators and gradients; factors are functions of key, table and id."""
        s = self.settings
        start = np.zeros((len(ids), width), np.float32)
        start[:, 1:] = normals(self.key, f"fm.{name}", ids, width - 1, s.factor_scale)
        weights = torch.from_numpy(start)
        new = (weights, torch.full_like(weights, s.initial_accumulator), torch.zeros_like(weights))
        old = self.tables.get(name)
        self.tables[name] = new if old is None else (
            torch.cat([old[0], new[0]]), torch.cat([old[1], new[1]]), torch.cat([old[2], new[2]])
        )  # fmt: skip

    def grow(self, day: Day) -> None:
        """Appends the rows of the apps that the vocabularies have taken in."""
        for name, ids in (("apps", day.features.app_ids()), ("installed", day.features.installed_ids())):
            self._append(name, ids[len(self.tables[name][0]) - 1 :], 1 + self.settings.factors)

    def logits(self, batch: Day) -> Array:
        """The part's log odds, float32[B, S]; remembers what `step` needs."""
        f, apps = batch.features, batch.apps.ravel()
        K = len(APP_FEATURES)
        ids = np.empty((len(apps), K + 2), np.int32)
        ids[:, :K] = f.codes[apps] + self.blocks.app[:K]
        ids[:, K] = batch.ages[apps] + self.blocks.app[K]
        ids[:, K + 1] = batch.positions.ravel() + self.blocks.position
        own, offsets = rows.ragged(batch.installed, f.installed_rows)
        users = (batch.codes + self.blocks.user).astype(np.int32)
        totals = np.empty((len(apps), 1 + self.settings.factors), np.float32)
        self._batch = (users, own, offsets, ids, f.app_rows[apps], f.dense[apps], totals)
        out = np.empty(batch.apps.shape, np.float32)
        weights = (self.tables[name][0].numpy() for name in ("bias", *TABLES))
        _logits(*weights, self.blocks.size, *self._batch, out)
        return out

    def backward(self, gradients: Array) -> None:
        """Adds the gradients of the summed loss to the third of each of `tables`; float32[B, S] by logit."""
        weights, sums = ([self.tables[name][k].numpy() for name in TABLES] for k in (0, 2))
        self.tables["bias"][2][0, 0] = float(gradients.sum())
        _gradients(*weights, *sums, self.blocks.size, *self._batch, np.ascontiguousarray(gradients))

    def step(self, gradients: Array) -> None:
        """One AdaGrad step on the last `logits` batch; `gradients` float32[B, S] by the logits."""
        self.backward(gradients)
        every = torch.arange(len(self.tables["fixed"][0]), dtype=torch.int32)
        apps, installed = torch.from_numpy(self._batch[4]), torch.from_numpy(self._batch[1])
        touched = {"bias": every[:1], "fixed": every, "apps": apps, "installed": installed}
        for name, index in touched.items():
            rows.adagrad(*self.tables[name], index, self.settings.learning_rate, EPSILON)

    def to_state(self) -> dict[str, Array]:
        """Weights and accumulators, as arrays."""
        return {
            f"{what}.{name}": table[k].numpy().copy()
            for name, table in self.tables.items()
            for k, what in enumerate(("weights", "squares"))
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` gave."""
        for name in self.tables:
            weights, squares = (torch.from_numpy(state[f"{k}.{name}"].copy()) for k in ("weights", "squares"))
            self.tables[name] = (weights, squares, torch.zeros_like(weights))

    def published(self) -> dict[str, Array]:
        """The weights that serve, as copies."""
        return {name: table[0].numpy().copy() for name, table in self.tables.items()}


class FM(Learned):
    """Kind `fm`: the factorization machine alone."""

    kind = "fm"
    Settings = FMSettings

    def build(self) -> dict[str, Part]:
        """The factorization machine."""
        assert isinstance(self.settings, FMSettings)
        return {"fm": FactorPart(self.features, self.settings.fm, self.key)}
