"""What the simulator, the rankers and the experiment agree on: units, requests, logs and the `Ranker`.

The unit of data is the *request*: one visit of one user, with the candidates or the shown apps as rows of a
matrix (Cheng et al. 2016, section 2: query, retrieval, ranking, log). The user side is stored once and
broadcast over the apps. A learner sees nothing of the simulator but this module.

Letters in shapes: B requests, C candidates of a request, S shown apps of a request, I slots for installed
apps, A apps of the catalogue.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

UNIT = "user_id"
"""The unit of randomisation and of analysis."""

NO_APP = -1
"""Padding in the rows of `Requests.installed`."""

Array = NDArray[Any]


class Source(IntEnum):
    """The retrieval source that proposed a candidate."""

    CHARTS = 0
    CATEGORY = 1
    RELEASES = 2
    RELATED = 3
    FILL = 4


@dataclass(frozen=True, slots=True)
class Cardinalities:
    """How many values each categorical attribute has; values are 0 .. n-1."""

    countries: int
    languages: int
    age_bands: int
    genders: int
    devices: int
    categories: int
    tags: int
    price_tiers: int
    ratings: int
    hours: int = 24
    weekdays: int = 7


@dataclass(frozen=True, slots=True)
class AppTable:
    """The public attributes of each app, as a store's page shows them. All arrays are [A].

    Attributes:
        category: int16, 0 .. categories-1.
        tag: int16, 0 .. tags-1.
        price: int16 price tier.
        rating: int16 content rating.
        release_day: int32 simulated day on which the app enters the store; long before day 0 for old apps.
        store_installs: int64 public installation count at the start of the pre-period; 0 for later releases.
    """

    category: Array
    tag: Array
    price: Array
    rating: Array
    release_day: Array
    store_installs: Array

    def __len__(self) -> int:
        return len(self.category)


class _Rows:
    """Row operations shared by the records below: every array field has B rows."""

    __slots__ = ()

    def arrays(self) -> dict[str, Any]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    @property
    def rows(self) -> int:
        """B."""
        first = next(iter(self.arrays().values()))
        return first.rows if isinstance(first, _Rows) else len(first)

    def take(self, rows: Array | slice) -> Self:
        """The records at `rows` (int[n], bool[B] or a slice), in that order."""
        return type(self)(
            **{n: v.take(rows) if isinstance(v, _Rows) else v[rows] for n, v in self.arrays().items()}
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """The records of all `parts`, one after the other. Raises ValueError for no parts."""
        if not parts:
            raise ValueError("parts: got none, at least one is needed")
        parts = [part for part in parts if part.rows] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        columns: dict[str, Any] = {}
        for name, first in parts[0].arrays().items():
            values = [getattr(part, name) for part in parts]
            columns[name] = (
                type(first).concatenate(values) if isinstance(first, _Rows) else np.concatenate(values)
            )
        return cls(**columns)


@dataclass(frozen=True, slots=True)
class Requests(_Rows):
    """B visits, each with its user, its context and C apps to be scored (candidates) or shown.

    Attributes:
        request_id: uint64[B], unique in a run and the same under every arm: a function of user and day.
        user_id: int64[B].
        sim_day: int32[B]; 1 is the first day of the experiment, days <= 0 are the pre-period.
        hour: int8[B], 0 .. 23.
        device: int8[B].
        country: int8[B].
        language: int8[B].
        age_band: int8[B].
        gender: int8[B].
        installed: int32[B, I], the user's installed apps in order of installation, then `NO_APP`.
        apps: int32[B, C].
    """

    request_id: Array
    user_id: Array
    sim_day: Array
    hour: Array
    device: Array
    country: Array
    language: Array
    age_band: Array
    gender: Array
    installed: Array
    apps: Array

    def __len__(self) -> int:
        return len(self.request_id)


@dataclass(frozen=True, slots=True)
class Log(_Rows):
    """What was observed: B requests whose `requests.apps` are the S shown apps, in order of position.

    Attributes:
        requests: the requests, with apps int32[B, S].
        positions: int8[B, S], 0 is the top.
        sources: int8[B, S], see `Source`.
        scores: float32[B, S], the serving ranker's log odds, without exploration noise.
        labels: int8[B, S], 1 where the app was acquired during the visit (attribution window: the visit).
        propensities: float32[B, S], chance of each app to be shown at its position under an exploring policy;
            NaN where the policy does not explore.
        model_version: str[B], the model that served, `arm/day` of its publication.
    """

    requests: Requests
    positions: Array
    sources: Array
    scores: Array
    labels: Array
    propensities: Array
    model_version: Array

    def __len__(self) -> int:
        return len(self.requests)


@dataclass(frozen=True, slots=True)
class Truth(_Rows):
    """What only the simulator knows of the same B requests; never read by a model.

    Attributes:
        request_id: uint64[B].
        probabilities: float64[B, S], the chance of acquisition of each shown app, examination included.
        exceptions: float32[B, S], the sum of the exceptions R_t over the user's installed apps, in log odds.
    """

    request_id: Array
    probabilities: Array
    exceptions: Array

    def __len__(self) -> int:
        return len(self.request_id)


@runtime_checkable
class Ranker(Protocol):
    """Orders candidates. Scores are pure and order-free: a request's own, whoever its neighbours are."""

    def score(self, requests: Requests) -> Array:
        """Log odds of acquisition, float32[B, C], for the C candidates of B requests."""
        ...


@runtime_checkable
class TrainableRanker(Ranker, Protocol):
    """A ranker that learns from logs. Constructed as `Class(apps, cardinalities, settings, key)`.

    `apps` is the `AppTable`, `cardinalities` the `Cardinalities`, `settings` a mapping from the run's
    configuration (already validated where the class has a `Settings` model) and `key` an int that seeds its
    initial weights.
    """

    def fit(self, data: Log, key: int) -> None:
        """Goes on from the present state (warm start) over `data`, day by day; `key` seeds what is random."""
        ...

    def publish(self) -> PublishedRanker:
        """The immutable form that serves: scores equal the present state's."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the whole state, optimiser included, into the empty `folder` (safetensors, JSON)."""
        ...

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        """The ranker that `save` wrote; it goes on as if it had never left memory."""
        ...


@runtime_checkable
class PublishedRanker(Ranker, Protocol):
    """The immutable, serving form of a ranker."""

    def save(self, folder: Path) -> None:
        """Writes what serving needs into the existing empty `folder` (safetensors, JSON)."""
        ...

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        """The published ranker that `save` wrote."""
        ...


def days_in(requests: Requests) -> Iterable[int]:
    """The simulated days of `requests`, ascending."""
    return (int(day) for day in np.unique(requests.sim_day))
