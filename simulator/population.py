"""The users: each one is a pure function of its id, so a billion of them cost nothing until they visit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from simulator.catalogue import Catalogue
from simulator.keys import Stream, fold, gauss, hash_keys, mix, normal, root, uniform, unit
from simulator.sampling import alias_table, draw
from simulator.schema import NO_APP, Array
from simulator.settings import UserSettings

VISIT_RATE_RANGE = (0.05, 0.95)
_INITIAL_CHOICES = 4
"""Apps a user looks at for each app installed at the start; the most liked by taste and luck is taken."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """Who n users are. Everything here but the public attributes is hidden from learners.

    Attributes:
        user_id: int64[n].
        country, language, age_band, gender, device: int8[n], the public attributes.
        visit_rate: float64[n], chance of a visit on any day.
        taste: float64[n, k], the user vectors theta.
        propensity: float64[n], log odds, before standardisation by the world.
    """

    user_id: Array
    country: Array
    language: Array
    age_band: Array
    gender: Array
    device: Array
    visit_rate: Array
    taste: Array
    propensity: Array

    def __len__(self) -> int:
        return len(self.user_id)


@dataclass(frozen=True, slots=True)
class Population:
    """The tables from which users are made, a function of the seed; see `build_population`."""

    settings: UserSettings
    seed: int
    country_weights: Array
    country_language: Array
    propensity_tables: tuple[Array, Array, Array]
    taste_tables: tuple[Array, ...]
    taste_steepness: float
    taste_interaction: float
    taste_share: float
    taste_centre: Array
    taste_scale: Array

    def profiles(self, user_ids: Array) -> Profiles:
        """The users of `user_ids` int64[n], each a function of its id, the settings and the seed."""
        columns = _public(
            np.ascontiguousarray(user_ids, np.int64),
            root(self.seed, Stream.POPULATION),
            np.cumsum(self.country_weights),
            self.country_language,
            self.settings.languages,
            self.settings.age_bands,
            self.settings.genders,
            self.settings.devices,
            self.settings.own_language_share,
            self.settings.visit_scale,
            *VISIT_RATE_RANGE,
        )
        public, rate = columns
        country, language, age, gender, device = public.T
        by_country, by_age, by_device = self.propensity_tables
        private = normal(self.seed, Stream.PROPENSITY, 9, user_ids)
        propensity = 0.55 * (by_country[country] + by_age[age] + by_device[device]) + 0.3 * private
        taste = _taste(
            np.ascontiguousarray(user_ids, np.int64),
            public,
            root(self.seed, Stream.TASTE),
            self.taste_tables,
            self.taste_steepness,
            self.taste_interaction,
            self.taste_share,
            self.taste_centre,
            self.taste_scale,
        )
        return Profiles(user_ids, country, language, age, gender, device, rate, taste, propensity)

    def initial_installs(self, profiles: Profiles, apps: AliasTable, app_taste: Array) -> Array:
        """int32[n, capacity]: apps installed when the simulation starts, by popularity times affinity.

        Args:
            profiles: the n users.
            apps: see `first_apps`.
            app_taste: float64[A, k], the app vectors, scaled so that the product with `taste` is in log odds.
        """
        accept, alias = apps
        return np.asarray(
            _initial(
                profiles.user_id,
                profiles.taste,
                app_taste,
                root(self.seed, Stream.INITIAL_INSTALLS),
                accept,
                alias,
                self.settings.installed_min,
                self.settings.installed_max,
                self.settings.installed_capacity,
            )
        )


AliasTable = tuple[Array, Array]
"""`accept` float64[A] and `alias` int32[A], see `sampling.alias_table`."""


def first_apps(catalogue: Catalogue) -> AliasTable:
    """Draws by popularity of the apps that were released before the horizon."""
    old = np.where(catalogue.table.store_installs > 0, catalogue.popularity, 0.0)
    accept, alias = np.empty(len(old)), np.empty(len(old), np.int32)
    alias_table(old, accept, alias)
    return accept, alias


def build_population(
    settings: UserSettings,
    seed: int,
    *,
    dimension: int,
    steepness: float,
    interaction: float,
    attribute_share: float,
) -> Population:
    """The population of a seed; `dimension` is k, the others shape the user vectors."""
    countries = np.arange(settings.countries)
    weights = 1.0 / (countries + 2.0)
    weights /= weights.sum()
    language = (uniform(seed, Stream.POPULATION, -1, countries) * settings.languages).astype(np.int8)
    sizes = (settings.countries, settings.languages, settings.age_bands, settings.genders, settings.devices)
    scales = (1.0, 0.5, 1.0, 0.7, 0.3)
    total = np.sqrt(sum(scale**2 for scale in scales))
    tables = tuple(
        scale
        / total
        * normal(seed, Stream.ATTRIBUTE_VECTORS, which, np.arange(size)[:, None], np.arange(2 * dimension))
        for which, (size, scale) in enumerate(zip(sizes, scales, strict=True))
    )
    propensity = tuple(
        normal(seed, Stream.PROPENSITY, which, np.arange(size))
        for which, size in enumerate((settings.countries, settings.age_bands, settings.devices))
    )
    draft = Population(
        settings, seed, weights, language, (propensity[0], propensity[1], propensity[2]), tables, steepness,
        interaction, 1.0, np.zeros(dimension), np.ones(dimension),
    )  # fmt: skip
    sample = draft.profiles(sample_users(settings, seed)).taste
    return Population(
        settings, seed, weights, language, (propensity[0], propensity[1], propensity[2]), tables, steepness,
        interaction, attribute_share, sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-9),
    )  # fmt: skip


def sample_users(settings: UserSettings, seed: int, size: int = 20_000) -> Array:
    """int64[size] user ids on which the world's components are standardised."""
    draws = hash_keys(seed, Stream.CALIBRATION_SAMPLE, 0, np.arange(size))
    return (draws % np.uint64(settings.population)).astype(np.int64)


@njit(cache=True)
def _public(
    users: Any, key: Any, country_edges: Any, country_language: Any, languages: Any, ages: Any, genders: Any,
    devices: Any, own_language: Any, visit_scale: Any, rate_low: Any, rate_high: Any,
) -> Any:  # fmt: skip
    n = len(users)
    public = np.empty((n, 5), np.int8)
    rate = np.empty(n, np.float64)
    for row in range(n):
        state = fold(key, users[row])
        country = np.searchsorted(country_edges, unit(fold(state, 0)))
        if country >= len(country_edges):
            country = len(country_edges) - 1
        public[row, 0] = country
        if unit(fold(state, 1)) < own_language:
            public[row, 1] = country_language[country]
        else:
            public[row, 1] = int(unit(fold(state, 2)) * languages)
        public[row, 2] = int(unit(fold(state, 3)) * ages)
        public[row, 3] = int(unit(fold(state, 4)) * genders)
        public[row, 4] = int(unit(fold(state, 5)) * devices)
        gamma = -visit_scale * (np.log(unit(fold(state, 6))) + np.log(unit(fold(state, 7))))
        rate[row] = min(max(gamma, rate_low), rate_high)
    return public, rate


@njit(cache=True)
def _taste(
    users: Any,
    public: Any,
    key: Any,
    tables: Any,
    steepness: Any,
    interaction: Any,
    share: Any,
    centre: Any,
    scale: Any,
) -> Any:
    n, k = len(users), len(centre)
    country, language, age, gender, device = tables
    taste = np.empty((n, k), np.float64)
    ours, own = np.sqrt(share), np.sqrt(1.0 - share)
    for row in range(n):
        state = fold(key, users[row])
        for d in range(k):
            first = _attribute_sum(country, language, age, gender, device, public[row], d)
            second = _attribute_sum(country, language, age, gender, device, public[row], k + d)
            factor = 1.0 - interaction + interaction * np.tanh(steepness * second)
            shared = (np.tanh(steepness * first) * factor - centre[d]) / scale[d]
            taste[row, d] = ours * shared
            if own > 0.0:
                taste[row, d] += own * gauss(fold(state, d))
    return taste


@njit(cache=True, inline="always")
def _attribute_sum(
    country: Any, language: Any, age: Any, gender: Any, device: Any, values: Any, column: Any
) -> Any:
    return (
        country[values[0], column]
        + language[values[1], column]
        + age[values[2], column]
        + gender[values[3], column]
        + device[values[4], column]
    )


@njit(cache=True)
def _initial(
    users: Any,
    taste: Any,
    app_taste: Any,
    key: Any,
    accept: Any,
    alias: Any,
    least: Any,
    most: Any,
    capacity: Any,
) -> Any:
    n, k = taste.shape
    installed = np.full((n, capacity), NO_APP, np.int32)
    for row in range(n):
        state = fold(key, users[row])
        wanted = least + int(unit(fold(state, 0)) * (most - least + 1))
        count = 0
        for slot in range(wanted):
            best = -1
            best_value = 0.0
            for choice in range(_INITIAL_CHOICES):
                luck = fold(fold(state, 1 + slot), choice)
                app = draw(accept, alias, 0, len(accept), luck)
                seen = False
                for other in range(count):
                    if installed[row, other] == app:
                        seen = True
                if seen:
                    continue
                value = -np.log(-np.log(unit(mix(luck))))
                for d in range(k):
                    value += taste[row, d] * app_taste[app, d]
                if best < 0 or value > best_value:
                    best = app
                    best_value = value
            if best >= 0:
                installed[row, count] = best
                count += 1
    return installed
