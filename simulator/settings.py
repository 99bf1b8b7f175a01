"""The world's settings: every constant of the simulated store, with its range and its meaning.

Components of the log odds are standardised to the standard deviations stated here, so that worlds of
different seeds differ in detail and not in kind.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Deviation = Annotated[float, Field(ge=0.0, le=10.0)]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class WorldSettings(Settings):
    """The store: its catalogue and what makes a user acquire an app."""

    apps: Annotated[int, Field(ge=200, le=10_000_000)] = 16_000
    """Apps of the catalogue, those released during the horizon included."""
    categories: Annotated[int, Field(ge=2, le=200)] = 24
    tags: Annotated[int, Field(ge=2, le=1000)] = 40
    price_tiers: Annotated[int, Field(ge=1, le=20)] = 4
    ratings: Annotated[int, Field(ge=1, le=20)] = 5
    popularity_offset: Annotated[float, Field(gt=0.0, le=1000.0)] = 5.0
    """Popularity of the app of rank r (from 0) is proportional to 1 / (r + offset)."""
    popularity_quality: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.3
    """Rank correlation of popularity with quality."""
    turnover: Annotated[float, Field(ge=0.0, le=0.9)] = 0.3
    """Share of the apps that are released during the horizon."""
    horizon_start: Annotated[int, Field(ge=-20_000, le=20_000)] = -13
    """First simulated day on which a new app may be released."""
    horizon_days: Annotated[int, Field(ge=1, le=10_000)] = 35

    base_rate: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.012
    """Mean chance of acquisition of a random pair of user and released app at the top position, exceptions
    left out; with these it is a little higher, .013 to .014 by default."""
    taste_sd: Deviation = 1.0
    """Standard deviation of smooth taste, in log odds (lambda of the design)."""
    taste_dimension: Annotated[int, Field(ge=1, le=128)] = 4
    """k; a net of ReLU layers learns products of few dimensions from a log of this size, not of a dozen."""
    taste_attribute_share: Share = 0.95
    """Share of the variance of user and app vectors that their attributes explain."""
    taste_steepness: Annotated[float, Field(gt=0.0, le=10.0)] = 4.0
    """Gain inside the tanh; steeper makes taste an interaction of more attributes."""
    taste_interaction: Share = 0.0
    """How far a user's taste is a product of two such sums: 0 is one sum, 1 the product, which has no
    additive part; crosses of one user attribute with an app cannot hold it."""
    quality_sd: Deviation = 0.9
    quality_attribute_share: Share = 0.9
    propensity_sd: Deviation = 1.0
    """Standard deviation of who installs, whatever is shown; nothing of it can be ranked."""
    hour_sd: Deviation = 0.5
    hour_category_sd: Deviation = 0.3

    exception_slots: Annotated[int, Field(ge=0, le=64)] = 5
    """Companion slots of each app: installed companions change the chance of acquiring the app."""
    exception_weight: Annotated[float, Field(ge=0.0, le=20.0)] = 2.05
    """Weights are +-exception_weight * (.5 + U), U uniform on (0, 1)."""
    exception_negative_share: Share = 0.25
    companion_popularity_exponent: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    drift: Share = 0.17
    """Share of the exception slots that are redrawn each day; memorised rules go stale."""

    examination_decay: Annotated[float, Field(ge=0.0, le=5.0)] = 0.03
    """The chance that position p is examined is exp(-decay * p)."""


class UserSettings(Settings):
    """Who uses the store."""

    population: Annotated[int, Field(ge=10, le=10**12)] = 1_000_000
    countries: Annotated[int, Field(ge=1, le=100)] = 20
    languages: Annotated[int, Field(ge=1, le=100)] = 12
    age_bands: Annotated[int, Field(ge=1, le=20)] = 6
    genders: Annotated[int, Field(ge=1, le=10)] = 2
    devices: Annotated[int, Field(ge=1, le=50)] = 8
    own_language_share: Share = 0.7
    """Share of the users that speak the first language of their country."""
    visit_scale: Annotated[float, Field(gt=0.0, le=10.0)] = 0.25
    """Visits per day are Bernoulli with a rate from Gamma(2, scale), clipped to [.05, .95]."""
    installed_min: Annotated[int, Field(ge=0, le=64)] = 5
    installed_max: Annotated[int, Field(ge=1, le=64)] = 24
    """Apps installed when the simulation starts, uniform between these two."""
    installed_capacity: Annotated[int, Field(ge=1, le=256)] = 48
    """A user keeps at most so many apps; the oldest is uninstalled first."""

    @model_validator(mode="after")
    def _ordered(self) -> UserSettings:
        if not self.installed_min <= self.installed_max <= self.installed_capacity:
            raise ValueError(
                "installed_min, installed_max, installed_capacity must ascend, "
                f"got {self.installed_min}, {self.installed_max}, {self.installed_capacity}"
            )
        return self


class RetrievalSettings(Settings):
    """How candidates are found, blind to the arm."""

    candidates: Annotated[int, Field(ge=10, le=1000)] = 100
    charts_share: Share = 0.4
    category_share: Share = 0.45
    releases_share: Share = 0.1
    related_share: Share = 0.05
    """Shares of the candidate slots tried by each source; they sum to 1."""
    popularity_exponent: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    """Charts and categories draw apps by (installations)^exponent."""
    release_days: Annotated[int, Field(ge=1, le=365)] = 10
    """An app counts as a new release for so many days."""
    prior_installs: Annotated[float, Field(gt=0.0, le=1e12)] = 100_000.0
    """Weight of the public installation counts, in installations of production's recent log."""
    chart_length: Annotated[int, Field(ge=10, le=1_000_000)] = 20_000
    related_length: Annotated[int, Field(ge=1, le=1000)] = 32
    """Neighbours kept for each app by the item-to-item source."""
    log_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Weight of yesterday's counts against today's in charts and the item-to-item source."""

    @model_validator(mode="after")
    def _whole(self) -> RetrievalSettings:
        total = self.charts_share + self.category_share + self.releases_share + self.related_share
        if abs(total - 1.0) > 1e-9:
            raise ValueError(
                f"charts_share + category_share + releases_share + related_share must be 1, got {total:g}"
            )
        return self
