"""The world of a configuration, built once in each process."""

from __future__ import annotations

from functools import lru_cache

from experiment.config import Config
from simulator.world import World


def world_of(config: Config) -> World:
    """The run's world; the same object for equal settings within a process."""
    return _same(World(config.world, config.users, config.retrieval, config.seed))


@lru_cache(maxsize=2)
def _same(world: World) -> World:
    return world
