"""Days of production's traffic in memory, for benchmarks: no run folder, no disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from experiment import plan
from experiment.config import Config
from experiment.loading import load
from experiment.serving import BOOTSTRAP_EXPLORATION
from experiment.worlds import world_of
from models import registry
from simulator import retrieval, traffic
from simulator.retrieval import Index
from simulator.schema import Log, Truth
from simulator.traffic import Policy
from simulator.world import World


@dataclass(frozen=True, slots=True)
class ProductionDay:
    """A day as production served it.

    Attributes:
        day: simulated. log: what was observed. truth: of the same requests.
        index: what retrieval served from on the day.
    """

    day: int
    log: Log
    truth: Truth
    index: Index


def default_config(seed: int = 0, preset: str | None = None) -> Config:
    """The configuration of the default preset with another seed."""
    return load(preset, seed=seed)


def production_days(config: Config, users: int, days: int) -> Iterator[ProductionDay]:
    """The last `days` days of the pre-period, 1 - days .. 0, for the users of ids 0 .. users - 1.

    As in a run: the first days (at most `production.bootstrap_days`, fewer than `days`) are served by
    popularity with much noise, the others by a wide ranker with a little, retrained each night on all so far;
    charts and the item-to-item source are refitted each night.
    """
    world, shown = world_of(config), config.experiment.shown
    audience = traffic.arrive(world, np.arange(users, dtype=np.int64))
    counts = retrieval.Counts.empty()
    popularity = registry.create("popularity", world.apps, world.cardinalities, {}, 0).publish()
    wide = registry.create(
        "wide",
        world.apps,
        world.cardinalities,
        config.production.settings,
        plan.training_key(config, -(10**6)),
    )
    bootstrap = min(config.production.bootstrap_days, days - 1)
    for place, day in enumerate(range(1 - days, 1)):
        index = retrieval.build_index(world.retrieval, world.users.countries, world.catalogue, counts, day)
        policy = Policy(popularity, "production/popularity", shown, BOOTSTRAP_EXPLORATION)
        if place >= bootstrap:
            policy = Policy(wide.publish(), f"production/{day}", shown, config.production.exploration)
        log, truth = traffic.serve(world, audience, day, policy, index)
        order = np.argsort(log.requests.request_id, kind="stable")
        log, truth = log.take(order), truth.take(order)
        counts = counts.updated(log, world.retrieval.log_decay)
        if day < 0:
            wide.fit(log, plan.training_key(config, day))
        yield ProductionDay(day, log, truth, index)


def next_index(world: World, days: list[ProductionDay]) -> Index:
    """What retrieval serves from on the day after `days`."""
    counts = retrieval.Counts.empty()
    for one in days:
        counts = counts.updated(one.log, world.retrieval.log_decay)
    return retrieval.build_index(
        world.retrieval, world.users.countries, world.catalogue, counts, days[-1].day + 1
    )
