"""The apps: attributes, quality, popularity and the days on which they are released."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.keys import Stream, normal, uniform
from simulator.schema import AppTable, Array
from simulator.settings import WorldSettings

ALWAYS = -(10**6)
"""Release day of the apps that were in the store before the horizon."""

_INSTALLS_PER_APP = 10_000
"""Mean public installation count of an old app."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All apps of a world, a function of its seed.

    Attributes:
        table: the public attributes.
        popularity: float64[A] share of attention, Zipf-like, sums to 1.
        quality: float64[A] standardised to mean 0, standard deviation 1.
    """

    table: AppTable
    popularity: Array
    quality: Array


def build_catalogue(settings: WorldSettings, seed: int) -> Catalogue:
    """The catalogue of a seed. An app's public attributes depend on its id and the seed alone."""
    apps = np.arange(settings.apps)

    def attribute(which: int, values: int) -> Array:
        return (uniform(seed, Stream.CATALOGUE, apps, which) * values).astype(np.int16)

    category = attribute(0, settings.categories)
    tag = attribute(1, settings.tags)
    price = attribute(2, settings.price_tiers)
    rating = attribute(3, settings.ratings)

    quality = _quality(settings, seed, category, tag, price, rating)
    released_late = uniform(seed, Stream.RELEASE, apps, 0) < settings.turnover
    day = settings.horizon_start + np.floor(uniform(seed, Stream.RELEASE, apps, 1) * settings.horizon_days)
    release_day = np.where(released_late, day, ALWAYS).astype(np.int32)

    rho = settings.popularity_quality
    standing = rho * quality + np.sqrt(1.0 - rho**2) * normal(seed, Stream.POPULARITY, apps)
    rank = np.empty(settings.apps, np.int64)
    rank[np.lexsort((apps, -standing))] = apps
    popularity = 1.0 / (rank + settings.popularity_offset)
    popularity /= popularity.sum()
    installs = np.where(released_late, 0, np.rint(popularity * _INSTALLS_PER_APP * settings.apps))
    table = AppTable(category, tag, price, rating, release_day, installs.astype(np.int64))
    return Catalogue(table, popularity, quality)


def _quality(
    settings: WorldSettings, seed: int, category: Array, tag: Array, price: Array, rating: Array
) -> Array:
    """Quality: random tables of attribute pairs through tanh, the rest private (design: mostly nonlinear)."""
    pairs = (
        (category, tag, settings.tags),
        (category, price, settings.price_tiers),
        (tag, rating, settings.ratings),
    )
    score = np.zeros(settings.apps)
    for which, (left, right, width) in enumerate(pairs):
        score += normal(seed, Stream.QUALITY, 1 + which, left.astype(np.int64) * width + right)
    attributed = standardise(np.tanh(score))
    private = normal(seed, Stream.QUALITY, 0, np.arange(settings.apps))
    share = settings.quality_attribute_share
    return standardise(np.sqrt(share) * attributed + np.sqrt(1.0 - share) * private)


def standardise(values: Array) -> Array:
    """`values` float[n, ...] with mean 0 and standard deviation 1 along the first axis; constants are 0."""
    centred = values - values.mean(axis=0)
    deviation = centred.std(axis=0)
    return np.asarray(centred / np.where(deviation > 0.0, deviation, 1.0))
