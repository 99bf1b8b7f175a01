"""One shard's users under every arm: the days of the experiment served again, nothing trained.

Everything that decided a visit is a function of configuration, published models and production's log, so the
replay is exact: under the arm that they were in, users get back their logged rows bit for bit, and `replay`
refuses to go on where they do not. The users' apps at the end of the pre-period follow from the pre-period's
log, and what retrieval knew from production's (`refit_retrieval`), so neither has to be kept.

A user's potential outcome under an arm is with that arm's models as the run trained them. Users do not
interfere: retrieval learns from production alone, and a ranker sees nobody but the user whom it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiment import plan
from experiment.assignment import PRODUCTION
from experiment.config import Config
from experiment.folder.atomic import write_table
from experiment.folder.paths import RunPaths, part
from experiment.indexing import RetrievalTask, index_again, refit_retrieval
from experiment.serving import UserDays, policy_of, user_days
from experiment.worlds import world_of
from simulator import response, traffic
from simulator.log import read_log, read_truth
from simulator.schema import Array, Log, Truth
from simulator.traffic import Audience
from simulator.world import World


class ReplayError(RuntimeError):
    """A replay that is not what was logged: the program, or a file of the run, is another."""


@dataclass(frozen=True, slots=True)
class ReplayTask:
    """A shard, to be served by every arm.

    Attributes:
        run: the run folder. config: the run's. shard: whose visits. days: simulated, from 1.
        model_days: by arm, first day of the model that served on each of `days`; None where it needs none.
    """

    run: Path
    config: Config
    shard: plan.Shard
    days: tuple[int, ...]
    model_days: Mapping[str, tuple[int | None, ...]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a `ReplayTask` did.

    Attributes:
        shard: of the task. last_day: that was served.
        visits: served, over all arms. compared: those of the shard's own arm, found equal to the log.
    """

    shard: plan.Shard
    last_day: int
    visits: int
    compared: int


@dataclass(frozen=True, slots=True)
class RefitTask:
    """The days after which retrieval's knowledge is needed again."""

    run: Path
    config: Config
    days: tuple[int, ...]


def refit(task: RefitTask) -> None:
    """Writes again what retrieval had learned by the end of each day, from production's log."""
    for day in task.days:
        refit_retrieval(RetrievalTask(task.run, task.config, day))


def part_path(run: Path, shard: int) -> Path:
    """The potential outcomes of one shard while a replay is under way."""
    return run / "state" / "potential" / part(shard)


def replay(task: ReplayTask) -> Replayed:
    """Serves the shard under every arm over all days and writes the users' days, a column per arm.

    Raises:
        ReplayError: under the shard's own arm a row is not what was logged.
    """
    import pyarrow as pa

    world, config, shard = world_of(task.config), task.config, task.shard
    start = arrived(task.run, world, config, shard)
    audiences = {arm: Audience(start.profiles, start.installed.copy()) for arm in config.arms}
    visits = compared = 0
    tables = []
    for at, day in enumerate(task.days):
        index = index_again(task.run, config, day)
        counts: dict[str, UserDays] = {}
        for arm, audience in audiences.items():
            policy = policy_of(task.run, config, arm, day, task.model_days[arm][at])
            log, truth = traffic.serve(world, audience, day, policy, index)
            if arm == shard.group:
                check_logged(task, day, log, truth)
                compared += len(log)
            counts[arm] = user_days(world, log, truth)
            visits += len(log)
        tables.append(pa.table(_columns(counts, day)))
    write_table(part_path(task.run, shard.number), pa.concat_tables(tables))
    return Replayed(shard, task.days[-1], visits, compared)


def arrived(run: Path, world: World, config: Config, shard: plan.Shard, morning: int = 1) -> Audience:
    """The shard's users on the morning of a day <= 1: their first apps, and what the log says they took."""
    audience = traffic.arrive(world, plan.shard_members(config, shard))
    for day in range(config.pre_days()[0], morning):
        path = RunPaths(run).log(PRODUCTION, day) / part(shard.number)
        log = read_log(path, config.users.installed_capacity)
        rows = np.searchsorted(audience.profiles.user_id, log.requests.user_id)
        response.install(audience.installed, rows, log.requests.apps, log.labels)
    return audience


def check_logged(task: ReplayTask, day: int, log: Log, truth: Truth) -> None:
    """Raises ReplayError unless `log` and `truth` are the rows that the run wrote on `day`, bit for bit."""
    paths, shard = RunPaths(task.run), task.shard
    logged = read_log(paths.log(shard.group, day) / part(shard.number), task.config.users.installed_capacity)
    known = read_truth(paths.truth(shard.group, day) / part(shard.number))
    ours = {**log.requests.arrays(), **log.arrays(), **truth.arrays()}
    theirs = {**logged.requests.arrays(), **logged.arrays(), **known.arrays()}
    for name, values in ours.items():
        if name != "requests" and not _same(np.asarray(values), np.asarray(theirs[name])):
            raise ReplayError(
                f"truth: got a replay of {shard.group}, shard {shard.number}, day {day} that differs from "
                f"the log in {name}, allowed: the logged rows bit for bit; the run was made by another "
                "version of the program, or on another kind of processor"
            )


def _same(ours: Array, theirs: Array) -> bool:
    return np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")


def _columns(counts: Mapping[str, UserDays], day: int) -> dict[str, Array]:
    """A day's rows: visits depend on user and day alone, so under every arm the same users come."""
    first = next(iter(counts.values()))
    columns = {"user_id": first.user_id, "day": np.full(len(first.user_id), day, np.int32)}
    for arm, users in counts.items():
        assert np.array_equal(users.user_id, first.user_id)
        columns[f"impressions_{arm}"] = users.impressions
        columns[f"acquisitions_{arm}"] = users.acquisitions
        columns[f"expected_{arm}"] = users.expected
    return columns
