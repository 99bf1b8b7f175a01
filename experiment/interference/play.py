"""A seed's worlds, played day by day: one pre-period for all of them, then each design on its own.

This is the loop of `experiment.loop` without folder and gate, kept in memory: a design changes who serves
whom and who learns from what, and nothing else. Production's sample is served once, since nothing of a design
reaches it, and with it what retrieval learns.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiment import plan
from experiment.assignment import PRODUCTION, layer_of
from experiment.config import Config
from experiment.folder import atomic
from experiment.folder.tensors import read_arrays, write_arrays
from experiment.interference.designs import Layout
from experiment.serving import BOOTSTRAP_EXPLORATION, UserDays, user_days
from experiment.worlds import world_of
from models import registry
from simulator import retrieval, traffic
from simulator.schema import Array, Log, PublishedRanker, Ranker, Requests, TrainableRanker
from simulator.traffic import Audience, Policy

OUT_OF_REACH = np.float32(-1e4)
"""Log odds of an app that the arm may not show: below every other, and finite."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A ranker that may show some apps only.

    Attributes:
        ranker: orders them. allowed: bool[A].
    """

    ranker: Ranker
    allowed: Array

    def score(self, requests: Requests) -> Array:
        """Log odds float32[B, C]; those of other apps are out of reach."""
        scores = np.asarray(self.ranker.score(requests))
        return np.where(self.allowed[requests.apps], scores, OUT_OF_REACH)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The state at the end of the pre-period, in a folder.

    Attributes:
        folder: with the learners' training states. config: of the experiment.
        users: int64[n], of all arms' buckets, ascending. groups: int16[n], the arm of each one's bucket.
        installed: int32[n, capacity].
    """

    folder: Path
    config: Config
    users: Array
    groups: Array
    installed: Array

    def audience(self, rows: Array) -> Audience:
        """The users at `rows`, as they were at the end of the pre-period."""
        profiles = world_of(self.config).profiles(self.users[rows])
        return Audience(profiles, self.installed[rows].copy())

    def trainer(self, arm: str) -> TrainableRanker:
        """The arm's learner, as it was."""
        learner = plan.learner_of(self.config, arm, 0)
        return registry.load(self.folder / learner.name, world_of(self.config).apps)

    def index(self, day: int) -> retrieval.Index:
        """What retrieval serves from on a day of the experiment."""
        world = world_of(self.config)
        counts = retrieval.Counts(**read_arrays(_counts(self.folder, day - 1)))
        return retrieval.build_index(world.retrieval, world.users.countries, world.catalogue, counts, day)


def start(folder: Path, config: Config) -> Start:
    """The start of a seed's worlds, played if `folder` does not hold it yet."""
    layer = layer_of(config)
    members = [layer.members(arm) for arm in config.arms]
    users = np.concatenate(members)
    groups = np.repeat(np.arange(len(members), dtype=np.int16), [len(m) for m in members])
    order = np.argsort(users)
    users, groups = users[order], groups[order]
    if not folder.is_dir():
        with atomic.new_folder(folder) as beside:
            _pre_period(beside, config, users)
    return Start(folder, config, users, groups, read_arrays(folder / "installed.safetensors")["installed"])


def _pre_period(folder: Path, config: Config, users: Array) -> None:
    """Production serves everybody, everybody's learner learns; then production's sample goes on alone."""
    world, shown = world_of(config), config.experiment.shown
    audience = traffic.arrive(world, users)
    sample = None
    if PRODUCTION in plan.groups(config):
        sample = traffic.arrive(world, layer_of(config).members(PRODUCTION))
    counts = retrieval.Counts.empty()
    popularity = registry.create("popularity", world.apps, world.cardinalities, {}, 0).publish()
    learners = plan.learners(config, 0)
    trainers = {learner: _fresh(config, learner) for learner in learners}
    own = next(learner for learner in learners if PRODUCTION in learner.arms)
    for day in plan.all_days(config):
        before = day <= 0
        audiences = [one for one in (audience if before else None, sample) if one is not None]
        if not audiences:
            write_arrays(_counts(folder, day), dataclasses.asdict(counts))
            continue
        index = retrieval.build_index(world.retrieval, world.users.countries, world.catalogue, counts, day)
        if plan.bootstrapping(config, day):
            policy = Policy(popularity, PRODUCTION, shown, BOOTSTRAP_EXPLORATION)
        else:
            policy = Policy(trainers[own].publish(), PRODUCTION, shown, config.production.exploration)
        log = merged([traffic.serve(world, one, day, policy, index)[0] for one in audiences])
        for learner in learners if before else (own,):
            trainers[learner].fit(log, plan.training_key(config, day))
        counts = counts.updated(log, world.retrieval.log_decay)
        if day >= 0:
            write_arrays(_counts(folder, day), dataclasses.asdict(counts))
        if day == 0:
            for learner, trainer in trainers.items():
                (folder / learner.name).mkdir()
                trainer.save(folder / learner.name)
            write_arrays(folder / "installed.safetensors", {"installed": audience.installed})


def _fresh(config: Config, learner: plan.Learner) -> TrainableRanker:
    world = world_of(config)
    key = plan.training_key(config, -(10**6))
    return registry.create(learner.kind, world.apps, world.cardinalities, learner.parsed_settings(), key)


def _counts(folder: Path, day: int) -> Path:
    return folder / f"retrieval-{day:d}.safetensors"


def play(begin: Start, plan_of_world: Layout) -> Any:
    """The days of the experiment in one world: a table with a row per user, ascending.

    Its columns are `arm`, `unit`, `impressions`, `acquisitions` and `expected`; its metadata says how many
    impressions each arm was `trained` on.
    """
    import pyarrow as pa

    config, laid = begin.config, plan_of_world
    world, arms = world_of(config), list(config.arms)
    rows = {at: np.flatnonzero(laid.arm == at) for at in range(len(arms)) if (laid.arm == at).any()}
    audiences = {at: begin.audience(own) for at, own in rows.items()}
    trainers = {at: begin.trainer(arms[at]) for at in rows}
    totals = {name: np.zeros(len(begin.users)) for name in ("impressions", "acquisitions", "expected")}
    trained = dict.fromkeys(arms, 0)
    for day in config.days():
        index = begin.index(day)
        logs: dict[int, Log] = {}
        for at, audience in audiences.items():
            ranker: PublishedRanker | Corpus = trainers[at].publish()
            if laid.corpus is not None:
                ranker = Corpus(ranker, laid.corpus == at)
            policy = Policy(ranker, arms[at], config.experiment.shown)
            logs[at], truth = traffic.serve(world, audience, day, policy, index)
            _add(totals, begin.users, user_days(world, logs[at], truth))
        everything = merged(list(logs.values()))
        for at, trainer in trainers.items():
            log = merged([logs[at]]) if laid.own_log else everything
            if len(log):
                trainer.fit(log, plan.training_key(config, day))
            trained[arms[at]] += int(log.labels.size)
    columns = {
        "user_id": begin.users,
        "arm": laid.arm,
        "unit": laid.unit,
        "impressions": totals["impressions"].astype(np.int64),
        "acquisitions": totals["acquisitions"].astype(np.int64),
        "expected": totals["expected"],
    }
    return pa.table(columns).replace_schema_metadata({"trained": json.dumps(trained)})


def merged(logs: Sequence[Log]) -> Log:
    """Several logs of a day as one, rows ordered by request."""
    log = Log.concatenate(logs)
    return log.take(np.argsort(log.requests.request_id, kind="stable"))


def _add(totals: Mapping[str, Array], users: Array, seen: UserDays) -> None:
    at = np.searchsorted(users, seen.user_id)
    for name, total in totals.items():
        total[at] += getattr(seen, name)
