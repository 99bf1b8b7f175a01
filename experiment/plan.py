"""Who serves whom on which day, and who learns from what: pure functions of the configuration.

Users are in groups: one group per arm's bucket, and production's own sample. In the pre-period (days <= 0)
production serves every group; from day 1 on each arm serves its group. Likewise every learner trains on
production's log in the pre-period, and then on its own (or, if so configured, on all arms' logs, or on none).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from experiment.assignment import PRODUCTION, layer_of
from experiment.config import Config
from experiment.settings import ArmSettings
from simulator.keys import Stream, hash_keys
from simulator.schema import Array

REFERENCE_KINDS = ("oracle",)
"""Kinds of arm that do not learn."""


SERVING_COST = {"random": 1.0, "popularity": 1.0, "oracle": 1.0, "wide": 1.5, "fm": 2.0}
LEARNING_COST = {"random": 0.1, "popularity": 0.1, "wide": 2.0, "fm": 4.0, "deep": 3.0}
OTHER_COST = 5.0
"""What a visit costs to serve and to learn from, by kind of ranker, in rough parts of one another (`storelift
bench`). Work is spread by them over the workers; nothing else depends on them."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Users handled at a time: those at [start, stop) of a group; `number` is unique in the run."""

    group: str
    number: int
    start: int
    stop: int


LONGEST = 200
"""Letters of a learner's folder name; file systems end at 255 bytes."""


@dataclass(frozen=True, slots=True)
class Learner:
    """One model in training and the arms that it serves.

    Attributes:
        arms: arms with equal kind, settings and training log share a learner.
        kind: see `models.registry`. settings: of the kind, as JSON.
        sources: arms whose log of the day it trains on.
    """

    arms: tuple[str, ...]
    kind: str
    settings: str
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        """The learner's folder name: its arms, or where that is too long the first of them and a hash."""
        joined = "+".join(self.arms)
        if len(joined) <= LONGEST:
            return joined
        return f"{self.arms[0]}+{hashlib.sha256(joined.encode()).hexdigest()[:16]}"

    def parsed_settings(self) -> dict[str, Any]:
        """The settings as plain data."""
        data: dict[str, Any] = json.loads(self.settings)
        return data


def groups(config: Config) -> tuple[str, ...]:
    """All groups of users: the arms in canonical order, then production's sample if it has one."""
    return layer_of(config).arms


def shards(config: Config) -> tuple[Shard, ...]:
    """The shards of all groups: equal parts of each, of `run.shard_users` users at most."""
    layer = layer_of(config)
    ranges = []
    for group in layer.arms:
        size = layer.size(group)
        parts = -(-size // config.run.shard_users)
        edges = [size * part // parts for part in range(parts + 1)] if parts else []
        ranges += [(group, start, stop) for start, stop in itertools.pairwise(edges)]
    return tuple(Shard(group, number, start, stop) for number, (group, start, stop) in enumerate(ranges))


@lru_cache(maxsize=16)
def _members(salt: str, population: int, slots: Any, group: str) -> Array:
    from experiment.assignment import Layer

    return Layer(salt, population, slots).members(group)


def shard_members(config: Config, shard: Shard) -> Array:
    """int64[n]: the user ids of a shard, ascending."""
    layer = layer_of(config)
    return _members(layer.salt, layer.population, layer.slots, shard.group)[shard.start : shard.stop]


def serving_arm(group: str, day: int) -> str:
    """The arm that serves `group` on `day`."""
    return PRODUCTION if day <= 0 else group


def serving_arms(config: Config, day: int) -> tuple[str, ...]:
    """The arms that serve anybody on `day`."""
    return (PRODUCTION,) if day <= 0 else groups(config)


def all_days(config: Config) -> range:
    """Every simulated day of a run: the pre-period, then the experiment."""
    return range(1 - config.experiment.pre_days, config.experiment.days + 1)


def arm_settings(config: Config, arm: str) -> ArmSettings:
    """Kind and settings of `arm`; production is a wide ranker."""
    if arm == PRODUCTION:
        return ArmSettings(kind="wide", settings=config.production.settings)
    return config.arms[arm]


def learners(config: Config, day: int) -> tuple[Learner, ...]:
    """The learners that train in the night after `day`."""
    shared: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for arm in (*config.arms, PRODUCTION):
        settings = arm_settings(config, arm)
        sources = _sources(config, arm, day)
        if settings.kind in REFERENCE_KINDS or not sources:
            continue
        same = (settings.kind, json.dumps(settings.settings, sort_keys=True), sources)
        shared.setdefault(same, []).append(arm)
    return tuple(
        Learner(tuple(arms), kind, settings, sources) for (kind, settings, sources), arms in shared.items()
    )


def _sources(config: Config, arm: str, day: int) -> tuple[str, ...]:
    if day <= 0:
        return (PRODUCTION,)
    if arm == PRODUCTION:
        return (PRODUCTION,) if PRODUCTION in groups(config) else ()
    return {"own": (arm,), "all": tuple(config.arms), "none": ()}[config.experiment.training]


def learner_of(config: Config, arm: str, day: int) -> Learner:
    """The learner that trains `arm`'s model in the night after `day`."""
    return next(learner for learner in learners(config, day) if arm in learner.arms)


def training_key(config: Config, day: int) -> int:
    """The key of what is random in the training of a night, the same for every learner."""
    luck = config.experiment.training_seed
    return int(hash_keys(config.seed, Stream.TRAINING, day, *([luck] if luck else [])) >> np.uint64(1))


def serving_cost(config: Config, shard: Shard, day: int) -> float:
    """How much work it is to serve `shard` on `day`, in parts of other shards'."""
    arm = serving_arm(shard.group, day)
    kind = arm_settings(config, arm).kind
    explores = OTHER_COST if arm == PRODUCTION and config.production.exploration > 0.0 else 0.0
    return (shard.stop - shard.start) * (SERVING_COST.get(kind, OTHER_COST) + explores)


def learning_cost(config: Config, learner: Learner, day: int) -> float:
    """How much work a learner's night after `day` is, in parts of other learners'."""
    layer = layer_of(config)
    users = sum(layer.size(group) for group in layer.arms if serving_arm(group, day) in learner.sources)
    return users * LEARNING_COST.get(learner.kind, OTHER_COST)


def bootstrapping(config: Config, day: int) -> bool:
    """Whether production still serves by popularity on `day`."""
    return day - (1 - config.experiment.pre_days) < config.production.bootstrap_days
