"""The deep part as it serves: the first layer folded into a table by app, the rest in tiles of one shape.

W1 [user; app; age; position 0] is the sum of a vector per request, a row per app and a row per age bucket.
Apps without id or history that share their attributes share a row. Each candidate is a row of its own in
matrix products of one fixed shape, so its score depends on nothing beside it. Letters in shapes: B requests,
C candidates, R rows of the folded table, D dimensions of an embedding, H units of a layer, T rows of a tile.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from models import matmul
from models.catalogue import APP_FEATURES, USER_FEATURES, Catalogue
from models.deep import Blocks
from models.lanes import LANES, fetch_row, relu_dot, relu_of_sum
from simulator.schema import Requests

Array = NDArray[Any]

TILE = 1 << 18
"""Most numbers of the first layer in a tile: what the second-level cache holds."""

STEP = 16
"""Where a first layer is so wide that fewer than `ROWS` rows fit, they are a multiple of it."""

ROWS = 208
"""Rows of every tile: by their number MKL and oneDNN choose how they sum, and so how they round. A multiple
of `STEP`, or MKL for AVX2 rounds the last rows otherwise."""

AHEAD = 8
"""Candidates by which the table's rows are fetched ahead: they are wider than what a processor foresees."""

_LOCAL = threading.local()  # scratch, by shape


@njit(cache=True, nogil=True)
def _user_side(
    codes: Any,
    starts: Any,
    table: Any,
    installed: Any,
    installed_rows: Any,
    embeddings: Any,
    pool: Any,
    out: Any,
) -> None:
    """First-layer sums of the user side; out [B, H] holds the constant part on entry."""
    H, D = out.shape[1], embeddings.shape[1]
    mean = np.empty(D, np.float32)
    for b in range(len(codes)):
        for f in range(codes.shape[1]):
            row = starts[f] + codes[b, f]
            for h in range(H):
                out[b, h] += table[row, h]
        n = 0
        for d in range(D):
            mean[d] = 0.0
        for i in range(installed.shape[1]):
            if installed[b, i] >= 0 and installed_rows[installed[b, i]] > 0:
                n += 1
                for d in range(D):
                    mean[d] += embeddings[installed_rows[installed[b, i]], d]
        if n > 0:
            for d in range(D):
                scaled = mean[d] * np.float32(1.0 / n)
                for h in range(H):
                    out[b, h] += scaled * pool[d, h]


@njit(cache=True, nogil=True)
def _fill_tile(
    users: Any,
    apps: Any,
    days: Any,
    rows: Any,
    table: Any,
    release_day: Any,
    ages: Any,
    by_age: Any,
    at: int,
    tile: Any,
) -> None:
    """ReLU of the first layer for candidates at, at + 1, .. of the flattened [B, C]; 0 in rows beyond."""
    zero = np.float32(0.0)
    C, H = apps.shape[1], users.shape[1]
    last = len(ages) - 1
    flat = apps.reshape(-1)
    for t in range(len(tile)):
        n = at + t
        if n >= apps.size:
            for h in range(H):
                tile[t, h] = zero
            continue
        if n + AHEAD < apps.size:
            fetch_row(table, np.int64(rows[flat[n + AHEAD]]))
        b = n // C
        a = flat[n]
        row = np.int64(rows[a])
        bucket = np.int64(ages[min(max(np.int64(days[b]) - np.int64(release_day[a]), 0), last)])
        if H % LANES == 0:
            relu_of_sum(users, b, table, row, by_age, bucket, tile, t)
        else:
            for h in range(H):
                tile[t, h] = max(users[b, h] + table[row, h] + by_age[bucket, h], zero)


@njit(cache=True, nogil=True)
def _bias_relu(x: Any, bias: Any) -> None:
    """Writes max(x + bias, 0) to x; NaN stays."""
    zero = np.float32(0.0)
    for t in range(x.shape[0]):
        for h in range(x.shape[1]):
            x[t, h] = max(x[t, h] + bias[h], zero)


@njit(cache=True, nogil=True)
def _add_logits(x: Any, bias: Any, weights: Any, constant: Any, at: int, out: Any) -> None:
    """out[at + t] += weights . ReLU(x[t] + bias) + constant, in a fixed order; widths are multiples of 8."""
    for t in range(min(len(x), len(out) - at)):
        out[at + t] += relu_dot(x, t, bias, weights) + constant


class FoldedNet:
    """The deep part, ready to serve on the CPU.

    Args:
        catalogue: the apps' features at publication.
        arrays: `NetPart.published`.
    """

    def __init__(self, catalogue: Catalogue, arrays: Mapping[str, Array]) -> None:
        matmul.prepare()
        c = self.catalogue = catalogue
        blocks = Blocks.of(c.cardinalities, c.age.buckets, c.settings.positions)
        table, D = arrays["attributes"], arrays["attributes"].shape[1]
        F, K = len(USER_FEATURES), len(APP_FEATURES)
        user1, app1 = arrays["user1"], arrays["app1"]
        hidden = [len(user1), *(len(arrays[f"layer{k}"]) for k in range(2, 2 + _layers(arrays)))]
        last = -(-hidden[-1] // LANES) * LANES
        if len(hidden) == 1:  # the last layer is the first, and it is padded
            user1, app1 = _pad(user1, last), _pad(app1, last)
            arrays = {
                **arrays,
                "bias1": _pad(arrays["bias1"], last),
                "position1": _pad(arrays["position1"], last),
            }
        stops = [*blocks.user[1:], blocks.app[0]]
        self._starts = blocks.user
        self._users = np.concatenate(
            [
                _product(table[start:stop], user1[:, f * D : (f + 1) * D].T)
                for f, (start, stop) in enumerate(zip(blocks.user, stops, strict=True))
            ]
        )
        self._pool = np.ascontiguousarray(user1[:, F * D :].T)
        self._installed = arrays["installed"]
        self._constant = arrays["bias1"] + arrays["position1"] @ table[blocks.position]
        age = slice((K + 1) * D, (K + 2) * D)
        self._by_age = _product(table[blocks.app[K] : blocks.position], app1[:, age].T)
        self._rows, sample = _shared_rows(c)
        inputs = np.concatenate(
            [
                arrays["apps"][c.app_rows[sample]],
                table[c.codes[sample] + blocks.app[:K]].reshape(len(sample), K * D),
                c.dense[sample],
            ],
            1,
        )
        self._table = _product(inputs, np.delete(app1, age, 1).T)
        self._layers, self._biases = [], []
        for k, width in enumerate(hidden[1:], start=2):
            padded = last if k == len(hidden) else width
            self._layers.append(torch.from_numpy(np.ascontiguousarray(_pad(arrays[f"layer{k}"], padded).T)))
            self._biases.append(_pad(arrays[f"bias{k}"], padded))
        self._out = _pad(arrays["out"][0], last)
        self._out_bias = arrays["out_bias"][0]
        self._tile = min(ROWS, max(STEP, TILE // hidden[0] // STEP * STEP))

    def rounded(self) -> Self:
        """The same part with bf16 inputs and weights in its large matrix products, summed in fp32.

        A layer's result is rounded once, after bias and ReLU. The first layer, the biases and, unless it is
        the only other one, the last layer stay fp32: it is small, and its rounding is half of the error.
        Raises ValueError where the processor has no bf16 products.
        """
        matmul.require_bf16()
        other, large = copy.copy(self), max(1, len(self._layers) - 1)
        packed = [_packed(weights, self._tile) for weights in self._layers[:large]]
        vars(other)["_layers"] = [*packed, *self._layers[large:]]
        return other

    def _scratch(self) -> list[torch.Tensor]:
        """The layers' outputs for a tile; each thread has its own."""
        widths = (self._tile, self._table.shape[1], *map(len, self._biases))
        store: dict[Any, list[torch.Tensor]] = _LOCAL.__dict__
        if widths not in store:
            store[widths] = [torch.empty(self._tile, width) for width in widths[1:]]
        return store[widths]

    def add(self, codes: Array, requests: Requests, out: Array) -> None:
        """Adds the part's log odds to `out` float32[B, C]; `codes` as of `features.user_codes`."""
        c, apps, flat = self.catalogue, requests.apps, out.reshape(-1)
        users = np.tile(self._constant, (len(codes), 1))
        _user_side(
            codes,
            self._starts,
            self._users,
            requests.installed,
            c.installed_rows,
            self._installed,
            self._pool,
            users,
        )
        tiles = self._scratch()
        views = [tile.numpy() for tile in tiles]
        bias = self._biases[-1] if self._biases else np.zeros_like(self._out)
        for at in range(0, apps.size, self._tile):
            _fill_tile(
                users,
                apps,
                requests.sim_day,
                self._rows,
                self._table,
                c.age.release_day,
                c.age.table,
                self._by_age,
                at,
                views[0],
            )
            for k, weights in enumerate(self._layers):
                last = k + 1 == len(self._layers)
                if weights.is_mkldnn:
                    tiles[k + 1].copy_(_rounded_layer(tiles[k], weights, None if last else self._biases[k]))
                else:
                    torch.mm(tiles[k], weights, out=tiles[k + 1])
                    if not last:
                        _bias_relu(views[k + 1], self._biases[k])
            _add_logits(views[-1], bias, self._out, self._out_bias, at, flat)


def _packed(weights: torch.Tensor, rows: int) -> torch.Tensor:
    """Weights [H, H'] in bf16, in the order in which oneDNN reads them for products of so many rows."""
    narrow = weights.t().contiguous().bfloat16()
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(narrow, rows)  # noqa: SLF001
    return packed


def _rounded_layer(x: torch.Tensor, packed: torch.Tensor, bias: Array | None) -> torch.Tensor:
    """bf16[T, H'] of ReLU(x weights + bias), or of x weights where there is no bias."""
    add, activation = (None, "none") if bias is None else (torch.from_numpy(bias), "relu")
    apply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
    result: torch.Tensor = apply(x.bfloat16(), packed, add, activation, [], "")
    return result


def _product(a: Array, b: Array) -> Array:
    """Product of two float32 matrices on torch's threads; numpy's own would round otherwise."""
    a, b = np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32)
    product: Array = (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()
    return product


def _pad(array: Array, rows: int) -> Array:
    """`array` with rows of zeros appended up to `rows`."""
    return np.pad(array, [(0, rows - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _layers(arrays: Mapping[str, Array]) -> int:
    return sum(name.startswith("layer") for name in arrays)


def _distinct(keys: Array) -> tuple[Array, Array]:
    """Where each distinct key first is, by ascending key, and each key's place among them; keys >= 0."""
    size = int(keys.max(initial=-1)) + 1
    if size > 4 * len(keys) + 1024:
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        return first, inverse
    seen = np.full(size, -1, np.int64)  # much faster than to sort a million keys of a few thousand values
    seen[keys[::-1]] = np.arange(len(keys) - 1, -1, -1)
    present = np.flatnonzero(seen >= 0)
    places = np.zeros(size, np.int64)
    places[present] = np.arange(len(present))
    return seen[present], places[keys]


def _shared_rows(c: Catalogue) -> tuple[Array, Array]:
    """The row of each app in the folded table, int32[A], and for each row an app that has it, int64[R]."""
    fresh = np.flatnonzero((c.app_rows == 0) & ~c.known)
    key = np.zeros(len(fresh), np.int64)
    for column in range(c.codes.shape[1]):
        key = key * (int(c.codes[:, column].max(initial=0)) + 1) + c.codes[fresh, column]
    first, inverse = _distinct(key)
    others = np.flatnonzero((c.app_rows > 0) | c.known)
    rows = np.empty(len(c.codes), np.int32)
    rows[others] = np.arange(len(others))
    rows[fresh] = len(others) + inverse
    return rows, np.concatenate([others, fresh[first]])
