"""Production's last day before the experiment, with what it logged and what it could have shown.

The log has the shown apps only. Who asked, for which candidates and with which of production's scores follows
from configuration, log and published model, and is held against the log, as in `experiment.truth.replay`.
Targets are the models behind the offline AUC: they have not seen the day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiment import nightly, plan
from experiment.assignment import PRODUCTION
from experiment.config import Config
from experiment.daily import day_log
from experiment.errors import BadInput
from experiment.folder.paths import RunPaths, part
from experiment.folder.tensors import read_arrays
from experiment.offpolicy.estimators import decay_of
from experiment.published import load_model
from experiment.serving import policy_of
from experiment.truth.replay import ReplayError, arrived
from experiment.worlds import world_of
from simulator import exploration, retrieval
from simulator.log import read_log
from simulator.population import Profiles
from simulator.schema import Array, Log, PublishedRanker, Ranker, Requests
from simulator.traffic import score_in_blocks
from simulator.world import World, with_apps

if TYPE_CHECKING:
    from experiment.folder.rundir import RunFolder

HOLDOUT = 0
"""The day: the offline holdout."""


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """One shard's requests of the day.

    Attributes:
        requests: with candidates int32[B, C]. profiles: of the shard's users. rows: int64[B], into them.
        log: what was shown, in the same order. slate: int64[B, S], its columns among the candidates.
        scores: float32[B, C], production's. chances: float32[B, S, S], of each shown app at each position.
    """

    requests: Requests
    profiles: Profiles
    rows: Array
    log: Log
    slate: Array
    scores: Array
    chances: Array


@dataclass(frozen=True, slots=True)
class Responses:
    """What the days before say of production's predictions: acquisitions = scale exp(-decay s) predicted.

    Attributes:
        scale, decay: see `estimators.decay_of`.
    """

    scale: float
    decay: float

    def theta(self, positions: int) -> Array:
        """Examination of the positions, float64[S], 1 at the top."""
        return np.asarray(np.exp(-self.decay * np.arange(positions)))

    def predicted(self, scores: Array) -> Array:
        """Chance of acquisition of apps with production's log odds `scores` [B, S], in order of position."""
        from scipy.special import expit

        chance = self.scale * expit(scores.astype(np.float64)) * self.theta(scores.shape[1])
        return np.asarray(np.minimum(chance, 1.0))


def refuse_unfit(config: Config, path: Path) -> None:
    """Raises BadInput for a run whose production did not explore, or had no model before the day."""
    if config.production.exploration <= 0:
        raise BadInput(f"{path}: got a run with production.exploration = 0, allowed: more than 0")
    if all(plan.bootstrapping(config, day) for day in range(config.pre_days()[0], HOLDOUT)):
        least = config.production.bootstrap_days + 2
        raise BadInput(
            f"{path}: got a run with experiment.pre_days = {config.experiment.pre_days}, allowed: {least} or "
            "more, so that production's model has served before the day that is held out"
        )


def logged_day(folder: RunFolder) -> Iterator[Logged]:
    """The day, shard by shard.

    Raises:
        ReplayError: what is worked out is not what was logged.
    """
    from experiment.truth.command import model_day

    config, run = folder.config, folder.path
    world = world_of(config)
    policy = policy_of(run, config, PRODUCTION, HOLDOUT, model_day(folder, PRODUCTION, HOLDOUT))
    index = _index(run, config, world)
    for shard in plan.shards(config):
        audience = arrived(run, world, config, shard, HOLDOUT)
        rows = world.visitors(audience.profiles, HOLDOUT)
        requests, _ = world.requests(audience.profiles, rows, audience.installed, HOLDOUT, index)
        path = RunPaths(run).log(PRODUCTION, HOLDOUT) / part(shard.number)
        log = read_log(path, config.users.installed_capacity)
        scores = score_in_blocks(policy.ranker, requests)
        slate = _columns(requests, log, scores, str(path))
        chances = chances_by_position(scores, slate, policy.exploration)
        yield Logged(requests, audience.profiles, rows, log, slate, scores, chances)


def _index(run: Path, config: Config, world: World) -> retrieval.Index:
    """What retrieval knew on the day: production's log of the days before."""
    counts = retrieval.Counts.empty()
    for day in range(config.pre_days()[0], HOLDOUT):
        counts = counts.updated(day_log(run, config, (PRODUCTION,), day), world.retrieval.log_decay)
    return retrieval.build_index(world.retrieval, world.users.countries, world.catalogue, counts, HOLDOUT)


def _columns(requests: Requests, log: Log, scores: Array, where: str) -> Array:
    """int64[B, S]: where the shown apps stand among the candidates. Raises ReplayError."""
    same = np.array_equal(requests.request_id, log.requests.request_id)
    if same and len(log):
        found = requests.apps[:, None, :] == log.requests.apps[:, :, None]
        slate = found.argmax(axis=2)
        shown = np.take_along_axis(scores, slate, axis=1)
        if found.any(axis=2).all() and np.array_equal(shown, log.scores):
            return np.asarray(slate)
    elif same:
        return np.zeros(log.requests.apps.shape, np.int64)
    raise ReplayError(
        f"offpolicy: got requests that differ from {where}, allowed: the logged rows bit for bit; the run "
        "was made by another version of the program, or on another kind of processor"
    )


def chances_by_position(scores: Array, slate: Array, scale: float) -> Array:
    """float32[B, S, S]: chance of the app in slot s of `slate` to be shown at position p.

    `exploration.propensities` asks of a slate how likely each app stands where it does; the chances are over
    all candidates, whatever else the slate holds, so that a slate turned round by r asks about s - r.
    """
    S = slate.shape[1]
    chances = np.empty((*slate.shape, S), np.float32)
    slots = np.arange(S)
    for turn in range(S):
        at = (slots + turn) % S
        chances[:, at, slots] = exploration.propensities(scores, slate[:, at], scale)
    return chances


def responses(folder: RunFolder) -> Responses:
    """How production's predictions and positions turned into acquisitions on the days before."""
    from scipy.special import expit

    config = folder.config
    sums = np.zeros((2, config.experiment.shown))
    for day in range(config.pre_days()[0], HOLDOUT):
        if not plan.bootstrapping(config, day):
            log = day_log(folder.path, config, (PRODUCTION,), day)
            sums += np.stack([log.labels.sum(axis=0), expit(log.scores.astype(np.float64)).sum(axis=0)])
    return Responses(*decay_of(*sums))


def targets(folder: RunFolder) -> dict[str, PublishedRanker]:
    """By learning arm, the model behind its offline AUC, trained again where it was not kept.

    Raises:
        ReplayError: its scores of the holdout are not those that the run wrote.
    """
    from experiment.truth.command import model_day

    config, run = folder.config, folder.path
    world = world_of(config)
    holdout = day_log(run, config, (PRODUCTION,), HOLDOUT)
    found: dict[str, PublishedRanker] = {}
    for learner in plan.learners(config, HOLDOUT):
        arms = [arm for arm in learner.arms if arm != PRODUCTION]
        if not arms:
            continue
        kept = RunPaths(run).offline_model(arms[0])
        if PRODUCTION in learner.arms and (first := model_day(folder, PRODUCTION, HOLDOUT)) is not None:
            kept = RunPaths(run).model(PRODUCTION, first)
        if kept.is_dir():
            model = load_model(kept, world, learner.kind, learner.parsed_settings())
        else:
            model = nightly.trained(run, config, arms[0], _accepted(folder, arms[0])).publish()
        scores = np.asarray(model.score(holdout.requests), np.float32)
        for arm in arms:
            if not np.array_equal(scores, read_arrays(RunPaths(run).offline(arm))["scores"]):
                raise ReplayError(
                    f"offpolicy: got a model of {arm} that scores the holdout otherwise than the run did, "
                    "allowed: the same bits; the run was made by another version of the program"
                )
            found[arm] = model
    return {arm: found[arm] for arm in config.arms if arm in found}


def _accepted(folder: RunFolder, arm: str) -> tuple[int, ...]:
    """The nights before the day whose training counts."""
    import json

    days = range(folder.config.pre_days()[0], HOLDOUT)
    entries = {
        day: json.loads(folder.trusted(RunPaths(folder.path).day_entry(day)).read_text("utf-8"))
        for day in days
    }
    return tuple(day for day, entry in entries.items() if arm in entry["trained"])


def slates_of(ranker: Ranker, config: Config, day: Logged) -> Array:
    """int64[B, S]: the columns that a ranker shows of each request, best first."""
    requests = day.requests
    scores = score_in_blocks(ranker, requests)
    return exploration.slates(
        config.seed, requests.user_id, requests.sim_day, requests.apps, scores, day.slate.shape[1], 0.0
    )


def true_chances(config: Config, day: Logged, slate: Array) -> Array:
    """float64[B, S]: the true chance of acquisition of what a slate shows; no estimator sees it."""
    world = world_of(config)
    shown = with_apps(day.requests, np.take_along_axis(day.requests.apps, slate, axis=1))
    odds, _ = world.log_odds(day.profiles, day.rows, shown)
    return world.respond(shown, odds)[0]
