"""Learning from logs, day by day, from a warm start (Cheng et al. 2016, sections 3.3 and 4.2)."""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel

from models import checkpoint
from models.features import Day, Features
from models.keyed import order
from models.scorer import Published, describe, part_arrays
from models.settings import FeatureSettings, TrainingSettings
from simulator.schema import AppTable, Cardinalities, Log, Requests, days_in

Array = NDArray[Any]


class Part(Protocol):
    """A trainable part of a model: wide, deep or a factorization machine."""

    def grow(self, day: Day) -> None:
        """Makes room for the ids that the vocabularies have taken in."""
        ...

    def logits(self, batch: Day) -> Array:
        """The part's log odds, float32[B, S]; it remembers what `step` needs."""
        ...

    def step(self, gradients: Array) -> None:
        """One optimiser step on the last `logits` batch; `gradients` float32[B, S]."""
        ...

    def to_state(self) -> dict[str, Array]:
        """Weights and optimiser state, as arrays."""
        ...

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` gave."""
        ...

    def published(self) -> dict[str, Array]:
        """What serving needs, as arrays."""
        ...


@njit(cache=True)
def residuals(logits: Any, labels: Any, out: Any) -> None:
    """Writes sigmoid(logits) - labels, the gradient of the logistic loss by each logit; all [B, S]."""
    for b in range(logits.shape[0]):
        for s in range(logits.shape[1]):
            x = np.float64(logits[b, s])
            e = math.exp(-abs(x))
            out[b, s] = (1.0 if x >= 0.0 else e) / (1.0 + e) - labels[b, s]


class Learned(ABC):
    """A ranker made of trainable parts over common features.

    Attributes:
        kind: name of the kind.
        Settings: the model of its settings.
        joint: whether the parts' logits are summed under one loss, or each part has a loss of its own.
        features: vocabularies and app history.
        parts: the parts by name.

    Args:
        apps: the catalogue.
        cardinalities: of the attributes.
        settings: a mapping that `Settings` validates, or a `Settings`.
        key: seeds the initial weights.

    Raises:
        ValueError: if the settings or the catalogue's attributes are not allowed.
    """

    kind: ClassVar[str]
    Settings: ClassVar[type[BaseModel]]
    joint: ClassVar[bool] = True

    def __init__(
        self,
        apps: AppTable,
        cardinalities: Cardinalities,
        settings: Mapping[str, Any] | BaseModel,
        key: int,
    ) -> None:
        self.settings = self.Settings.model_validate(settings)
        self.apps, self.cardinalities, self.key = apps, cardinalities, key
        self.features = Features(apps, cardinalities, self._features_settings)
        self.parts = self.build()
        self._published: Published | None = None

    @abstractmethod
    def build(self) -> dict[str, Part]:
        """Fresh parts for `self.features`, `self.settings` and `self.key`."""

    @property
    def _features_settings(self) -> FeatureSettings:
        features: FeatureSettings = getattr(self.settings, "features")  # noqa: B009
        return features

    @property
    def _training(self) -> TrainingSettings:
        training: TrainingSettings = getattr(self.settings, "training")  # noqa: B009
        return training

    def fit(self, data: Log, key: int) -> None:
        """Goes on from the present state over `data`, one day after the other.

        A day's features are those known before it; the vocabularies grow by the day, the parts pass over its
        requests in an order keyed by `key`, day and request, then the day joins the app history.

        Raises:
            ValueError: if a value of `data` is outside of its range; nothing is learned then.
        """
        self.features.check(data)
        self._published = None
        if not self._training.warm_start:
            self.parts = self.build()
        for sim_day in days_in(data.requests):
            log = data.take(data.requests.sim_day == sim_day)
            self._fit_day(log, key, sim_day)

    def _fit_day(self, log: Log, key: int, sim_day: int) -> None:
        log = log.take(order(key, f"order.{sim_day}", log.requests.request_id))
        day = self.features.day(log)
        self.features.grow(log)
        for part in self.parts.values():
            part.grow(day)
        for _ in range(self._training.epochs):
            for start in range(0, len(day), self._training.batch_requests):
                self._learn(day.rows(start, start + self._training.batch_requests))
        self.features.learn(log)

    def _learn(self, batch: Day) -> None:
        """One optimiser step of every part; one logistic loss of the summed log odds (paper, equation 3)."""
        logits = {name: part.logits(batch) for name, part in self.parts.items()}
        total = functools.reduce(np.add, logits.values())
        gradients = np.empty_like(total)
        for name, part in self.parts.items():
            residuals(total if self.joint else logits[name], batch.labels, gradients)
            part.step(gradients)

    def score(self, requests: Requests) -> Array:
        """Log odds of acquisition, float32[B, C], as the published form gives them."""
        if self._published is None:
            self._published = self.publish()
        return self._published.score(requests)

    def publish(self) -> Published:
        """The immutable form that serves; it is not kept here, as it may be large."""
        parts = {name: part.published() for name, part in self.parts.items()}
        arrays = part_arrays({"features": self.features.published(), **parts})
        wide = getattr(self.settings, "wide", None)
        meta = describe(
            self.cardinalities,
            self._features_settings,
            wide.crosses if wide is not None else (),
            1.0 if self.joint else 1.0 / len(self.parts),
            self.features.last_day,
        )
        return Published(self.apps, self.kind, meta, arrays)

    def save(self, folder: Path) -> None:
        """Writes the whole state, optimisers included, into the existing `folder`."""
        states = {name: part.to_state() for name, part in self.parts.items()}
        arrays = part_arrays({"features": self.features.to_state(), **states})
        checkpoint.write(
            folder,
            self.kind,
            arrays,
            form="trainable",
            key=self.key,
            settings=self.settings.model_dump(mode="json"),
            cardinalities=dataclasses.asdict(self.cardinalities),
            sim_day=self.features.last_day,
        )

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        """The ranker that `save` wrote; it goes on as if it had never left memory.

        Raises:
            FileNotFoundError: if the folder is not complete.
            ValueError: if it is of another format, form or kind, or of another number of apps.
        """
        arrays, meta = checkpoint.read(folder, cls.kind, "trainable")
        ranker = cls(apps, Cardinalities(**meta["cardinalities"]), meta["settings"], meta["key"])

        def under(part: str) -> dict[str, Array]:
            return {k.removeprefix(f"{part}."): v for k, v in arrays.items() if k.startswith(f"{part}.")}

        ranker.features.restore(under("features"))
        for name, part in ranker.parts.items():
            part.restore(under(name))
        return ranker
