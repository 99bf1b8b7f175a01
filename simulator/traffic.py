"""One day of traffic through one ranker: who visits, what is shown, what is acquired, what is logged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator import exploration, response
from simulator.population import Profiles
from simulator.retrieval import Index
from simulator.schema import Array, Log, Ranker, Requests, Truth
from simulator.world import World, with_apps

BLOCK = 128
"""Requests scored in one call. Matrix products round differently for different shapes, and a tie decides a
ranking: every call has this shape, the last one padded, so that grouping never shows."""

_CHUNK = 16 * BLOCK

Lap = Callable[[str], object]
"""Told of each stage as it ends: retrieval, score, slate, respond, log."""


def _unwatched(stage: str) -> None:
    """Takes no time of a stage."""
    del stage


@dataclass(slots=True)
class Audience:
    """The users of one shard and what they have installed.

    Attributes:
        profiles: n users.
        installed: int32[n, capacity], changed as they acquire apps.
    """

    profiles: Profiles
    installed: Array


@dataclass(frozen=True, slots=True)
class Policy:
    """How a ranker is put to use.

    Attributes:
        ranker: orders the candidates.
        version: what the log calls it.
        shown: apps shown of each request.
        exploration: scale of the Gumbel noise on the log odds; 0 shows the best.
    """

    ranker: Ranker
    version: str
    shown: int
    exploration: float = 0.0


def arrive(world: World, user_ids: Array) -> Audience:
    """The users of `user_ids` int64[n] as they are before the first day."""
    profiles = world.profiles(user_ids)
    return Audience(profiles, world.initial_installs(profiles))


def serve(
    world: World, audience: Audience, day: int, policy: Policy, index: Index, lap: Lap = _unwatched
) -> tuple[Log, Truth]:
    """Serves all visits of one day and lets the acquired apps be installed.

    Args:
        world: the store. audience: its users; `audience.installed` is changed. day: simulated day.
        policy: how apps are ranked. index: of retrieval, the same for all policies.
        lap: for a profile; it changes nothing.
    """
    visitors = world.visitors(audience.profiles, day)
    chunks = [visitors[start : start + _CHUNK] for start in range(0, max(len(visitors), 1), _CHUNK)]
    parts = [_serve_chunk(world, audience, rows, day, policy, index, lap) for rows in chunks]
    log, truth = Log.concatenate([log for log, _ in parts]), Truth.concatenate([truth for _, truth in parts])
    lap("log")
    return log, truth


def _serve_chunk(
    world: World, audience: Audience, rows: Array, day: int, policy: Policy, index: Index, lap: Lap
) -> tuple[Log, Truth]:
    requests, sources = world.requests(audience.profiles, rows, audience.installed, day, index)
    lap("retrieval")
    scores = score_in_blocks(policy.ranker, requests)
    lap("score")
    slate = exploration.slates(
        world.seed,
        requests.user_id,
        requests.sim_day,
        requests.apps,
        scores,
        policy.shown,
        policy.exploration,
    )
    propensities = exploration.propensities(scores, slate, policy.exploration)
    shown = with_apps(requests, np.take_along_axis(requests.apps, slate, axis=1))
    lap("slate")
    odds, exceptions = world.log_odds(audience.profiles, rows, shown)
    chances, labels = world.respond(shown, odds)
    response.install(audience.installed, rows, shown.apps, labels)
    lap("respond")
    log = Log(
        requests=shown,
        positions=np.broadcast_to(np.arange(policy.shown, dtype=np.int8), slate.shape),
        sources=np.take_along_axis(sources, slate, axis=1),
        scores=np.take_along_axis(scores, slate, axis=1),
        labels=labels,
        propensities=propensities,
        model_version=np.full(len(rows), policy.version),
    )
    truth = Truth(shown.request_id, chances, exceptions.astype(np.float32))
    lap("log")
    return log, truth


def score_in_blocks(ranker: Ranker, requests: Requests) -> Array:
    """float32[B, C]: the ranker's scores, computed in calls of exactly `BLOCK` requests.

    Raises:
        ValueError: when the ranker's scores have another shape or are not finite.
    """
    scores = np.empty(requests.apps.shape, np.float32)
    for start in range(0, len(requests), BLOCK):
        rows = np.arange(start, start + BLOCK)
        filled = np.minimum(rows, len(requests) - 1)
        block = ranker.score(requests.take(filled))
        if block.shape != (BLOCK, requests.apps.shape[1]):
            raise ValueError(f"scores: got shape {block.shape}, allowed is {(BLOCK, requests.apps.shape[1])}")
        scores[start : start + BLOCK] = block[: len(requests) - start]
    if not np.isfinite(scores).all():
        raise ValueError("scores: got a score that is not finite, all must be")
    return scores
