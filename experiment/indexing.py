"""Retrieval's night: charts and the item-to-item source are refitted on production's log alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from experiment import plan
from experiment.assignment import PRODUCTION
from experiment.config import Config
from experiment.daily import day_log
from experiment.folder.paths import RunPaths
from experiment.folder.tensors import read_arrays, write_arrays
from experiment.worlds import world_of
from simulator import retrieval
from simulator.world import World


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """A day whose production log retrieval learns from."""

    run: Path
    config: Config
    day: int


def refit_retrieval(task: RetrievalTask) -> None:
    """Writes what retrieval knows after the day; without a log of production yesterday's knowledge stands."""
    world = world_of(task.config)
    counts = _counts_after(task.run, task.day - 1, plan.all_days(task.config)[0])
    if PRODUCTION in plan.serving_arms(task.config, task.day):
        log = day_log(task.run, task.config, (PRODUCTION,), task.day)
        counts = counts.updated(log, world.retrieval.log_decay)
    arrays = {field.name: getattr(counts, field.name) for field in dataclasses.fields(counts)}
    write_arrays(RunPaths(task.run).retrieval(task.day), arrays)


def index_of(run: Path, config: Config, day: int) -> retrieval.Index:
    """What retrieval serves from on `day`: production's log of the days before."""
    return _index(run, world_of(config), day, plan.all_days(config)[0])


def index_again(run: Path, config: Config, day: int) -> retrieval.Index:
    """As `index_of`, for who serves the same days shard after shard: a month of them is remembered."""
    return _indexes(run, world_of(config), day, plan.all_days(config)[0])


def forget() -> None:
    """Lets go of what this process remembers; it can be read again."""
    _index.cache_clear()
    _indexes.cache_clear()


def _built(run: Path, world: World, day: int, first_day: int) -> retrieval.Index:
    counts = _counts_after(run, day - 1, first_day)
    return retrieval.build_index(world.retrieval, world.users.countries, world.catalogue, counts, day)


_index = lru_cache(maxsize=2)(_built)
_indexes = lru_cache(maxsize=32)(_built)


def _counts_after(run: Path, day: int, first_day: int) -> retrieval.Counts:
    if day < first_day:
        return retrieval.Counts.empty()
    return retrieval.Counts(**read_arrays(RunPaths(run).retrieval(day)))
