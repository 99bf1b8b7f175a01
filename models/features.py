"""From requests and logs to features: ids, buckets, dense values (Cheng et al. 2016, section 4.1).

A day is learned with what was known before it: an app's historical acquisition rate and impressions count the
days already fitted, and are normalised by their quantile among the apps. Both parts of a model read the same
features. Letters in shapes: B requests, C apps of a request, S shown apps, I installed slots, A apps,
F = len(USER_FEATURES), V ids of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.catalogue import APP_FEATURES, DENSE_FEATURES, Ages, app_codes, app_sizes, checked, user_codes
from models.quantiles import QuantileNormalizer
from models.settings import FeatureSettings
from models.vocabulary import Vocabulary
from simulator.schema import NO_APP, AppTable, Cardinalities, Log

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a log (or a part of it) as features; the tables by app are shared by its batches.

    Attributes:
        codes: int32[B, F], the user side.
        installed: int32[B, I], padded with `NO_APP`.
        apps: int32[B, S].
        positions: int32[B, S], the last position stands for those below.
        labels: float32[B, S].
        ages: uint8[A], age buckets on this day.
        features: the vocabularies and tables by app.
    """

    codes: Array
    installed: Array
    apps: Array
    positions: Array
    labels: Array
    ages: Array
    features: Features

    def __len__(self) -> int:
        return len(self.codes)

    def rows(self, start: int, stop: int) -> Day:
        """The requests start .. stop-1, as views."""
        s = slice(start, stop)
        return Day(
            self.codes[s],
            self.installed[s],
            self.apps[s],
            self.positions[s],
            self.labels[s],
            self.ages,
            self.features,
        )


class Features:
    """Vocabularies, app history and the tables by app that come of them.

    Attributes:
        codes: int32[A, 4], `APP_FEATURES`.
        app_rows: int32[A], id of each app as a candidate, 0 where it has none yet.
        installed_rows: int32[A], id of each app as an installed one, 0 where it has none yet.
        impressions: int64[A], impressions on the days fitted.
        acquisitions: int64[A], acquisitions on the days fitted.
        dense: float32[A, 2], `DENSE_FEATURES`.
        last_day: the last day fitted, None before the first.
    """

    def __init__(self, apps: AppTable, cardinalities: Cardinalities, settings: FeatureSettings) -> None:
        A = len(apps)
        self.apps, self.cardinalities, self.settings = apps, cardinalities, settings
        self.codes = app_codes(apps)
        for column, (name, size) in enumerate(zip(APP_FEATURES, app_sizes(cardinalities), strict=True)):
            checked(name, self.codes[:, column], 0, size - 1, (A,))
        self.age = Ages.of(apps, settings)
        self.app_vocabulary = Vocabulary(settings.app_min_count)
        self.installed_vocabulary = Vocabulary(settings.installed_min_count)
        self.app_rows = np.zeros(A, np.int32)
        self.installed_rows = np.zeros(A, np.int32)
        self.impressions = np.zeros(A, np.int64)
        self.acquisitions = np.zeros(A, np.int64)
        self.dense = np.zeros((A, len(DENSE_FEATURES)), np.float32)
        self.last_day: int | None = None

    def check(self, log: Log) -> None:
        """Raises ValueError if a value of `log` is outside of its range, or shapes do not match."""
        user_codes(log.requests, self.cardinalities, len(self.apps))
        for name, values, high in (("labels", log.labels, 1), ("positions", log.positions, 127)):
            checked(name, values, 0, high, log.requests.apps.shape)

    def day(self, log: Log) -> Day:
        """A log of one day as features, with the vocabularies and the history as they stand.

        Raises:
            ValueError: if a value is outside of its range.
        """
        requests = log.requests
        codes = user_codes(requests, self.cardinalities, len(self.apps))
        return Day(
            codes,
            np.ascontiguousarray(requests.installed, np.int32),
            np.ascontiguousarray(requests.apps, np.int32),
            np.clip(log.positions, 0, self.settings.positions - 1).astype(np.int32),
            log.labels.astype(np.float32),
            self.age.on(int(requests.sim_day[0])),
            self,
        )

    def grow(self, log: Log) -> None:
        """Counts the apps of one day's `log` and gives ids to those that now have enough."""
        installed = log.requests.installed
        self.app_vocabulary.grow(log.requests.apps.ravel())
        self.installed_vocabulary.grow(installed[installed != NO_APP])
        self._look_up()

    def learn(self, log: Log) -> None:
        """Adds one day's impressions and acquisitions to the history; call after the day was fitted."""
        apps = log.requests.apps.ravel()
        self.impressions += np.bincount(apps, minlength=len(self.apps))
        self.acquisitions += np.bincount(apps[log.labels.ravel() > 0], minlength=len(self.apps))
        if len(log):
            self.last_day = int(log.requests.sim_day.max())
        self._normalise()

    def app_ids(self) -> Array:
        """The apps with ids 1, 2, .. as candidates, int64[V]."""
        return _in_order(self.app_rows)

    def installed_ids(self) -> Array:
        """The apps with ids 1, 2, .. as installed ones, int64[V]."""
        return _in_order(self.installed_rows)

    def _look_up(self) -> None:
        every = np.arange(len(self.apps))
        self.app_rows = self.app_vocabulary.lookup(every).astype(np.int32)
        self.installed_rows = self.installed_vocabulary.lookup(every).astype(np.int32)

    def _normalise(self) -> None:
        known = np.flatnonzero(self.impressions)
        if not len(known):
            return
        prior = self.settings.rate_prior
        overall = self.acquisitions.sum() / self.impressions.sum()
        rate = (self.acquisitions + prior * overall) / (self.impressions + prior)
        for column, values in enumerate((rate, self.impressions)):
            normalizer = QuantileNormalizer(self.settings.quantiles).fit(values[known])
            if len(known) < len(values):  # the apps without a history have one and the same value
                unknown = np.argmin(self.impressions)
                self.dense[:, column] = normalizer.transform(values[unknown : unknown + 1])
            self.dense[known, column] = normalizer.transform(values[known])

    def to_state(self) -> dict[str, Array]:
        """Everything that days have taught, as arrays."""
        state = {
            "impressions": self.impressions.copy(),
            "acquisitions": self.acquisitions.copy(),
            "last_day": np.array([] if self.last_day is None else [self.last_day], np.int64),
        }
        for name, vocabulary in self._vocabularies().items():
            state |= {f"{name}.{k}": v for k, v in vocabulary.to_state().items()}
        return state

    def published(self) -> dict[str, Array]:
        """What a published model needs of it: ids and the dense values of known apps."""
        known = np.flatnonzero(self.impressions)
        unknown = np.flatnonzero(self.impressions == 0)[:1]
        default = self.dense[unknown[0]] if len(unknown) else np.zeros(len(DENSE_FEATURES), np.float32)
        return {
            "app_ids": self.app_ids(),
            "installed_ids": self.installed_ids(),
            "known_ids": known,
            "dense": self.dense[known],
            "dense_default": default.copy(),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` gave.

        Raises:
            ValueError: if the state is of another number of apps.
        """
        if len(state["impressions"]) != len(self.apps):
            raise ValueError(
                f"apps: got {len(self.apps)}, {len(state['impressions'])} are allowed by the state"
            )
        self.impressions = state["impressions"].astype(np.int64)
        self.acquisitions = state["acquisitions"].astype(np.int64)
        self.last_day = int(state["last_day"][0]) if len(state["last_day"]) else None
        for name in self._vocabularies():
            part = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
            setattr(self, f"{name}_vocabulary", Vocabulary.from_state(part))
        self._look_up()
        self._normalise()

    def _vocabularies(self) -> dict[str, Vocabulary]:
        return {"app": self.app_vocabulary, "installed": self.installed_vocabulary}


def _in_order(rows: Array) -> Array:
    """The places of the positive numbers 1 .. V in `rows`."""
    places = np.flatnonzero(rows)
    ordered: Array = places[np.argsort(rows[places])]
    return ordered
