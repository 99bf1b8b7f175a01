"""The catalogue as learners see it: attribute codes, buckets of app age, ids, and checks of requests.

Letters in shapes: B requests, A apps, F = len(USER_FEATURES), V ids of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.settings import FeatureSettings
from simulator.schema import NO_APP, AppTable, Cardinalities, Requests

Array = NDArray[Any]

USER_FEATURES = ("country", "language", "age_band", "gender", "device", "hour", "weekday")
"""What is known of the user and the context; the columns of `user_codes`."""

APP_FEATURES = ("category", "tag", "price", "rating")
"""The columns of `app_codes`."""

DENSE_FEATURES = ("historical_rate", "historical_impressions")
"""Quantile-normalised values of an app, in [0, 1]; the columns of `Features.dense`."""


def user_sizes(cardinalities: Cardinalities) -> tuple[int, ...]:
    """How many values each of `USER_FEATURES` has."""
    c = cardinalities
    return (c.countries, c.languages, c.age_bands, c.genders, c.devices, c.hours, c.weekdays)


def app_sizes(cardinalities: Cardinalities) -> tuple[int, ...]:
    """How many values each of `APP_FEATURES` has."""
    c = cardinalities
    return (c.categories, c.tags, c.price_tiers, c.ratings)


def app_codes(apps: AppTable) -> Array:
    """The attributes of each app, int32[A, 4]."""
    return np.ascontiguousarray(np.stack([apps.category, apps.tag, apps.price, apps.rating], 1), np.int32)


def user_codes(requests: Requests, cardinalities: Cardinalities, n_apps: int) -> Array:
    """`USER_FEATURES` of each request, int32[B, F].

    Raises:
        ValueError: if an attribute or an app is outside of its range, or shapes do not match.
    """
    B = len(requests)
    sizes = user_sizes(cardinalities)
    codes = np.empty((B, len(USER_FEATURES)), np.int32)
    for column, (name, size) in enumerate(zip(USER_FEATURES, sizes, strict=True)):
        if name == "weekday":
            codes[:, column] = requests.sim_day % size
        else:
            codes[:, column] = checked(name, getattr(requests, name), 0, size - 1, (B,))
    checked("apps", requests.apps, 0, n_apps - 1, (B, -1))
    checked("installed", requests.installed, NO_APP, n_apps - 1, (B, -1))
    return codes


def checked(name: str, values: Array, low: int, high: int, shape: tuple[int, ...]) -> Array:
    """`values`, if they are of this shape (-1 for any length) and within `low` .. `high`.

    Raises:
        ValueError: if they are not.
    """
    if values.ndim != len(shape) or any(n not in (m, -1) for m, n in zip(values.shape, shape, strict=True)):
        allowed = ", ".join("any" if n < 0 else str(n) for n in shape)
        raise ValueError(f"{name}: got shape {values.shape}, ({allowed}) is allowed")
    if values.size:
        least, most = values.min(), values.max()
        if least < low or most > high:
            raise ValueError(f"{name}: got {least if least < low else most}, {low} to {high} are allowed")
    return values


@dataclass(frozen=True, slots=True)
class Ages:
    """Buckets of app age.

    Attributes:
        table: uint8[last + 1], the bucket of an age of 0 .. last days and more.
        release_day: int32[A].
        buckets: their number.
    """

    table: Array
    release_day: Array
    buckets: int

    @classmethod
    def of(cls, apps: AppTable, settings: FeatureSettings) -> Self:
        """The buckets that `settings.age_boundaries` describe."""
        days = np.arange(settings.age_boundaries[-1] + 1)
        table = np.searchsorted(settings.age_boundaries, days, side="right").astype(np.uint8)
        return cls(table, np.ascontiguousarray(apps.release_day, np.int32), len(settings.age_boundaries) + 1)

    def on(self, sim_day: int) -> Array:
        """The bucket of each app on a day, uint8[A]; an app not yet released counts as released that day."""
        age = np.int64(sim_day) - self.release_day.astype(np.int64)
        bucket: Array = self.table[np.clip(age, 0, len(self.table) - 1)]
        return bucket

    def bucket(self, sim_day: int, app: int) -> int:
        """The bucket of one app on a day."""
        return int(self.table[np.clip(sim_day - int(self.release_day[app]), 0, len(self.table) - 1)])


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The apps as a published model sees them.

    Attributes:
        cardinalities: of the attributes.
        settings: of the features.
        codes: int32[A, 4], `APP_FEATURES`.
        age: buckets of app age.
        app_ids: int64[V], the apps with ids 1, 2, .. as candidates.
        installed_ids: int64[V], the apps with ids 1, 2, .. as installed ones.
        app_rows: int32[A], id of each app as a candidate, 0 for none.
        installed_rows: int32[A], id of each app as an installed one, 0 for none.
        known: bool[A], whether the app has a history.
        dense: float32[A, 2], `DENSE_FEATURES`.
    """

    cardinalities: Cardinalities
    settings: FeatureSettings
    codes: Array
    age: Ages
    app_ids: Array
    installed_ids: Array
    app_rows: Array
    installed_rows: Array
    known: Array
    dense: Array

    @classmethod
    def of(
        cls,
        apps: AppTable,
        cardinalities: Cardinalities,
        settings: FeatureSettings,
        arrays: Mapping[str, Array],
    ) -> Self:
        """The catalogue that `Features.published` described.

        Raises:
            ValueError: if `arrays` speak of apps beyond the table.
        """
        A = len(apps)
        ids = {name: arrays[name] for name in ("app_ids", "installed_ids", "known_ids")}
        for name, values in ids.items():
            checked(name, values, 0, A - 1, (len(values),))
        dense = np.tile(arrays["dense_default"], (A, 1))
        dense[ids["known_ids"]] = arrays["dense"]
        known = np.zeros(A, np.bool_)
        known[ids["known_ids"]] = True
        rows = {name: np.zeros(A, np.int32) for name in ("app_ids", "installed_ids")}
        for name, row in rows.items():
            row[ids[name]] = np.arange(1, len(ids[name]) + 1)
        return cls(
            cardinalities,
            settings,
            app_codes(apps),
            Ages.of(apps, settings),
            ids["app_ids"],
            ids["installed_ids"],
            rows["app_ids"],
            rows["installed_ids"],
            known,
            dense,
        )
