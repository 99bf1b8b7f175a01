"""The table that `bench train` learns: ten categorical columns, five dense ones and a cross, made from keys.

Columns have 5 to 100,000 values with Zipf-like frequencies. The log odds add a weight for each value, one for
each pair of values of the crossed columns and a linear part of the dense values.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from experiment.machine import Clock, Limits
from models import evaluation
from models.ftrl import FTRL
from models.table import TableEncoder, TableSettings, read_columns
from models.table_model import TableModel, WideSettings, sigmoid
from models.table_net import NetSettings
from models.table_training import Examples, Schedule, train
from simulator.keys import Stream, hash_keys, normal, uniform
from simulator.schema import Array

VALUES = (5, 15, 45, 135, 400, 1_200, 3_600, 11_000, 33_000, 100_000)
DENSE = 5
CROSSED = (2, 4)
"""The two columns that are crossed."""
EMBEDDING, HIDDEN, BATCH = 32, (256, 128, 64), 1024
RATE = 0.01
"""AdaGrad's learning rate of our network, for the summed loss."""
FTRL_SLOTS = 2**20


@dataclass(frozen=True, slots=True)
class Table:
    """N rows.

    Attributes:
        values: int64[N, 10], values 0 .. `VALUES[j]` - 1 of column j.
        dense: float32[N, 5]. labels: float32[N], 0 or 1.
    """

    values: Array
    dense: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def crossed(self) -> Array:
        """int64[N]: the pair of values of the crossed columns, 0 .. product of their sizes - 1."""
        left, right = CROSSED
        return np.asarray(self.values[:, left] * VALUES[right] + self.values[:, right])

    def columns(self) -> dict[str, Array]:
        """By name, for a data frame."""
        names = {f"c{j}": self.values[:, j] for j in range(len(VALUES))}
        return names | {f"d{j}": self.dense[:, j].astype(np.float64) for j in range(DENSE)}


def make(rows: int, seed: int, first: int = 0) -> Table:
    """Rows `first` .. `first + rows - 1` of the table of `seed`."""
    at = np.arange(first, first + rows)
    sizes = np.array(VALUES)
    share = uniform(seed, Stream.POPULATION, at[:, None], np.arange(len(VALUES)))
    values = np.minimum(np.exp(share * np.log(sizes + 1.0)) - 1.0, sizes - 1).astype(np.int64)
    dense = normal(seed, Stream.HOUR, at[:, None], np.arange(DENSE)).astype(np.float32)
    odds = -1.5 + 0.35 * normal(seed, Stream.TASTE, np.arange(len(VALUES)), values).sum(axis=1)
    left, right = CROSSED
    odds += 0.7 * normal(seed, Stream.EXCEPTION_DRAW, values[:, left], values[:, right])
    odds += dense @ np.array([0.5, -0.4, 0.3, -0.2, 0.1])
    labels = uniform(seed, Stream.ACQUISITION, at) < sigmoid(odds)
    return Table(values, dense, labels.astype(np.float32))


class Prepared:
    """Training and test rows as ids, ready for any kind of model."""

    def __init__(self, own: Table, test: Table) -> None:
        crossed: Any = tuple(f"c{j}" for j in CROSSED)
        settings = TableSettings(
            categorical=tuple(f"c{j}" for j in range(len(VALUES))),
            continuous=tuple(f"d{j}" for j in range(DENSE)),
            multivalent=(),
            crosses=(crossed,),
            min_count=1,
            num_quantiles=100,
            wide_quantiles=20,
            hash_buckets=None,
        )
        columns = [read_columns(pd.DataFrame(t.columns()), settings) for t in (own, test)]
        self.encoder = TableEncoder(settings).fit(columns[0])
        self.encoded = [self.encoder.encode(one) for one in columns]
        self.labels = [own.labels.astype(np.float64), test.labels.astype(np.float64)]

    def model(self, kind: str, precision: str) -> TableModel:
        """An untrained model of `kind` "wide", "deep" or "wide_deep"."""
        return TableModel(
            self.encoder.sizes,
            DENSE,
            self.encoder.wide_size,
            WideSettings(0.1, 1.0, 1.0, 0.0) if kind != "deep" else None,
            NetSettings(EMBEDDING, HIDDEN, RATE, 0.1, precision, "cpu") if kind != "wide" else None,
            float(self.labels[0].mean()),
            RATE,
            np.random.default_rng(0),
        )

    def examples(self, model: TableModel, part: int) -> Examples:
        """The training (0) or test (1) rows as `model` takes them."""
        labels = self.labels[part]
        return Examples(model.arrange(self.encoded[part]), labels, np.ones_like(labels))


def one_kind(data: Prepared, kind: str, precision: str, repeats: int, limits: Limits) -> dict[str, Any]:
    """Rates of one epoch of training, each time from fresh weights, and the log loss on the test rows."""
    walls, cpus, loss = [], [], float("nan")
    for repeat in range(repeats + 1):
        model = data.model(kind, precision)
        own, none = data.examples(model, 0), data.examples(model, 1)
        nobody = Examples(none.rows.take(np.zeros(0, np.int64)), np.zeros(0), np.zeros(0))
        clock = Clock()
        train(model, own, nobody, Schedule(1, BATCH, 1, progress=False), np.random.default_rng(1))
        if repeat:
            walls.append(clock.wall())
            cpus.append(clock.cpu())
        wide, deep = model.score(none.rows)
        loss = evaluation.log_loss(none.labels, wide + deep + model.bias)
    N, cpu = len(data.labels[0]), median(cpus)
    figures: dict[str, Any] = {
        "examples_per_second": round(N / median(walls), 1),
        "examples_per_cpu_second": round(N / cpu, 1),
        "log_loss": round(loss, 5),
    }
    if kind != "wide":
        limit = limits.gemm_gflops if precision == "fp32" else limits.gemm_bf16_gflops
        figures["gemm_ratio"] = round(N * plain_operations() / cpu / 1e9 / limit, 4)
    return figures


def plain_operations() -> int:
    """Additions and multiplications for one example of the plain network, forward and backward."""
    widths = (EMBEDDING * len(VALUES) + DENSE, *HIDDEN, 1)
    return sum(6 * a * b for a, b in itertools.pairwise(widths))


def ftrl_alone(own: Table, repeats: int, limits: Limits) -> dict[str, Any]:
    """FTRL over a bias, the ten values and ten hashed crosses of each row: 21 coordinates per example."""
    N, F = own.values.shape
    ids = np.zeros((N, 2 * F + 1), np.int64)
    for j in range(F):
        for slot, key in ((j + 1, 0), (F + j + 1, own.values[:, (j + 1) % F] + 1)):
            hashed = hash_keys(0, Stream.TRAINING, j, own.values[:, j], key)
            ids[:, slot] = (hashed % np.uint64(FTRL_SLOTS - 1)).astype(np.int64) + 1
    flat, walls, cpus = ids.ravel(), [], []
    offsets = np.arange(BATCH + 1) * ids.shape[1]
    for repeat in range(repeats + 1):
        ftrl = FTRL(FTRL_SLOTS, 0.1, 1.0, 1.0, 0.0)
        clock = Clock()
        for start in range(0, N, BATCH):
            n = min(BATCH, N - start)
            batch, ends = flat[start * ids.shape[1] : (start + n) * ids.shape[1]], offsets[: n + 1]
            odds = ftrl.logits(batch, ends)
            ftrl.step(batch, ends, sigmoid(odds) - own.labels[start : start + n])
        if repeat:
            walls.append(clock.wall())
            cpus.append(clock.cpu())
    moved = ids.shape[1] * 16 * 2
    return {
        "examples_per_second": round(N / median(walls), 1),
        "examples_per_cpu_second": round(N / median(cpus), 1),
        "coordinates": ids.shape[1],
        "crosses": F,
        "copy_ratio": round(N * moved / median(cpus) / 1e9 / limits.copy_gb_per_second, 4),
    }
