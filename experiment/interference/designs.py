"""Who is served by which arm, learns from whom and may be shown what; pure functions.

When two rankers learn from one log, each is taught by what the other explored: an A/B test then measures
neither against the other as they would be alone ("symbiosis bias"; Brennan et al., WWW 2025, "Reducing
Symbiosis Bias through Better A/B Tests of Recommendation Algorithms"). The designs are theirs. What each
should find is the global treatment effect: all users under one arm, which learns from all of their log,
against all users under the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiment.config import Config
from simulator.population import Profiles
from simulator.schema import AppTable, Array
from simulator.world import World

DESIGNS = {
    "shared": "users randomised; every arm learns from all logs",
    "diverted": "users randomised; every arm learns from its own log",
    "co-diverted": "users and apps randomised; an arm shows its own apps and learns from its own log",
    "clustered": "clusters of like users randomised; every arm learns from all logs",
}
"""The designs, by name."""

ONLY = "only "
"""Begins the name of a world that one arm has to itself."""

TURNED = "co-diverted, turned "
"""Begins the name of a world where each arm has the apps of another one; a number says how far."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A world, as a design lays it out.

    Attributes:
        arm: int16[n], of each user, an index into the configuration's arms.
        unit: int64[n], what was randomised: the user's own place, or its cluster.
        own_log: whether an arm learns from its own users' log alone.
        corpus: int16[A], the arm that may show each app, or None where every arm shows all.
    """

    arm: Array
    unit: Array
    own_log: bool
    corpus: Array | None = None


def worlds(config: Config, designs: tuple[str, ...]) -> tuple[str, ...]:
    """The worlds of a seed: each arm's own, the designs, and `co-diverted` with the apps handed round."""
    turns = range(1, len(config.arms)) if "co-diverted" in designs else ()
    return (*(f"{ONLY}{arm}" for arm in config.arms), *designs, *(f"{TURNED}{turn}" for turn in turns))


def layout(name: str, config: Config, world: World, profiles: Profiles, groups: Array) -> Layout:
    """How the world `name` is laid out.

    Args:
        name: of `worlds`. config: of the experiment. world: its store.
        profiles: n users. groups: int16[n], the arm of each user's bucket.
    """
    users = np.arange(len(profiles), dtype=np.int64)
    if name.startswith(ONLY):
        arm = list(config.arms).index(name.removeprefix(ONLY))
        return Layout(np.full(len(users), arm, np.int16), users, own_log=False)
    if name == "clustered":
        cluster = clusters(config, profiles)
        return Layout(in_blocks(cluster, len(config.arms), config.seed)[cluster], cluster, own_log=False)
    corpus = None
    if name == "co-diverted" or name.startswith(TURNED):
        turn = int(name.removeprefix(TURNED)) if name.startswith(TURNED) else 0
        arms = len(config.arms)
        corpus = (corpora(world.apps, arms, config.seed) + np.int16(turn)) % np.int16(arms)
    return Layout(groups, users, own_log=name != "shared", corpus=corpus)


def clusters(config: Config, profiles: Profiles) -> Array:
    """int64[n]: users of one country and age band are a cluster; taste is made of such attributes."""
    return profiles.country.astype(np.int64) * config.users.age_bands + profiles.age_band


def in_blocks(members: Array, arms: int, seed: int) -> Array:
    """int16[clusters]: an arm for each cluster, drawn within blocks of `arms` clusters of like size.

    Args:
        members: int64[n], the cluster of each user. arms: how many. seed: of the draw.
    """
    sizes = np.bincount(members)
    return _blocks(np.argsort(-sizes, kind="stable"), arms, np.random.default_rng([seed, 1]))


def corpora(apps: AppTable, arms: int, seed: int) -> Array:
    """int16[A]: an arm for each app, drawn within blocks of `arms` apps of like popularity."""
    return _blocks(np.argsort(-apps.store_installs, kind="stable"), arms, np.random.default_rng([seed, 2]))


def _blocks(order: Array, arms: int, rng: np.random.Generator) -> Array:
    drawn = np.empty(len(order), np.int16)
    for start in range(0, len(order), arms):
        block = order[start : start + arms]
        drawn[block] = rng.permutation(arms)[: len(block)]
    return drawn
