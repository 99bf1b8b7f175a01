"""The settings of every ranker kind, as the run's configuration carries them.

Each model is frozen and refuses unknown keys. The defaults are those of the default arms; `paper_net()` gives
the network of Cheng et al. 2016, section 4.2 and figure 4.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Cross = Literal[
    "installed_x_app",
    "installed_category_x_category",
    "country_x_category",
    "language_x_category",
    "age_band_x_category",
    "gender_x_category",
    "hour_x_category",
    "country_x_app",
    "language_x_app",
    "age_band_x_app",
    "gender_x_app",
]
"""A cross-product transformation (paper, equation 1) of two features, by name."""

PAPER_CROSSES: tuple[Cross, ...] = ("installed_x_app",)
"""The wide part of the joint model: installed x impression app alone (paper, section 4.2)."""

RICH_CROSSES: tuple[Cross, ...] = get_args(Cross)
"""Every cross: the highly tuned linear control (paper, section 5.1)."""


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused, defaults validated."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


MOST_DAYS = 100_000
"""Largest boundary of an age bucket: there is a table of so many days."""

Age = Annotated[int, Field(ge=1, le=MOST_DAYS)]


class FeatureSettings(Settings):
    """How logs become features (paper, section 4.1)."""

    app_min_count: int = Field(default=5, ge=1, description="Impressions before an app has an id of its own.")
    installed_min_count: int = Field(
        default=5,
        ge=1,
        description="Visits of users who have an app before it has an embedding as an installed app.",
    )
    age_boundaries: tuple[Age, ...] = Field(
        default=(1, 2, 3, 5, 7, 10, 14, 21, 30, 60, 120),
        min_length=1,
        max_length=100,
        description="Days since release at which the next bucket of app age begins, ascending.",
    )
    quantiles: int = Field(
        default=100,
        ge=2,
        le=100_000,
        description="Number of quantiles that normalise the dense values of an app.",
    )
    rate_prior: float = Field(
        default=50.0,
        gt=0,
        le=1e9,
        description="Impressions at the overall rate that are added to each app's own before its historical "
        "acquisition rate is taken.",
    )
    positions: int = Field(
        default=20, ge=1, le=127, description="Positions told apart; those further down share the last."
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        ages = self.age_boundaries
        if any(b <= a for a, b in itertools.pairwise(ages)):
            raise ValueError(f"age_boundaries: got {ages}, they must ascend strictly")
        return self


class TrainingSettings(Settings):
    """How a day of the log is passed over."""

    batch_requests: int = Field(
        default=51, ge=1, le=1_000_000, description="Requests per optimiser step; the gradient is their sum."
    )
    epochs: int = Field(default=1, ge=1, le=100, description="Passes over each day of the log.")
    warm_start: bool = Field(
        default=True,
        description="Whether a fit goes on from the weights and optimiser state of the last one; if not, "
        "each begins with fresh weights (vocabularies of apps and app history are kept; pairs of the cross "
        "installed_x_app must come to cross_min_count anew).",
    )


class LinearSettings(Settings):
    """The wide part: a linear model under FTRL-Proximal (McMahan et al. 2013, algorithm 1)."""

    crosses: tuple[Cross, ...] = Field(
        default=PAPER_CROSSES, description="Cross-product transformations, by name."
    )
    cross_min_count: int = Field(
        default=3, ge=1, description="Impressions with an installed x app pair before it has a weight."
    )
    cross_window_days: int = Field(
        default=4,
        ge=1,
        le=10_000,
        description="Days after which pairs that have not come to the minimum count begin to count anew; it "
        "bounds the memory that rare pairs take.",
    )
    alpha: float = Field(default=0.1, gt=0, le=10, description="Learning rate per coordinate.")
    beta: float = Field(
        default=1.0, ge=0, le=1e6, description="Smoothing of the learning rate's first steps."
    )
    l1: float = Field(
        default=1.0, ge=0, le=1e6, description="L1 strength: gradient sums below it weigh exactly 0."
    )
    l2: float = Field(default=0.0, ge=0, le=1e6, description="L2 strength.")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.crosses)) < len(self.crosses):
            raise ValueError(f"crosses: got {self.crosses}, each may be named once")
        return self


Width = Annotated[int, Field(ge=1, le=8192)]


class NetSettings(Settings):
    """The deep part: embeddings and ReLU layers under AdaGrad with a summed loss."""

    embedding_dim: int = Field(default=16, ge=1, le=1024, description="Dimensions of each embedding.")
    hidden: tuple[Width, ...] = Field(
        default=(128, 64, 32), min_length=1, max_length=10, description="Widths of the ReLU layers."
    )
    learning_rate: float = Field(default=0.05, gt=0, le=10, description="AdaGrad's learning rate.")
    initial_accumulator: float = Field(
        default=0.1, ge=0, le=1e6, description="AdaGrad's accumulator of squared gradients at the start."
    )
    embedding_scale: float = Field(
        default=0.05, ge=0, le=10, description="Standard deviation of the embeddings at the start."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="Number format of the matrix products in training; weights are always fp32.",
    )
    device: str = Field(
        default="cpu", description="Torch device that trains; published models serve on the CPU."
    )


class RichLinearSettings(LinearSettings):
    """The control's linear model: every cross unless stated otherwise."""

    crosses: tuple[Cross, ...] = Field(
        default=RICH_CROSSES, description="Cross-product transformations, by name."
    )
    alpha: float = Field(default=0.2, gt=0, le=10, description="Learning rate per coordinate.")
    l1: float = Field(
        default=2.0, ge=0, le=1e6, description="L1 strength: gradient sums below it weigh exactly 0."
    )


class JointLinearSettings(LinearSettings):
    """The linear part beside a net: few crosses, or stale rules eat what they bring (docs/log.md)."""

    alpha: float = Field(default=0.2, gt=0, le=10, description="Learning rate per coordinate.")
    l1: float = Field(
        default=8.0, ge=0, le=1e6, description="L1 strength: gradient sums below it weigh exactly 0."
    )


class NetTrainingSettings(TrainingSettings):
    """The net's passes over a day: a second one pays (docs/log.md), a third does not."""

    epochs: int = Field(default=2, ge=1, le=100, description="Passes over each day of the log.")


class WideSettings(Settings):
    """Kind `wide`: the linear control."""

    features: FeatureSettings = Field(default=FeatureSettings(), description="How logs become features.")
    training: TrainingSettings = Field(
        default=TrainingSettings(), description="How a day of the log is passed over."
    )
    wide: RichLinearSettings = Field(default=RichLinearSettings(), description="The linear model.")


class DeepSettings(Settings):
    """Kind `deep`: embeddings and ReLU layers alone."""

    features: FeatureSettings = Field(default=FeatureSettings(), description="How logs become features.")
    training: NetTrainingSettings = Field(
        default=NetTrainingSettings(), description="How a day of the log is passed over."
    )
    deep: NetSettings = Field(default=NetSettings(), description="The network.")


class WideDeepSettings(Settings):
    """Kind `wide_deep`: both parts, trained jointly on one loss (paper, section 3.3)."""

    features: FeatureSettings = Field(default=FeatureSettings(), description="How logs become features.")
    training: NetTrainingSettings = Field(
        default=NetTrainingSettings(), description="How a day of the log is passed over."
    )
    wide: JointLinearSettings = Field(default=JointLinearSettings(), description="The linear model.")
    deep: NetSettings = Field(default=NetSettings(), description="The network.")


class EnsembleSettings(WideDeepSettings):
    """Kind `ensemble`: the same two parts, each trained apart on its own loss (paper, section 3.3)."""


class FactorSettings(Settings):
    """A factorization machine's weights and factors (Rendle 2012) under AdaGrad."""

    factors: int = Field(default=16, ge=1, le=1024, description="Dimensions of the factors.")
    learning_rate: float = Field(default=0.02, gt=0, le=10, description="AdaGrad's learning rate.")
    initial_accumulator: float = Field(
        default=0.1, ge=0, le=1e6, description="AdaGrad's accumulator of squared gradients at the start."
    )
    factor_scale: float = Field(
        default=0.05, ge=0, le=10, description="Standard deviation of factors at the start."
    )


class FMSettings(Settings):
    """Kind `fm`: a factorization machine over the same sparse features."""

    features: FeatureSettings = Field(default=FeatureSettings(), description="How logs become features.")
    training: TrainingSettings = Field(
        default=TrainingSettings(), description="How a day of the log is passed over."
    )
    fm: FactorSettings = Field(default=FactorSettings(), description="The factorization machine.")


class RandomSettings(Settings):
    """Kind `random`: it has nothing to set."""


class PopularitySettings(Settings):
    """Kind `popularity`: acquisitions counted in the log beside the store's public counts."""

    prior: float = Field(
        default=1000.0,
        ge=0,
        le=1e12,
        description="Acquisitions that the store's public installation counts stand for together.",
    )


def paper_net() -> NetSettings:
    """The network of the paper: 32-dimensional embeddings, layers of 1024, 512 and 256 (figure 4)."""
    return NetSettings(embedding_dim=32, hidden=(1024, 512, 256))
