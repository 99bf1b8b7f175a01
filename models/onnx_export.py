"""A fitted `WideDeepClassifier` as an ONNX graph, for other runtimes (extra `onnx`).

The graph begins where the encoder ends: `inputs` makes its inputs out of a data frame. It is the plain
network, without folded columns; scores equal the classifier's up to the rounding of fp32.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from models.estimator import WideDeepClassifier

Array = NDArray[Any]

OPSET = 17


def inputs(classifier: WideDeepClassifier, frame: Any) -> dict[str, Array]:
    """What the graph takes for the rows of `frame`.

    Returns:
        `ids.j` of the j-th categorical or multivalent column, int64[N] or [N, M] (0 is unknown or absent),
        `dense`, float32[N, continuous columns], and `wide`, int64[N, slots], as far as the model has them.

    Raises:
        NotFittedError: before `fit`.
    """
    check_is_fitted(classifier)
    encoded = classifier.encode(frame)
    feeds: dict[str, Array] = {}
    if classifier.kind != "wide":
        feeds |= {f"ids.{j}": ids.astype(np.int64) for j, ids in enumerate(encoded.ids)}
        feeds["dense"] = encoded.dense
    if classifier.kind != "deep":
        feeds["wide"] = encoded.wide.astype(np.int64)
    return feeds


def export(classifier: WideDeepClassifier, path: str | Path) -> None:
    """Writes the graph from `inputs` to `logit` and `probability` of `classes_[1]`, float32[N] each.

    Raises:
        ModuleNotFoundError: without the package onnx.
        NotFittedError: before `fit`.
    """
    import onnx

    check_is_fitted(classifier)
    graph = _Graph()
    bias = graph.constant("bias", np.array(classifier.model_.bias, np.float32))
    logits = [bias]
    if classifier.model_.wide is not None:
        weights = classifier.model_.wide.table[:, 2].astype(np.float32)
        graph.input("wide", onnx.TensorProto.INT64, ["N", "slots"])
        logits.append(graph.sum(graph.gather("wide.weights", weights, "wide"), 1))
    if classifier.model_.net is not None:
        logits.append(_network(graph, classifier))
    total = logits[0]
    for logit in logits[1:]:
        total = graph.node("Add", total, logit)
    graph.node("Identity", total, output="logit")
    graph.node("Sigmoid", total, output="probability")
    onnx.save(graph.model(), str(path))


def _network(graph: _Graph, classifier: WideDeepClassifier) -> str:
    """The deep logit, [N]."""
    import onnx

    net = classifier.model_.net
    assert net is not None
    w = {name: tensor.detach().cpu().numpy() for name, tensor in net.weights.items()}
    several = set(range(len(classifier.settings_.categorical), len(net.sizes)))
    parts: list[str] = []
    first: list[Array] = []
    D = net.settings.embedding_dim
    table = net.table.detach().cpu().numpy()
    for fields, rows in ((net.folded, w["embedding"]), (net.gathered, table)):
        bounds = pairwise(np.cumsum([0, *(net.sizes[f] for f in fields)]).tolist())
        for j, (f, (start, stop)) in enumerate(zip(fields, bounds, strict=True)):
            shape = ["N", f"values.{f}"] if f in several else ["N"]
            ids = graph.input(f"ids.{f}", onnx.TensorProto.INT64, shape)
            found = graph.gather(f"embedding.{f}", rows[start:stop], ids)
            parts.append(graph.mean_of_present(found, ids) if f in several else found)
            folded = rows is w["embedding"]
            first.append(w["fold"][j] if folded else w["layer1"][:, j * D : (j + 1) * D].T)
    parts.append(graph.input("dense", onnx.TensorProto.FLOAT, ["N", net.dense]))
    first.append(w["layer1"][:, len(net.gathered) * D :].T)
    h = graph.node("Concat", *parts, axis=1)
    weights, layer = np.concatenate(first), 1
    while True:
        h = graph.node("MatMul", h, graph.constant(f"layer{layer}", weights))
        h = graph.node("Relu", graph.node("Add", h, graph.constant(f"bias{layer}", w[f"bias{layer}"])))
        layer += 1
        if layer > len(net.settings.hidden):
            return graph.node("MatMul", h, graph.constant("out", w["out"]))
        weights = w[f"layer{layer}"].T


class _Graph:
    """An ONNX graph that grows node by node; a node's output is known by its name."""

    def __init__(self) -> None:
        import onnx

        self._onnx = onnx
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._constants: list[Any] = []

    def input(self, name: str, kind: int, shape: list[Any]) -> str:
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, name: str, array: Array) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, *names: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}.{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(names), [output], **attributes))
        return output

    def gather(self, name: str, table: Array, ids: str) -> str:
        return self.node("Gather", self.constant(name, table), ids)

    def sum(self, name: str, axis: int) -> str:
        axes = self.constant(f"axes.{len(self._constants)}", np.array([axis], np.int64))
        return self.node("ReduceSum", name, axes, keepdims=0)

    def mean_of_present(self, rows: str, ids: str) -> str:
        """The mean [N, D] of those of `rows` [N, M, D] whose ids [N, M] are not 0; 0 where all are."""
        at = len(self._constants)
        zero, one = (
            self.constant(f"zero.{at}", np.zeros(1, np.int64)),
            self.constant(f"one.{at}", np.ones(1, np.float32)),
        )
        present = self.node("Cast", self.node("Greater", ids, zero), to=self._onnx.TensorProto.FLOAT)
        last = self.constant(f"last.{at}", np.array([2], np.int64))
        weighted = self.node("Mul", rows, self.node("Unsqueeze", present, last))
        count = self.node("Max", self.sum(present, 1), one)
        across = self.constant(f"across.{at}", np.array([1], np.int64))
        return self.node("Div", self.sum(weighted, 1), self.node("Unsqueeze", count, across))

    def model(self) -> Any:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        outputs = [helper.make_tensor_value_info(name, kind, ["N"]) for name in ("logit", "probability")]
        graph = helper.make_graph(self._nodes, "wide_deep", self._inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        self._onnx.checker.check_model(model)
        return model
