"""What users want: smooth taste that generalises, and sparse exceptions that can only be memorised.

The log odds of acquisition of app a by user u at hour h of day t are

    b + pi_u + h(hour) + c(hour, category_a) + q_a + taste(u, a) + sum over i in installed(u) of R_t[i, a].

`taste` is a bilinear form of low rank whose vectors are tanh of sums of attributes: an interaction of many
attributes. `R_t` has a few random companions per app, so it is sparse and of full rank, and its slots expire.
Each smooth component is standardised on a sample of pairs, and b is solved for the base rate, exceptions
left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from scipy.optimize import brentq
from scipy.special import expit, logit

from simulator.catalogue import Catalogue, standardise
from simulator.keys import Stream, fold, hash_keys, normal, root, uniform, unit
from simulator.population import Population, Profiles, sample_users
from simulator.sampling import alias_table, draw
from simulator.schema import Array
from simulator.settings import WorldSettings

_APP_SCALES = (1.0, 1.0, 0.6, 0.6)
_NEVER_REDRAWN = -(10**6)


@dataclass(frozen=True, slots=True)
class Preferences:
    """The standardised components of the log odds.

    Attributes:
        app_vectors: float64[A, k]; taste(u, a) = (user vector) . (app vector) in log odds.
        taste_centre: float64, subtracted from that product.
        app_value: float64[A], b + quality: what does not depend on the user.
        propensity_centre, propensity_scale: pi_u = (raw propensity - centre) * scale.
        hour_category: float64[24, categories], h(hour) + c(hour, category).
    """

    app_vectors: Array
    taste_centre: float
    app_value: Array
    propensity_centre: float
    propensity_scale: float
    hour_category: Array

    def user_value(self, profiles: Profiles) -> Array:
        """pi_u in log odds, float64[n]."""
        return np.asarray((profiles.propensity - self.propensity_centre) * self.propensity_scale)


def build_preferences(
    settings: WorldSettings, seed: int, catalogue: Catalogue, population: Population
) -> Preferences:
    """Standardises each component on sampled pairs of users and released apps and solves the intercept."""
    raw_vectors = _app_vectors(settings, seed, catalogue)
    users = sample_users(population.settings, seed)
    profiles = population.profiles(users)
    old = np.flatnonzero(catalogue.table.store_installs > 0)
    pick = hash_keys(seed, Stream.CALIBRATION_SAMPLE, 1, np.arange(len(users))) % np.uint64(len(old))
    apps = old[pick.astype(np.int64)]
    hours = (uniform(seed, Stream.CALIBRATION_SAMPLE, 2, np.arange(len(users))) * 24).astype(np.int64)

    product = np.einsum("nk,nk->n", profiles.taste, raw_vectors[apps])
    taste_scale = _scale(product, settings.taste_sd)
    propensity_scale = _scale(profiles.propensity, settings.propensity_sd)
    hour_category = _hour_category(settings, seed)
    smooth = (
        (product - product.mean()) * taste_scale
        + (profiles.propensity - profiles.propensity.mean()) * propensity_scale
        + catalogue.quality[apps] * settings.quality_sd
        + hour_category[hours, catalogue.table.category[apps]]
    )
    intercept = _intercept(smooth, settings.base_rate)
    return Preferences(
        app_vectors=raw_vectors * taste_scale,
        taste_centre=float(product.mean() * taste_scale),
        app_value=catalogue.quality * settings.quality_sd + intercept,
        propensity_centre=float(profiles.propensity.mean()),
        propensity_scale=propensity_scale,
        hour_category=hour_category,
    )


def _intercept(smooth: Array, base_rate: float) -> float:
    """The b at which the mean of expit(smooth + b) is the base rate."""

    def excess(b: float) -> float:
        return float(expit(smooth + b).mean()) - base_rate

    low, high = -30.0, 30.0
    if excess(low) > 0.0 or excess(high) < 0.0:  # else not, as the last bits of b hang on the interval
        low, high = logit(base_rate) - smooth.max() - 1.0, logit(base_rate) - smooth.min() + 1.0
    return float(brentq(excess, low, high))


def _scale(values: Array, deviation: float) -> float:
    spread = float(values.std())
    return deviation / spread if spread > 0.0 else 0.0


def _app_vectors(settings: WorldSettings, seed: int, catalogue: Catalogue) -> Array:
    """float64[A, k]: sqrt(s) tanh of summed attribute vectors, standardised, + sqrt(1 - s) private normal."""
    dimension = np.arange(settings.taste_dimension)
    table = catalogue.table
    total = np.zeros((settings.apps, settings.taste_dimension))
    norm = np.sqrt(sum(scale**2 for scale in _APP_SCALES))
    columns = (table.category, table.tag, table.price, table.rating)
    for which, (column, scale) in enumerate(zip(columns, _APP_SCALES, strict=True)):
        values = np.arange(int(column.max()) + 1)
        vectors = normal(seed, Stream.ATTRIBUTE_VECTORS, 100 + which, values[:, None], dimension)
        total += scale / norm * vectors[column]
    shared = standardise(np.tanh(settings.taste_steepness * total))
    private = normal(seed, Stream.ATTRIBUTE_VECTORS, 200, np.arange(settings.apps)[:, None], dimension)
    share = settings.taste_attribute_share
    return np.asarray(np.sqrt(share) * shared + np.sqrt(1.0 - share) * private)


def _hour_category(settings: WorldSettings, seed: int) -> Array:
    hours = np.arange(24)
    hour = standardise(normal(seed, Stream.HOUR, 0, hours)) * settings.hour_sd
    cells = normal(seed, Stream.HOUR, 1, hours[:, None], np.arange(settings.categories))
    return np.asarray(hour[:, None] + cells * settings.hour_category_sd)


@dataclass(frozen=True, slots=True)
class Exceptions:
    """R_t of one day: each app's companion slots.

    Attributes:
        companions: int32[A, slots], the installed app that triggers the exception.
        weights: float64[A, slots], log odds.
    """

    companions: Array
    weights: Array


@dataclass(frozen=True, slots=True)
class ExceptionSource:
    """Where each day's exceptions come from: slot (a, s) is redrawn on a day with chance `drift`."""

    settings: WorldSettings
    seed: int
    accept: Array
    alias: Array

    def on(self, day: int) -> ExceptionDay:
        """The exceptions of a simulated day: a function of the seed and the day, not of days before it."""
        shape = (self.settings.apps, self.settings.exception_slots)
        nothing = Exceptions(np.empty(shape, np.int32), np.empty(shape, np.float64))
        return ExceptionDay(self, day, nothing, np.zeros(self.settings.apps, np.bool_))


@dataclass(frozen=True, slots=True)
class ExceptionDay:
    """A day's exceptions, drawn when an app is first asked for: those that nobody meets cost nothing."""

    source: ExceptionSource
    day: int
    exceptions: Exceptions
    drawn: Array

    def of(self, apps: Array) -> Exceptions:
        """Tables in which the slots of `apps` (integers of any shape) are right."""
        settings, seed = self.source.settings, self.source.seed
        _exceptions(
            self.exceptions.companions, self.exceptions.weights, self.drawn, apps.reshape(-1), self.day,
            settings.horizon_start, settings.drift, settings.exception_weight,
            settings.exception_negative_share, root(seed, Stream.EXCEPTION_REDRAW),
            root(seed, Stream.EXCEPTION_DRAW), self.source.accept, self.source.alias,
        )  # fmt: skip
        return self.exceptions


def build_exceptions(settings: WorldSettings, seed: int, catalogue: Catalogue) -> ExceptionSource:
    """Companions are drawn by popularity^exponent over the whole catalogue."""
    weights = catalogue.popularity**settings.companion_popularity_exponent
    accept, alias = np.empty(settings.apps), np.empty(settings.apps, np.int32)
    alias_table(weights, accept, alias)
    return ExceptionSource(settings, seed, accept, alias)


@njit(cache=True)
def _exceptions(
    companions: Any, weights: Any, drawn_apps: Any, apps: Any, day: Any, first_day: Any, drift: Any,
    weight: Any, negative: Any, redraw_key: Any, draw_key: Any, accept: Any, alias: Any,
) -> None:  # fmt: skip
    for app in apps:
        if drawn_apps[app]:
            continue
        drawn_apps[app] = True
        for slot in range(companions.shape[1]):
            place = fold(fold(redraw_key, app), slot)
            drawn = _NEVER_REDRAWN
            back = day
            while back > first_day:
                if unit(fold(place, back)) < drift:
                    drawn = back
                    break
                back -= 1
            state = fold(fold(fold(draw_key, app), slot), drawn)
            companions[app, slot] = draw(accept, alias, 0, len(accept), fold(state, 0))
            size = weight * (0.5 + unit(fold(state, 1)))
            weights[app, slot] = -size if unit(fold(state, 2)) < negative else size
