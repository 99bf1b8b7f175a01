"""The paper's network as a published model, and what plain torch and onnxruntime make of the same weights.

Cheng et al. 2016, figure 4: a concatenation of about 1200 values, ReLU layers of 1024, 512 and 256, a logit.
Letters in shapes: A apps, C candidates, D dimensions of an embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models import matmul
from models.catalogue import APP_FEATURES, USER_FEATURES, app_sizes
from models.deep import Blocks
from models.scorer import Published, describe, part_arrays
from models.settings import FeatureSettings
from simulator.schema import NO_APP, AppTable, Array, Cardinalities, Requests

HIDDEN = (1024, 512, 256)
DIMENSIONS = 80
"""Of each of the 15 embeddings: with two dense values they make a concatenation of 1202."""

CARDINALITIES = Cardinalities(20, 12, 6, 2, 8, 24, 40, 4, 5)
INSTALLED = 20

Score = Callable[[int, int], object]
"""Scores the candidates start .. stop of the benchmark's request."""


@dataclass(frozen=True)
class PaperNet:
    """The weights, and how they are published.

    Attributes:
        arrays: of a published model, by part and name. apps: the catalogue.
        features: settings.
    """

    arrays: dict[str, Array]
    apps: AppTable
    features: FeatureSettings

    @classmethod
    def draw(cls, apps: int, seed: int = 0) -> PaperNet:
        """Weights as they are before training (He et al. 2015), every app with an id and a history."""
        rng, c, D, features = np.random.default_rng(seed), CARDINALITIES, DIMENSIONS, FeatureSettings()
        sizes = zip(APP_FEATURES, app_sizes(c), strict=True)
        table = AppTable(
            **{name: rng.integers(0, size, apps).astype(np.int16) for name, size in sizes},
            release_day=np.full(apps, -400, np.int32),
            store_installs=rng.integers(1, 10**6, apps),
        )
        F, K = len(USER_FEATURES), len(APP_FEATURES)
        inputs = {"user1": (F + 1) * D, "app1": (K + 2) * D + 2, "position1": D}
        blocks = Blocks.of(c, len(features.age_boundaries) + 1, features.positions)

        def normal(scale: float, *shape: int) -> Array:
            return (rng.standard_normal(shape, np.float32) * np.float32(scale)).astype(np.float32)

        net = {n: normal((2 / sum(inputs.values())) ** 0.5, HIDDEN[0], width) for n, width in inputs.items()}
        for layer, (width, units) in enumerate(itertools.pairwise(HIDDEN), start=2):
            net[f"layer{layer}"] = normal((2 / width) ** 0.5, units, width)
        for layer, units in enumerate(HIDDEN, start=1):
            net[f"bias{layer}"] = np.zeros(units, np.float32)
        net["out"], net["out_bias"] = normal((1 / HIDDEN[-1]) ** 0.5, 1, HIDDEN[-1]), np.zeros(1, np.float32)
        net |= {"attributes": normal(0.05, blocks.size, D), "installed": normal(0.05, apps + 1, D)}
        net["apps"] = normal(0.05, apps + 1, D)
        every = np.arange(apps, dtype=np.int64)
        known: dict[str, Array] = {"app_ids": every, "installed_ids": every, "known_ids": every}
        known |= {"dense": rng.random((apps, 2), np.float32), "dense_default": np.zeros(2, np.float32)}
        return cls(part_arrays({"features": known, "deep": net}), table, features)

    def publish(self) -> Published:
        """The published form; it makes the table with a row for each app."""
        meta = describe(CARDINALITIES, self.features, (), 1.0, 0)
        return Published(self.apps, "deep", meta, self.arrays)

    def request(self, candidates: int, seed: int = 1) -> Requests:
        """One request with some installed apps and `candidates` others."""
        rng = np.random.default_rng(seed)
        drawn = rng.choice(len(self.apps), INSTALLED + candidates, replace=False).astype(np.int32)
        context = {"hour": 24, "device": 8, "country": 20, "language": 12, "age_band": 6, "gender": 2}
        return Requests(
            request_id=np.zeros(1, np.uint64),
            user_id=np.zeros(1, np.int64),
            sim_day=np.ones(1, np.int32),
            **{name: rng.integers(0, size, 1).astype(np.int8) for name, size in context.items()},
            installed=np.append(drawn[:INSTALLED], np.full(4, NO_APP, np.int32))[None],
            apps=drawn[None, INSTALLED:],
        )

    def concatenation(self, requests: Requests) -> Array:
        """What figure 4 concatenates for one request, float32[C, 1202]: the input of the plain networks."""
        net = {k.removeprefix("deep."): v for k, v in self.arrays.items() if k.startswith("deep.")}
        blocks = Blocks.of(CARDINALITIES, len(self.features.age_boundaries) + 1, self.features.positions)
        table, apps = net["attributes"], requests.apps[0]
        context = [int(getattr(requests, name)[0]) for name in USER_FEATURES[:-1]]
        user = table[np.array([*context, int(requests.sim_day[0]) % 7]) + blocks.user].ravel()
        owned = requests.installed[0][requests.installed[0] >= 0]
        user = np.concatenate([user, net["installed"][owned + 1].mean(0)])
        codes = np.stack([getattr(self.apps, name)[apps] for name in APP_FEATURES], 1)
        days = requests.sim_day[0] - self.apps.release_day[apps]
        age = np.searchsorted(self.features.age_boundaries, days, side="right")
        rows = np.concatenate([codes, age[:, None]], 1) + blocks.app
        own = net["apps"][apps + 1]
        dense = self.arrays["features.dense"][apps]
        place = np.tile(table[blocks.position], (len(apps), 1))
        parts = [np.tile(user, (len(apps), 1)), own, table[rows].reshape(len(apps), -1), dense, place]
        return np.concatenate(parts, 1).astype(np.float32)

    def layers(self) -> list[tuple[Array, Array]]:
        """Weights [units, width] and biases of the plain network, the last with one unit."""
        get = {k.removeprefix("deep."): v for k, v in self.arrays.items()}
        first = np.concatenate([get["user1"], get["app1"], get["position1"]], 1)
        hidden = [(get[f"layer{k}"], get[f"bias{k}"]) for k in range(2, len(HIDDEN) + 1)]
        return [(first, get["bias1"]), *hidden, (get["out"], get["out_bias"])]


def eager(layers: list[tuple[Array, Array]], inputs: Array) -> tuple[Score, Callable[[], Array]]:
    """Plain torch, eager, on inputs that are ready: scoring of a range, and all scores."""
    import torch

    modules: list[torch.nn.Module] = []
    for weights, bias in layers:
        linear = torch.nn.Linear(weights.shape[1], weights.shape[0])
        linear.weight.data, linear.bias.data = torch.from_numpy(weights), torch.from_numpy(bias)
        modules += [linear, torch.nn.ReLU()]
    net, x = torch.nn.Sequential(*modules[:-1]), torch.from_numpy(inputs)

    def score(start: int, stop: int) -> object:
        with torch.inference_mode():
            return net(x[start:stop])

    def scores() -> Array:
        with torch.inference_mode():
            found: Array = net(x)[:, 0].numpy()
            return found

    return score, scores


def onnxruntime(layers: list[tuple[Array, Array]], inputs: Array) -> tuple[Score, Callable[[], Array]]:
    """onnxruntime, fp32, one thread for each call, on inputs that are ready.

    Raises:
        ModuleNotFoundError: without the extra `onnx`.
    """
    import onnx
    import onnxruntime as ort
    from onnx import helper, numpy_helper

    nodes, constants, at = [], [], "x"
    for k, (weights, bias) in enumerate(layers):
        names = [f"w{k}", f"b{k}"]
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(a), n)
            for a, n in zip((weights, bias), names, strict=True)
        ]
        last = k == len(layers) - 1
        nodes.append(helper.make_node("Gemm", [at, *names], ["y" if last else f"h{k}"], transB=1))
        at = f"r{k}"
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{k}"], [at]))
    kind = onnx.TensorProto.FLOAT
    ins = [helper.make_tensor_value_info("x", kind, ["n", inputs.shape[1]])]
    outs = [helper.make_tensor_value_info("y", kind, ["n", 1])]
    graph = helper.make_graph(nodes, "paper", ins, outs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options: Any = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def score(start: int, stop: int) -> object:
        return session.run(None, {"x": inputs[start:stop]})

    return score, lambda: np.asarray(session.run(None, {"x": inputs})[0][:, 0], np.float32)


def operations(layers: tuple[int, ...]) -> float:
    """Additions and multiplications of one candidate in matrix products through layers of these widths."""
    return 2.0 * sum(a * b for a, b in itertools.pairwise((*layers, 1)))


def folded_operations() -> float:
    """Of one candidate once the first layer is a table."""
    return operations(HIDDEN)


def rounded_operations() -> float:
    """Those of `folded_operations` that are in bf16: of all layers but the last, see `FoldedNet.rounded`."""
    return 2.0 * sum(a * b for a, b in itertools.pairwise(HIDDEN[:-1]))


def plain_operations() -> float:
    """Of one candidate with the first layer."""
    F, K = len(USER_FEATURES), len(APP_FEATURES)
    return operations(((F + K + 4) * DIMENSIONS + 2, *HIDDEN))


def prepare() -> None:
    """One thread for each call, and the fast fp32 products."""
    import torch

    torch.set_num_threads(1)
    matmul.prepare()
