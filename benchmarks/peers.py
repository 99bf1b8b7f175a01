"""The same network on the same rows by others, for `storelift bench train`.

Each function trains one epoch on `own`, in mini-batches of 1024 with one thread, and gives seconds and log
loss; it raises ImportError where its library is not installed. Making ids and splitting off the test rows is
done before the clock starts, for them as for us; the clock runs over what each calls a fit.

DeepCTR-Torch installs by `pip install deepctr-torch requests pandas`; at its import it asks the network for a
newer version, which is held back here. pytorch-widedeep asks for torchvision, which replaces a CPU build of
torch: install torch first, then

    pip install --no-deps pytorch-widedeep torchvision torchmetrics lightning-utilities einops wrapt tqdm

What it needs for texts and images only is stood in for here when it is absent.
"""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from experiment.bench.table import BATCH, DENSE, EMBEDDING, HIDDEN, VALUES, Table
from experiment.machine import Clock

_KEPT: list[Any] = []

RATE = 0.01
"""Adagrad's, with a mean loss; as near to ours as each library lets one come."""


def _figures(rows: int, clock: tuple[float, float], probabilities: Any, test: Table) -> dict[str, float]:
    p = np.clip(np.asarray(probabilities, np.float64).ravel(), 1e-7, 1 - 1e-7)
    loss = -np.mean(np.where(test.labels > 0, np.log(p), np.log1p(-p)))
    return {
        "examples_per_second": round(rows / clock[0], 1),
        "examples_per_cpu_second": round(rows / clock[1], 1),
        "log_loss": round(float(loss), 5),
    }


def plain_torch(own: Table, test: Table) -> dict[str, float]:
    """A loop as anybody writes it: embeddings, a linear part with the cross, an MLP, dense Adagrad."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    crossed = int(max(own.crossed().max(), test.crossed().max())) + 1

    class WideAndDeep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleList(nn.Embedding(n, EMBEDDING) for n in VALUES)
            self.linear = nn.ModuleList(nn.Embedding(n, 1) for n in (*VALUES, crossed))
            widths = (EMBEDDING * len(VALUES) + DENSE, *HIDDEN)
            layers: list[nn.Module] = []
            for a, b in itertools.pairwise(widths):
                layers += [nn.Linear(a, b), nn.ReLU()]
            self.deep = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 1))
            for table in (*self.embeddings, *self.linear):
                nn.init.normal_(table.weight, std=0.05)

        def forward(self, values: Any, cross: Any, dense: Any) -> Any:
            columns = [table(values[:, j]) for j, table in enumerate(self.embeddings)]
            wide = sum(t(values[:, j]) for j, t in enumerate(self.linear[:-1])) + self.linear[-1](cross)
            return (self.deep(torch.cat([*columns, dense], 1)) + wide).squeeze(1)

    model = WideAndDeep()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=RATE, fused=True)
    loss = nn.BCEWithLogitsLoss()
    tensors = [_tensors(torch, table) for table in (own, test)]
    values, cross, dense = tensors[0]
    labels = torch.from_numpy(own.labels)

    def epoch(rows: int) -> None:
        order = torch.randperm(rows)
        for start in range(0, rows, BATCH):
            at = order[start : start + BATCH]
            optimizer.zero_grad()
            loss(model(values[at], cross[at], dense[at]), labels[at]).backward()
            optimizer.step()

    clock = Clock()
    epoch(len(own))
    took = clock.wall(), clock.cpu()
    with torch.no_grad():
        return _figures(len(own), took, torch.sigmoid(model(*tensors[1])).numpy(), test)


def _tensors(torch: Any, table: Table) -> tuple[Any, Any, Any]:
    return torch.from_numpy(table.values), torch.from_numpy(table.crossed()), torch.from_numpy(table.dense)


def deepctr_torch(own: Table, test: Table) -> dict[str, float]:
    """DeepCTR-Torch's `WDL`; the cross is one more column of its linear part."""
    with mock.patch("threading.Thread"):  # it asks the network for a newer version when it is imported
        from deepctr_torch.inputs import DenseFeat, SparseFeat
        from deepctr_torch.models import WDL

    crossed = int(max(own.crossed().max(), test.crossed().max())) + 1
    deep = [SparseFeat(f"c{j}", n, EMBEDDING) for j, n in enumerate(VALUES)]
    deep += [DenseFeat(f"d{j}", 1) for j in range(DENSE)]
    model = WDL([*deep, SparseFeat("cross", crossed, 1)], deep, dnn_hidden_units=HIDDEN, l2_reg_linear=0.0,
                l2_reg_embedding=0.0, device="cpu")  # fmt: skip
    model.compile("adagrad", "binary_crossentropy", metrics=[])
    inputs = [{**t.columns(), "cross": t.crossed()} for t in (own, test)]
    clock = Clock()
    model.fit(inputs[0], own.labels, batch_size=BATCH, epochs=1, verbose=0)
    took = clock.wall(), clock.cpu()
    return _figures(len(own), took, model.predict(inputs[1], BATCH), test)


def pytorch_widedeep(own: Table, test: Table) -> dict[str, float]:
    """pytorch-widedeep's `WideDeep` of `Wide` and `TabMlp`, each with Adagrad."""
    import torch

    let_widedeep_be_imported()
    from pytorch_widedeep import Trainer
    from pytorch_widedeep.models import TabMlp, Wide, WideDeep

    crossed = int(max(own.crossed().max(), test.crossed().max())) + 1
    starts = np.cumsum([1, *VALUES])
    names = [f"c{j}" for j in range(len(VALUES))]
    dense = [f"d{j}" for j in range(DENSE)]
    wide = Wide(input_dim=int(starts[-1]) + crossed, pred_dim=1)
    deep = TabMlp(
        column_idx={name: place for place, name in enumerate([*names, *dense])},
        cat_embed_input=[(name, n, EMBEDDING) for name, n in zip(names, VALUES, strict=True)],
        continuous_cols=dense,
        mlp_hidden_dims=list(HIDDEN),
        mlp_dropout=0.0,
        cat_embed_dropout=0.0,
    )
    model = WideDeep(wide=wide, deeptabular=deep)
    optimizers = {
        "wide": torch.optim.Adagrad(model.wide.parameters(), lr=RATE),
        "deeptabular": torch.optim.Adagrad(model.deeptabular.parameters(), lr=RATE),
    }
    trainer = Trainer(model, objective="binary", optimizers=optimizers, verbose=0, num_workers=0)

    def inputs(table: Table) -> dict[str, Any]:
        linear = np.concatenate([table.values + starts[:-1], starts[-1] + table.crossed()[:, None]], axis=1)
        tabular = np.concatenate([table.values + 1, table.dense], axis=1).astype(np.float32)
        return {"X_wide": linear, "X_tab": tabular}

    own_inputs, test_inputs = inputs(own), inputs(test)
    clock = Clock()
    trainer.fit(**own_inputs, target=own.labels, n_epochs=1, batch_size=BATCH)
    took = clock.wall(), clock.cpu()
    return _figures(len(own), took, trainer.predict_proba(**test_inputs, batch_size=BATCH)[:, 1], test)


def let_widedeep_be_imported() -> None:
    """Stands in for what pytorch-widedeep imports but does not need for a table."""
    import torch

    _stand_in("gensim", "gensim.utils", "spacy", "spacy.symbols", "cv2", "fastparquet", "transformers",
              "sentence_transformers", "sentencepiece")  # fmt: skip
    declared = torch.library.Library("torchvision", "FRAGMENT")  # its own part does not load with CPU torch
    _KEPT.append(declared)  # what it declares goes when it goes
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _stand_in(*names: str) -> None:
    """Empty modules in place of absent ones, which nothing of a table calls."""
    import importlib.util

    for name in names:
        if name in sys.modules or ("." not in name and importlib.util.find_spec(name) is not None):
            continue
        module = types.ModuleType(name)
        module.__path__ = []
        module.__getattr__ = lambda attribute: mock.MagicMock(name=attribute)  # type: ignore[method-assign]
        sys.modules[name] = module


PEERS: dict[str, Callable[[Table, Table], dict[str, float]]] = {
    "plain_torch": plain_torch,
    "deepctr_torch": deepctr_torch,
    "pytorch_widedeep": pytorch_widedeep,
}
