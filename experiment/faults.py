"""Faults put in on purpose (`[faults]`), so that one can see the gate catch them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from experiment import plan
from experiment.config import Config
from experiment.worlds import world_of
from models.scorer import Published
from simulator.schema import AppTable, Array, Log, PublishedRanker, Ranker, Requests


def break_log(config: Config, learner: plan.Learner, day: int, log: Log) -> Log:
    """The training log as the configured faults leave it."""
    if not _hits(config, learner):
        return log
    if _on(config.faults.empty_log, day):
        return log.take(slice(0, 0))
    if _on(config.faults.poison_labels_on_day, day):
        return dataclasses.replace(log, labels=(1 - log.labels).astype(np.int8))
    return log


def break_model(config: Config, learner: plan.Learner, day: int, model: PublishedRanker) -> PublishedRanker:
    """The new model as the configured faults leave it."""
    if not _hits(config, learner):
        return model
    if _on(config.faults.nan_weights_on_day, day):
        return _poisoned(config, model)
    if _on(config.faults.stale_vocabulary, day):
        return _Broken(model, "shifted")
    return model


def _poisoned(config: Config, model: PublishedRanker) -> PublishedRanker:
    """The model with weights that are not a number; with such scores where it shows no weights."""
    if not isinstance(model, Published):
        return _Broken(model, "nan")
    arrays = {
        name: np.full_like(array, np.nan) if _is_weight(name, array) else array
        for name, array in model.arrays.items()
    }
    return Published(world_of(config).apps, model.kind, model.meta, arrays)


def _is_weight(name: str, array: Array) -> bool:
    return array.dtype.kind == "f" and not name.startswith("features.")


def _hits(config: Config, learner: plan.Learner) -> bool:
    return config.faults.arm is None or config.faults.arm in learner.arms


def _on(fault: bool | int | None, day: int) -> bool:
    return day >= 1 if fault is True else fault is not None and fault is not False and fault == day


@dataclass(frozen=True)
class _Broken:
    """A model whose scores are not a number, or whose rows belong to another vocabulary's ids."""

    model: Ranker
    how: str

    def score(self, requests: Requests) -> Array:
        if self.how == "nan":
            return np.full(requests.apps.shape, np.nan, np.float32)
        neighbours = np.where(requests.apps > 0, requests.apps - 1, requests.apps)
        columns = requests.arrays()
        columns["apps"] = neighbours
        return self.model.score(Requests(**columns))

    def save(self, folder: Path) -> None:
        raise ValueError(f"{folder}: a broken model is never published")

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        raise ValueError(f"{folder}: a broken model of {len(apps)} apps is never published")
