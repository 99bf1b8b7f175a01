"""The experiment's settings: who gets what, for how long, and how models are let through.

One class per table of the configuration. The world's own tables are in `simulator.settings`, the rankers' in
`models.settings`; `experiment.config` puts them together.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Days = Annotated[int, Field(ge=1, le=10_000)]
WhichDay = Annotated[bool | int | None, Field(union_mode="left_to_right")]


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, NaN and infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )


class ProductionSettings(Settings):
    """The system in place: it serves everybody before the experiment, and its sample during it."""

    share: Share = 0.01
    """Share of the users, beside the arms' buckets, whose visits production serves and logs throughout."""
    bootstrap_days: Days = 2
    """First days of the pre-period, served by popularity; after them by production's wide ranker."""
    exploration: Annotated[float, Field(ge=0.0, le=10.0)] = 0.3
    """Scale of the Gumbel noise on production's log odds; 0 explores nothing."""
    settings: dict[str, Any] = {}
    """Settings of production's ranker, of kind `wide`."""


class ExperimentSettings(Settings):
    """Days, buckets and the rules of the comparison."""

    days: Days = 7
    """Days of the experiment, 1 .. days."""
    pre_days: Annotated[int, Field(ge=2, le=10_000)] = 7
    """Days before the experiment, 1 - pre_days .. 0; day 0 is the offline holdout."""
    bucket_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    """Share of the users in each arm that states none itself."""
    control: str = "wide"
    """The arm that the others are compared with."""
    salt: Annotated[str, Field(min_length=1, max_length=200)] = "storelift"
    """Another salt draws another assignment of the same users."""
    slots: Annotated[int, Field(ge=0, le=16)] = 0
    """Starts of bucket ranges; 0 takes as many as fit. State it to keep users in place while shares grow."""
    training: Literal["own", "all", "none"] = "own"
    """What an arm retrains on each night: its own log, the logs of all arms, or nothing (frozen models)."""
    warm_start: bool = True
    """Retraining goes on from yesterday's model; otherwise it starts afresh on all days so far."""
    training_seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    """Draws what is random in training, production's too; world, users and coins stay. 0 takes the run's."""
    shown: Annotated[int, Field(ge=1, le=100)] = 10
    """Apps shown per request."""
    stop_when: Literal["never", "decided"] = "never"
    """`decided` ends the run once each arm's always-valid p-value, after Holm, is below `alpha`."""
    identical_models: bool = False
    """All arms serve one and the same model: an A/A test, whose true effect is 0."""
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Significance level; intervals are of level 1 - alpha."""


class ArmSettings(Settings):
    """One arm: its ranker, the ranker's settings and, where it differs, its share of the users."""

    kind: str
    """A ranker of `models.registry`, or `module:Class` of your own."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Share of the users; without it `experiment.bucket_share`."""
    settings: dict[str, Any] = {}
    """The ranker's settings, complete once loaded."""


class GateSettings(Settings):
    """What a new model must pass before it serves; if it is refused, yesterday's stays (paper, 4.2)."""

    enabled: bool = True
    """Whether there is a gate."""
    holdout_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of the users whose requests of the day are held out of training and judge both models."""
    auc_margin: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    """Refused when the AUC is below the incumbent's by more than this, significantly."""
    log_loss_margin: Annotated[float, Field(ge=0.0, le=10.0)] = 0.01
    """Refused when the log loss is above the incumbent's by more than this (nats), significantly."""
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Level of the paired tests of AUC and log loss."""
    calibration_min: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Least predicted over observed acquisitions on the holdout."""
    calibration_max: Annotated[float, Field(ge=1.0, le=100.0)] = 2.0
    """Most predicted over observed acquisitions on the holdout."""
    score_limit: Annotated[float, Field(gt=0.0, le=1000.0)] = 100.0
    """Largest log odds, of either sign, in the dry run. Nets say -30 of apps that nobody was shown."""
    memory_limit: Annotated[float, Field(gt=0.0, le=1e6)] = 4096.0
    """MiB that a model may hold in memory."""
    latency_limit: Annotated[float, Field(gt=0.0, le=60_000.0)] = 50.0
    """Milliseconds of one request in the dry run: a warning in a run, a refusal in `serve`."""


class FaultSettings(Settings):
    """Faults put in on purpose, to see the gate catch them. A day, or true for every day."""

    arm: str | None = None
    """The arm whose models are harmed; without it all of them."""
    poison_labels_on_day: Annotated[int, Field(ge=0)] | None = None
    """The training labels of this day are turned round."""
    nan_weights_on_day: Annotated[int, Field(ge=1)] | None = None
    """The model trained on this day gets weights that are not a number; no arm has another before day 1."""
    stale_vocabulary: WhichDay = None
    """The model serves with the vocabulary of the day before."""
    empty_log: WhichDay = None
    """No log reaches the training."""


class RunSettings(Settings):
    """How the work is spread. Nothing here changes a result."""

    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Worker processes; 0 takes one per core, at most one per arm."""
    executor: Literal["local", "ray"] = "local"
    """Where the workers are: processes of this machine, or actors of Ray."""
    address: str | None = None
    """HOST:PORT of a node of a Ray cluster, or `auto` on such a node; without it Ray is started here."""
    shard_users: Annotated[int, Field(ge=1, le=10_000_000)] = 8192
    """Users handled at a time."""
    keep_log_days: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Days of the log and of its truth that stay on the disk; 0 keeps all. Days on which a resumed run would
    train again stay longer. Without the whole log there is no `truth`, and no `explain` of what is gone."""

    @model_validator(mode="after")
    def _address_of_ray(self) -> Self:
        address, allowed = self.address, None
        if address is not None and self.executor != "ray":
            allowed = "one with run.executor = 'ray'"
        elif address not in {None, "auto"} and not re.fullmatch(r"[^/]+:\d+", str(address)):
            allowed = "HOST:PORT of a node of a Ray cluster, or 'auto' on one"
        if allowed:
            raise PydanticCustomError(
                "paths", "{lines}", {"lines": f"address: got {address!r}, allowed: {allowed}"}
            )
        return self
