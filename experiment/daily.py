"""A day's log read back: the observed rows, the truth beside them, and the quality of what was served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiment.assignment import PRODUCTION
from experiment.config import Config
from experiment.folder.paths import RunPaths
from experiment.folder.tensors import read_arrays
from experiment.quality import Quality, assess
from simulator.log import read_log, read_truth
from simulator.schema import Log, Truth


def day_log(run: Path, config: Config, arms: tuple[str, ...], day: int) -> Log:
    """The observed log of `arms` on `day`, rows ordered by request so that shards never show."""
    capacity = config.users.installed_capacity
    log = Log.concatenate(
        [read_log(path, capacity) for arm in arms for path in _parts(RunPaths(run).log(arm, day))]
    )
    return log.take(np.argsort(log.requests.request_id, kind="stable"))


def day_truth(run: Path, arms: tuple[str, ...], day: int) -> Truth:
    """The truth of the same requests, in the same order as `day_log`."""
    truth = Truth.concatenate(
        [read_truth(path) for arm in arms for path in _parts(RunPaths(run).truth(arm, day))]
    )
    return truth.take(np.argsort(truth.request_id, kind="stable"))


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """An arm's day, to be measured from its log and the truth.

    Attributes:
        offline: measure the arm's scores of the offline holdout (day 0 of production's log) instead.
    """

    run: Path
    config: Config
    arm: str
    day: int
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """The quality of an arm's scores on a day of traffic."""

    arm: str
    day: int
    quality: Quality


def measure(task: MeasureTask) -> Measured:
    """Measures what the arm served on that day, or its scores of the holdout."""
    source = (PRODUCTION,) if task.offline else (task.arm,)
    log = day_log(task.run, task.config, source, task.day)
    truth = day_truth(task.run, source, task.day)
    scores = read_arrays(RunPaths(task.run).offline(task.arm))["scores"] if task.offline else log.scores
    return Measured(task.arm, task.day, assess(scores, log, truth))
