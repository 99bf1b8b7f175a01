"""One learner's night: read the day's log, train from a warm start, pass the gate, publish.

`learn` is a task. A learner's state is a function of the configuration and the logs: what is kept in memory
or in a checkpoint only saves the time of training again.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiment import faults, plan
from experiment.assignment import PRODUCTION
from experiment.config import Config
from experiment.daily import day_log
from experiment.folder import atomic
from experiment.folder.paths import RunPaths
from experiment.folder.tensors import write_arrays
from experiment.serving import published
from experiment.worlds import world_of
from models import registry
from models.gate import Limits, Verdict, judge, latency
from simulator.keys import Stream, uniform
from simulator.schema import Log, PublishedRanker, TrainableRanker

CHECKPOINT_DAYS = 7
"""Whole training states are kept every so many days; between them a resumed run trains again from the log."""

DRY_RUN_REQUESTS = 1024
"""Requests of the training log that a model is tried on where no traffic is held out."""


@dataclass(frozen=True, slots=True)
class LearnTask:
    """A learner and a night.

    Attributes:
        run: the run folder. config: the run's. learner: who trains. day: the night follows it.
        accepted: earlier days whose training counts, ascending; a refused night is undone.
        model_day: first day of the incumbent, the model that serves now; None before the first.
    """

    run: Path
    config: Config
    learner: plan.Learner
    day: int
    accepted: tuple[int, ...]
    model_day: int | None


@dataclass(frozen=True, slots=True)
class Learned:
    """What a `LearnTask` did.

    Attributes:
        learner, day: of the task.
        verdict: of the gate; None where no model was published that night.
        impressions: trained on.
        seconds: wall-clock time; it decides nothing.
        warnings: of the clock, on the published model; they decide nothing either.
    """

    learner: plan.Learner
    day: int
    verdict: Verdict | None
    impressions: int
    seconds: float
    warnings: tuple[str, ...] = ()


def learn(task: LearnTask) -> Learned:
    """Trains on `task.day`; publishes tomorrow's model if it serves anybody and the gate agrees."""
    started = time.perf_counter()
    config, day = task.config, task.day
    trainer = _trainer(task)
    if day == 0:
        _offline(task, trainer.publish())
    training, held_out = night_log(task.run, config, task.learner, day)
    if len(training):
        trainer.fit(training, plan.training_key(config, day))
    verdict: Verdict | None = None
    warnings: tuple[str, ...] = ()
    if len(training) == 0:
        verdict = Verdict(False, ("log: no rows to train on reached the night",))
    elif _serves_tomorrow(config, task.learner, day):
        candidate = faults.break_model(config, task.learner, day, trainer.publish())
        recorded = None if len(held_out) else training.requests.take(slice(0, DRY_RUN_REQUESTS))
        verdict = judge(candidate, _incumbent(task), held_out, _limits(config), recorded)
        if not config.gate.enabled:
            verdict = dataclasses.replace(verdict, accepted=True)
        if verdict.accepted:
            _publish(task, candidate)
            warnings = _warnings(config, candidate, held_out)
    if verdict is None or verdict.accepted:
        _trainers[task.run, task.learner.arms] = ((*task.accepted, day), trainer)
        if day % CHECKPOINT_DAYS == 0:
            _checkpoint(task, trainer)
    seconds = time.perf_counter() - started
    return Learned(task.learner, day, verdict, int(training.labels.size), seconds, warnings)


def _serves_tomorrow(config: Config, learner: plan.Learner, day: int) -> bool:
    if PRODUCTION in learner.arms and not plan.bootstrapping(config, day + 1):
        return True
    return day >= 0


def _incumbent(task: LearnTask) -> PublishedRanker | None:
    if task.model_day is None:
        return None
    return published(task.run, task.config, task.learner.arms[0], task.model_day)


def _limits(config: Config) -> Limits:
    gate = config.gate
    return Limits(
        gate.auc_margin, gate.log_loss_margin, gate.alpha, gate.calibration_min, gate.calibration_max,
        gate.score_limit, gate.memory_limit,
    )  # fmt: skip


def _warnings(config: Config, candidate: PublishedRanker, held_out: Log) -> tuple[str, ...]:
    """What the clock says of a candidate; it refuses nothing in a run, or no run could be repeated."""
    limit = config.gate.latency_limit
    if len(held_out) == 0:
        return ()
    found = latency(candidate, held_out.requests)
    return () if found <= limit else (f"dry run: {found:.1f} ms for one request, allowed are {limit:g}",)


_trainers: dict[tuple[Path, tuple[str, ...]], tuple[tuple[int, ...], TrainableRanker | None]] = {}


def _trainer(task: LearnTask) -> TrainableRanker:
    """The learner after the accepted nights: remembered, or from a checkpoint and the log since."""
    fitted, trainer = _remembered(task)
    if trainer is not None and fitted == task.accepted and task.config.experiment.warm_start:
        return trainer
    fitted, trainer = (), None
    if task.config.experiment.warm_start:
        fitted, trainer = _newest_checkpoint(task)
    return trained(task.run, task.config, task.learner.arms[0], task.accepted, len(fitted), trainer)


def trained(
    run: Path,
    config: Config,
    arm: str,
    nights: tuple[int, ...],
    done: int = 0,
    trainer: TrainableRanker | None = None,
) -> TrainableRanker:
    """The learner of `arm` after `nights`, trained from the log.

    Args:
        run: the run folder. config: the run's. arm: whose learner.
        nights: days whose training counts, ascending. done: of these, how many `trainer` has behind it.
        trainer: that goes on; a fresh one otherwise.
    """
    learner = plan.learner_of(config, arm, min(nights, default=0))
    if trainer is None:
        world = world_of(config)
        trainer = registry.create(
            learner.kind,
            world.apps,
            world.cardinalities,
            learner.parsed_settings(),
            plan.training_key(config, -(10**6)),
        )
    for day in nights[done:]:
        training, _ = night_log(run, config, plan.learner_of(config, arm, day), day)
        trainer.fit(training, plan.training_key(config, day))
    return trainer


def _remembered(task: LearnTask) -> tuple[tuple[int, ...], TrainableRanker | None]:
    """Takes what is remembered of the learner, and drops what it parted from."""
    found = _trainers.pop((task.run, task.learner.arms), ((), None))
    for run, arms in list(_trainers):
        if run != task.run or set(arms) & set(task.learner.arms):
            del _trainers[run, arms]
    return found


def _checkpoint(task: LearnTask, trainer: TrainableRanker) -> None:
    _save(trainer, RunPaths(task.run).checkpoint(task.learner.name, task.day))


def _save(model: TrainableRanker | PublishedRanker, path: Path) -> None:
    """Saves a model, unless a worker that was lost in the middle of the same task came as far as this."""
    if not path.is_dir():
        with atomic.new_folder(path) as folder:
            model.save(folder)


def _newest_checkpoint(task: LearnTask) -> tuple[tuple[int, ...], TrainableRanker | None]:
    fitted, folder = _saved(task)
    return fitted, None if folder is None else registry.load(folder, world_of(task.config).apps)


def _saved(task: LearnTask) -> tuple[tuple[int, ...], Path | None]:
    """The accepted days that the newest checkpoint knows, and its folder."""
    for place in range(len(task.accepted) - 1, -1, -1):
        day = task.accepted[place]
        if day % CHECKPOINT_DAYS != 0:
            continue
        learner = plan.learner_of(task.config, task.learner.arms[0], day)
        folder = RunPaths(task.run).checkpoint(learner.name, day)
        if folder.is_dir():
            return task.accepted[: place + 1], folder
    return (), None


def trained_again(task: LearnTask) -> tuple[int, ...]:
    """The days whose log the task would train on before its own, were nothing remembered in memory."""
    return task.accepted[len(_saved(task)[0]) :]


def _publish(task: LearnTask, model: PublishedRanker) -> None:
    for arm in task.learner.arms:
        _save(model, RunPaths(task.run).model(arm, task.day + 1))


def night_log(run: Path, config: Config, learner: plan.Learner, day: int) -> tuple[Log, Log]:
    """What the learner trains on, and the requests held out for the gate (none in the pre-period)."""
    log = day_log(run, config, learner.sources, day)
    held = np.zeros(len(log), bool)
    if day > 0 and config.gate.enabled:
        draw = uniform(config.seed, Stream.GATE_HOLDOUT, log.requests.user_id, day)
        held = draw < config.gate.holdout_share
    training = faults.break_log(config, learner, day, log.take(~held))
    return training, log.take(held)


def _offline(task: LearnTask, model: PublishedRanker) -> None:
    """Scores the holdout, day 0 of production's log, by a model that has not seen it.

    The model is kept: off-policy estimates are of it, and only production's own serves on that day.
    """
    if PRODUCTION not in task.learner.arms:
        _save(model, RunPaths(task.run).offline_model(task.learner.arms[0]))
    log = day_log(task.run, task.config, (PRODUCTION,), 0)
    scores = np.asarray(model.score(log.requests), np.float32)
    for arm in task.learner.arms:
        write_arrays(RunPaths(task.run).offline(arm), {"scores": scores})


def forget() -> None:
    """Drops what this process remembers of learners; it can be read again."""
    _trainers.clear()
