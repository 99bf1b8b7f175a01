"""The simulated app store as one object: who visits, what they want and how they respond."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from simulator import response
from simulator.catalogue import Catalogue, build_catalogue
from simulator.keys import Stream, root, uniform
from simulator.population import AliasTable, Population, Profiles, build_population, first_apps
from simulator.preferences import (
    ExceptionDay,
    Exceptions,
    ExceptionSource,
    Preferences,
    build_exceptions,
    build_preferences,
)
from simulator.retrieval import Index, candidates
from simulator.schema import AppTable, Array, Cardinalities, Requests
from simulator.settings import RetrievalSettings, UserSettings, WorldSettings

_DAY_BITS = 16
_DAY_OFFSET = 1 << (_DAY_BITS - 1)


@dataclass(frozen=True)
class World:
    """A store and its users: a function of its settings and its seed.

    Attributes:
        settings: of the store. users: of its population. retrieval: of the candidates.
        seed: keys every random number.
    """

    settings: WorldSettings
    users: UserSettings
    retrieval: RetrievalSettings
    seed: int

    @cached_property
    def catalogue(self) -> Catalogue:
        """All apps, those to be released included."""
        return build_catalogue(self.settings, self.seed)

    @property
    def apps(self) -> AppTable:
        """The apps' public attributes."""
        return self.catalogue.table

    @cached_property
    def population(self) -> Population:
        """The tables from which users are made."""
        return build_population(
            self.users,
            self.seed,
            dimension=self.settings.taste_dimension,
            steepness=self.settings.taste_steepness,
            interaction=self.settings.taste_interaction,
            attribute_share=self.settings.taste_attribute_share,
        )

    @cached_property
    def preferences(self) -> Preferences:
        """The standardised components of the log odds."""
        return build_preferences(self.settings, self.seed, self.catalogue, self.population)

    @cached_property
    def exception_source(self) -> ExceptionSource:
        """Where each day's exceptions come from."""
        return build_exceptions(self.settings, self.seed, self.catalogue)

    @cached_property
    def first_apps(self) -> AliasTable:
        """The draws of the apps that users have when the simulation starts."""
        return first_apps(self.catalogue)

    @property
    def cardinalities(self) -> Cardinalities:
        """How many values each public attribute has."""
        return Cardinalities(
            countries=self.users.countries,
            languages=self.users.languages,
            age_bands=self.users.age_bands,
            genders=self.users.genders,
            devices=self.users.devices,
            categories=self.settings.categories,
            tags=self.settings.tags,
            price_tiers=self.settings.price_tiers,
            ratings=self.settings.ratings,
        )

    def profiles(self, user_ids: Array) -> Profiles:
        """The users of `user_ids` int64[n]."""
        return self.population.profiles(user_ids)

    def initial_installs(self, profiles: Profiles) -> Array:
        """int32[n, capacity]: the apps that users have when the simulation starts."""
        return self.population.initial_installs(profiles, self.first_apps, self.preferences.app_vectors)

    def visitors(self, profiles: Profiles, day: int) -> Array:
        """int64[B]: the rows of `profiles` whose users visit on `day`."""
        return np.flatnonzero(uniform(self.seed, Stream.VISIT, profiles.user_id, day) < profiles.visit_rate)

    def requests(
        self, profiles: Profiles, rows: Array, installed: Array, day: int, index: Index
    ) -> tuple[Requests, Array]:
        """The requests of the visits at `rows` int64[B], with candidates int32[B, C] and sources int8[B, C].

        Args:
            profiles: n users. rows: who visits. installed: int32[n, I]. day: simulated. index: of retrieval.
        """
        users = profiles.user_id[rows]
        blank = Requests(
            request_id=request_ids(users, day),
            user_id=users,
            sim_day=np.full(len(rows), day, np.int32),
            hour=self._hours(users, day),
            device=profiles.device[rows],
            country=profiles.country[rows],
            language=profiles.language[rows],
            age_band=profiles.age_band[rows],
            gender=profiles.gender[rows],
            installed=installed[rows],
            apps=np.empty((len(rows), 0), np.int32),
        )
        apps, sources = candidates(self.retrieval, self.seed, index, self.apps.category, blank)
        return with_apps(blank, apps), sources

    def _hours(self, users: Array, day: int) -> Array:
        """int8[B]: hours of the visits; evenings are twice as busy as nights."""
        busy = 1.0 + 0.5 * np.sin((np.arange(24) - 12.0) / 24.0 * 2.0 * np.pi)
        edges = np.cumsum(busy / busy.sum())
        return np.minimum(np.searchsorted(edges, uniform(self.seed, Stream.VISIT, users, day, 1)), 23).astype(
            np.int8
        )

    def exceptions(self, day: int) -> Exceptions:
        """R_t of a day, for every app."""
        return _exceptions_of(self, day).of(np.arange(len(self.apps)))

    def log_odds(self, profiles: Profiles, rows: Array, requests: Requests) -> tuple[Array, Array]:
        """True log odds without examination float64[B, C], and the exceptions in them float64[B, C].

        All requests are of one day.
        """
        if len(requests) == 0:
            empty = np.zeros(requests.apps.shape)
            return empty, empty
        preferences = self.preferences
        today = _exceptions_of(self, int(requests.sim_day[0])).of(requests.apps)
        odds, exceptions = response.log_odds(
            rows, requests.hour, requests.installed, requests.apps, profiles.taste,
            preferences.user_value(profiles), preferences.app_vectors, preferences.taste_centre,
            preferences.app_value, self.apps.category, preferences.hour_category, today.companions,
            today.weights,
        )  # fmt: skip
        return odds, exceptions

    def respond(self, requests: Requests, odds: Array) -> tuple[Array, Array]:
        """Chances float64[B, S], examination included, and labels int8[B, S] of shown apps in their order."""
        chances, labels = response.respond(
            odds, requests.user_id, requests.sim_day, requests.apps, self.settings.examination_decay,
            root(self.seed, Stream.ACQUISITION),
        )  # fmt: skip
        return chances, labels


@lru_cache(maxsize=2)
def _exceptions_of(world: World, day: int) -> ExceptionDay:
    return world.exception_source.on(day)


def request_ids(users: Array, day: int) -> Array:
    """uint64[B]: user and day in one number, the same under every arm."""
    return (users.astype(np.uint64) << np.uint64(_DAY_BITS)) | np.uint64(day + _DAY_OFFSET)


def user_and_day(request_id: int) -> tuple[int, int]:
    """The user id and the simulated day of a request id."""
    return request_id >> _DAY_BITS, (request_id & ((1 << _DAY_BITS) - 1)) - _DAY_OFFSET


def with_apps(requests: Requests, apps: Array) -> Requests:
    """`requests` with other `apps` int32[B, C]."""
    columns: dict[str, Any] = requests.arrays()
    columns["apps"] = apps
    return Requests(**columns)
