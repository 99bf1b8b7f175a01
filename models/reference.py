"""Reference rankers that every learned one must beat: random order, and popularity."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel

from models import checkpoint
from models.catalogue import user_codes
from models.keyed import fold, stream, unit
from models.settings import PopularitySettings, RandomSettings
from simulator.schema import AppTable, Cardinalities, Log, Requests

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def _random_scores(state: Any, users: Any, days: Any, apps: Any, out: Any) -> None:
    for b in range(apps.shape[0]):
        visit = fold(fold(state, users[b]), days[b])
        for c in range(apps.shape[1]):
            out[b, c] = unit(fold(visit, apps[b, c]))


class Random:
    """Kind `random`: a number of (0, 1) hashed from key, user, app and day. It is its own published form."""

    kind: ClassVar[str] = "random"
    Settings: ClassVar[type[BaseModel]] = RandomSettings

    def __init__(
        self, apps: AppTable, cardinalities: Cardinalities, settings: Mapping[str, Any] | BaseModel, key: int
    ) -> None:
        self.settings = RandomSettings.model_validate(settings)
        self.apps, self.cardinalities, self.key = apps, cardinalities, key
        self._state = stream(key, "random")

    def fit(self, data: Log, key: int) -> None:
        """Learns nothing."""

    def score(self, requests: Requests) -> Array:
        """Numbers of (0, 1), float32[B, C].

        Raises:
            ValueError: if an attribute or an app is outside of its range.
        """
        user_codes(requests, self.cardinalities, len(self.apps))
        out = np.empty(requests.apps.shape, np.float32)
        _random_scores(self._state, requests.user_id, requests.sim_day, requests.apps, out)
        return out

    def publish(self) -> Random:
        """Itself."""
        return self

    def save(self, folder: Path) -> None:
        """Writes the key into the existing `folder`."""
        checkpoint.write(
            folder,
            self.kind,
            {},
            form="both",
            cardinalities=dataclasses.asdict(self.cardinalities),
            key=self.key,
            sim_day=None,
            nonzero={},
        )

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        """The ranker that `save` wrote.

        Raises:
            FileNotFoundError: if the folder is not complete.
            ValueError: if it is of another format or kind.
        """
        _, meta = checkpoint.read(folder, cls.kind, "both")
        return cls(apps, Cardinalities(**meta["cardinalities"]), {}, meta["key"])


class Popularity:
    """Kind `popularity`: the log odds of an app's share of all acquisitions. It is its own published form.

    Acquisitions are those of the logs fitted, and the store's public installation counts, which together
    stand for `prior` of them.
    """

    kind: ClassVar[str] = "popularity"
    Settings: ClassVar[type[BaseModel]] = PopularitySettings

    def __init__(
        self, apps: AppTable, cardinalities: Cardinalities, settings: Mapping[str, Any] | BaseModel, key: int
    ) -> None:
        self.settings = PopularitySettings.model_validate(settings)
        self.apps, self.cardinalities, self.key = apps, cardinalities, key
        self.acquisitions = np.zeros(len(apps), np.int64)
        self.last_day: int | None = None
        self._scores: Array | None = None

    def fit(self, data: Log, key: int) -> None:  # noqa: ARG002 - of the protocol
        """Adds the acquisitions of `data`.

        Raises:
            ValueError: if an attribute or an app is outside of its range.
        """
        user_codes(data.requests, self.cardinalities, len(self.apps))
        acquired = data.requests.apps[data.labels > 0]
        self.acquisitions = self.acquisitions + np.bincount(acquired, minlength=len(self.apps))
        if len(data):
            self.last_day = int(data.requests.sim_day.max())
        self._scores = None

    def score(self, requests: Requests) -> Array:
        """Log odds of an acquisition being of the app, float32[B, C].

        Raises:
            ValueError: if an attribute or an app is outside of its range.
        """
        user_codes(requests, self.cardinalities, len(self.apps))
        if self._scores is None:
            installs = self.apps.store_installs.astype(np.float64)
            counts = self.acquisitions + self.settings.prior * installs / max(installs.sum(), 1.0)
            share = (counts + 0.5) / (counts.sum() + len(counts))
            self._scores = np.log(share / (1 - share)).astype(np.float32)
        scores: Array = self._scores[requests.apps]
        return scores

    def publish(self) -> Popularity:
        """A copy that later fits leave alone."""
        copy = type(self)(self.apps, self.cardinalities, self.settings, self.key)
        copy.acquisitions, copy.last_day = self.acquisitions, self.last_day
        return copy

    def save(self, folder: Path) -> None:
        """Writes the counts into the existing `folder`."""
        apps = np.flatnonzero(self.acquisitions)
        checkpoint.write(
            folder,
            self.kind,
            {"apps": apps, "acquisitions": self.acquisitions[apps]},
            form="both",
            cardinalities=dataclasses.asdict(self.cardinalities),
            settings=self.settings.model_dump(mode="json"),
            key=self.key,
            sim_day=self.last_day,
            nonzero={"acquisitions": len(apps)},
        )

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        """The ranker that `save` wrote.

        Raises:
            FileNotFoundError: if the folder is not complete.
            ValueError: if it is of another format or kind.
        """
        arrays, meta = checkpoint.read(folder, cls.kind, "both")
        ranker = cls(apps, Cardinalities(**meta["cardinalities"]), meta["settings"], meta["key"])
        ranker.acquisitions[arrays["apps"]] = arrays["acquisitions"]
        ranker.last_day = meta["sim_day"]
        return ranker
