"""One shard's day: the published model of its arm serves the visits, and the log is written.

`serve_shard` is a task: it reads the run folder, writes a part of the log and the users' new state, and
returns what the metrics need. What it remembers between tasks it could read again.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from experiment import plan
from experiment.assignment import PRODUCTION
from experiment.at_hand import at_hand
from experiment.config import Config
from experiment.errors import NoModelError
from experiment.folder.paths import RunPaths, part
from experiment.folder.tensors import read_arrays, write_arrays
from experiment.indexing import index_of
from experiment.published import load_model
from experiment.worlds import world_of
from models import registry
from simulator import traffic
from simulator.log import write_log, write_truth
from simulator.oracle import Oracle
from simulator.schema import Array, Log, PublishedRanker, Ranker, Truth
from simulator.traffic import Audience, Policy
from simulator.world import World

BOOTSTRAP_EXPLORATION = 1.0
"""Scale of the Gumbel noise while production serves by popularity, the very first days."""


HELD_ARMS = 6
"""Arms whose serving models a process keeps in memory."""


@dataclass(frozen=True, slots=True)
class ServeTask:
    """A shard and a day.

    Attributes:
        run: the run folder. config: the run's. shard: whose visits. day: simulated.
        model_day: first day of the serving model; None where the arm needs none.
    """

    run: Path
    config: Config
    shard: plan.Shard
    day: int
    model_day: int | None


@dataclass(frozen=True, slots=True)
class UserDays:
    """One row per user with at least one visit on a day; all arrays are [n].

    Attributes:
        user_id: int64. country: int8. impressions, acquisitions: int32 on that day.
        expected: float64, the sum of the true chances of acquisition.
        new_impressions: int32, impressions of apps that were new releases.
    """

    user_id: Array
    country: Array
    impressions: Array
    acquisitions: Array
    expected: Array
    new_impressions: Array


@dataclass(frozen=True, slots=True)
class Served:
    """What a `ServeTask` did.

    Attributes:
        shard, day: of the task. arm: that served.
        users: the visitors' counts.
        seconds: wall-clock time; it decides nothing.
    """

    shard: plan.Shard
    day: int
    arm: str
    users: UserDays
    seconds: float


def serve_shard(task: ServeTask) -> Served:
    """Serves the visits of `task.day` to `task.shard`; writes the log, the truth and the users' state."""
    started = time.perf_counter()
    config, shard, day = task.config, task.shard, task.day
    world = world_of(config)
    paths = RunPaths(task.run)
    arm = plan.serving_arm(shard.group, day)
    audience = _audience(task, world)
    policy = policy_of(task.run, config, arm, day, task.model_day)
    log, truth = traffic.serve(world, audience, day, policy, index_of(task.run, config, day))
    write_truth(paths.truth(arm, day) / part(shard.number), truth)
    write_log(paths.log(arm, day) / part(shard.number), log)
    write_arrays(paths.audience(shard.number, day), {"installed": audience.installed})
    _audiences[task.run, shard] = (day, audience)
    return Served(shard, day, arm, user_days(world, log, truth), time.perf_counter() - started)


_audiences: dict[tuple[Path, plan.Shard], tuple[int, Audience]] = {}


def _audience(task: ServeTask, world: World) -> Audience:
    """The shard's users as the day before left them."""
    remembered = _audiences.pop((task.run, task.shard), None)
    if remembered is not None and remembered[0] == task.day - 1:
        return remembered[1]
    audience = traffic.arrive(world, plan.shard_members(task.config, task.shard))
    if task.day > plan.all_days(task.config)[0]:
        state = RunPaths(task.run).audience(task.shard.number, task.day - 1)
        audience.installed = read_arrays(state)["installed"]
    return audience


def policy_of(run: Path, config: Config, arm: str, day: int, model_day: int | None) -> Policy:
    """How `arm` ranks on `day`: its published model, and production's exploration."""
    shown = config.experiment.shown
    if arm == PRODUCTION and plan.bootstrapping(config, day):
        return Policy(_popularity(world_of(config)), f"{arm}/popularity", shown, BOOTSTRAP_EXPLORATION)
    kind = plan.arm_settings(config, arm).kind
    exploration = config.production.exploration if arm == PRODUCTION else 0.0
    if kind in plan.REFERENCE_KINDS:
        return Policy(Oracle(world_of(config)), f"{arm}/{kind}", shown, exploration)
    if model_day is None:
        raise NoModelError(
            f"arms.{arm}: got a ranker of which no model has passed the gate before day {day}, allowed: one "
            "whose first model does; events.jsonl has the gate's reasons"
        )
    return Policy(published(run, config, arm, model_day), f"{arm}/{model_day}", shown, exploration)


@lru_cache(maxsize=1)
def _popularity(world: World) -> Ranker:
    return registry.create("popularity", world.apps, world.cardinalities, {}, 0).publish()


_models: dict[Path, tuple[tuple[Path, World, str, str], PublishedRanker]] = {}


def _published(folder: Path, world: World, kind: str, settings: str) -> PublishedRanker:
    """The model in `folder`; of each arm only the last one asked for is held, as a model may be large."""
    key = (folder, world, kind, settings)
    found = _models.pop(folder.parent, None)
    if found is None or found[0] != key:
        found = None  # let go of before another comes
        with at_hand(folder) as files:
            found = (key, load_model(files, world, kind, json.loads(settings)))
    _models[folder.parent] = found
    while len(_models) > HELD_ARMS:
        del _models[next(iter(_models))]
    return found[1]


def published(run: Path, config: Config, arm: str, day: int) -> PublishedRanker:
    """The model that `arm` serves with from `day` on.

    Raises:
        RunFolderError: there is none, or one that the run did not publish.
    """
    of = plan.arm_settings(config, arm)
    settings = json.dumps(of.settings, sort_keys=True)
    return _published(RunPaths(run).model(arm, day), world_of(config), of.kind, settings)


def user_days(world: World, log: Log, truth: Truth) -> UserDays:
    """Counts of a day's visitors; a user visits at most once a day."""
    requests = log.requests
    age = requests.sim_day[:, None] - world.apps.release_day[requests.apps].astype(np.int64)
    return UserDays(
        user_id=requests.user_id,
        country=requests.country,
        impressions=np.full(len(requests), requests.apps.shape[1], np.int32),
        acquisitions=log.labels.sum(axis=1, dtype=np.int32),
        expected=truth.probabilities.sum(axis=1),
        new_impressions=(age < world.retrieval.release_days).sum(axis=1, dtype=np.int32),
    )


def forget() -> None:
    """Drops what this process remembers of users and models; it can be read again."""
    _audiences.clear()
    _models.clear()
