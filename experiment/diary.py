"""What a run has done so far: the users' counts, the gate's verdicts and the quality served, per day.

A finished day is two files and a line in the manifest; a run that is opened again reads them and goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiment import plan
from experiment.assignment import PRODUCTION
from experiment.config import Config
from experiment.daily import Measured, MeasureTask
from experiment.folder.paths import RunPaths, part
from experiment.folder.rundir import RunFolder
from experiment.indexing import RetrievalTask
from experiment.nightly import Learned, LearnTask, trained_again
from experiment.quality import Quality
from experiment.serving import Served, ServeTask, UserDays
from models.gate import Verdict
from simulator.schema import Array

FORMAT = 1
"""Version of a day's entry."""


@dataclass(slots=True)
class DayEntry:
    """One simulated day.

    Attributes:
        users: the visitors' counts by group. arms: who served them, by group.
        verdicts: of the gate in the night after it, by arm.
        trained: arms whose training of that night counts.
        quality: of the scores that were served, by arm.
    """

    users: dict[str, UserDays] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    trained: tuple[str, ...] = ()
    quality: dict[str, Quality] = field(default_factory=dict)


@dataclass(slots=True)
class Diary:
    """The days of a run; see `Diary.open`.

    Attributes:
        folder: of the run.
        days: entries by simulated day.
    """

    folder: RunFolder
    days: dict[int, DayEntry] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: RunFolder) -> Self:
        """The diary of the finished days; what an unfinished day left behind is deleted."""
        folder.discard_unfinished()
        diary = cls(folder)
        finished = folder.manifest.finished_day
        for day in plan.all_days(folder.config):
            if finished is not None and day <= finished:
                diary.days[day] = _read_entry(folder, day)
        return diary

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.folder.config

    def has(self, day: int) -> bool:
        """Whether `day` is finished."""
        finished = self.folder.manifest.finished_day
        return finished is not None and day <= finished

    def serve_task(self, shard: plan.Shard, day: int) -> ServeTask:
        """The task of serving a shard on `day`."""
        arm = plan.serving_arm(shard.group, day)
        return ServeTask(self.folder.path, self.config, shard, day, self.model_day(arm, day))

    def learn_task(self, learner: plan.Learner, day: int) -> LearnTask:
        """The task of a learner's night after `day`."""
        arm = learner.arms[0]
        accepted = tuple(d for d in sorted(self.days) if d < day and arm in self.days[d].trained)
        return LearnTask(self.folder.path, self.config, learner, day, accepted, self._incumbent(learner, day))

    def _incumbent(self, learner: plan.Learner, day: int) -> int | None:
        days = [self.model_day(arm, day) for arm in learner.arms]
        return max((d for d in days if d is not None), default=None)

    def retrieval_task(self, day: int) -> RetrievalTask:
        """The task of refitting retrieval after `day`."""
        return RetrievalTask(self.folder.path, self.config, day)

    def measure_task(self, arm: str, day: int, *, offline: bool = False) -> MeasureTask:
        """The task of measuring what an arm served on `day`, or its scores of the offline holdout."""
        return MeasureTask(self.folder.path, self.config, arm, day, offline)

    def model_day(self, arm: str, day: int) -> int | None:
        """First day of the model with which `arm` serves on `day`; None before its first model."""
        accepted = [
            d + 1
            for d, entry in self.days.items()
            if d < day and arm in entry.verdicts and entry.verdicts[arm].accepted
        ]
        return max(accepted, default=None)

    def served(self, day: int, results: Sequence[Served]) -> None:
        """Notes the visitors of a day."""
        entry = self.days.setdefault(day, DayEntry())
        for group in plan.groups(self.config):
            entry.users[group] = _joined([result.users for result in results if result.shard.group == group])
        for result in results:
            self._register_served(result.arm, day, result.shard.number)

    def _register_served(self, arm: str, day: int, number: int) -> None:
        paths = RunPaths(self.folder.path)
        self.folder.register(
            [
                paths.log(arm, day) / part(number),
                paths.truth(arm, day) / part(number),
                paths.audience(number, day),
            ]
        )

    def learned(self, day: int, results: Sequence[Learned]) -> None:
        """Notes the night after a day."""
        entry = self.days[day]
        paths = RunPaths(self.folder.path)
        trained: list[str] = []
        for result in results:
            accepted = result.verdict is None or result.verdict.accepted
            trained += result.learner.arms if accepted else ()
            files = [paths.checkpoint(result.learner.name, day)]
            for arm in result.learner.arms:
                files.append(paths.model(arm, day + 1))
                if day == 0:
                    files += [paths.offline(arm), paths.offline_model(arm)]
                if result.verdict is not None:
                    entry.verdicts[arm] = result.verdict
            self.folder.register([file for file in files if file.exists()])
        entry.trained = tuple(trained)
        self.folder.register([paths.retrieval(day)])

    def published(self, day: int) -> list[Path]:
        """The models that passed the gate in the night after a day."""
        paths, verdicts = RunPaths(self.folder.path), self.days[day].verdicts
        return [paths.model(arm, day + 1) for arm, verdict in verdicts.items() if verdict.accepted]

    def measured(self, day: int, results: Sequence[Measured]) -> None:
        """Notes the quality of what was served."""
        self.days[day].quality = {result.arm: result.quality for result in results}

    def finish(self, day: int) -> list[int]:
        """Writes the day's entry and lists all of its files as complete; yesterday's users' state may go.

        Returns:
            The days whose log went too, see `run.keep_log_days`.
        """
        paths = RunPaths(self.folder.path)
        self.folder.write_table(paths.user_days(day), _user_table(self.days[day], day))
        self.folder.write_json(paths.day_entry(day), _entry_document(self.days[day]))
        dropped = self._drop_log(day)
        self.folder.retire(self._outdated(day))
        self.folder.finish_day(day)
        return dropped

    def _drop_log(self, day: int) -> list[int]:
        """Retires the log of the days before the kept ones; day 0 of production's is the offline holdout."""
        keep, manifest = self.config.run.keep_log_days, self.folder.manifest
        if not keep:
            return []
        paths, first = RunPaths(self.folder.path), plan.all_days(self.config)[0]
        start = first if manifest.log_from_day is None else manifest.log_from_day
        stop = min([day + 1 - keep, *self._needed_again(day)])
        gone = list(range(start, stop))
        for old in gone:
            for arm in plan.serving_arms(self.config, old):
                if (arm, old) != (PRODUCTION, 0):
                    self.folder.retire([paths.log(arm, old), paths.truth(arm, old)])
        if gone:
            manifest.log_from_day = stop
        return gone

    def _needed_again(self, day: int) -> list[int]:
        """The days that a run which is resumed after `day` trains on again."""
        learners = plan.learners(self.config, day + 1)
        return [old for one in learners for old in trained_again(self.learn_task(one, day + 1))]

    def _outdated(self, day: int) -> list[Path]:
        """What a run that goes on after `day` no longer needs: yesterday's state, older checkpoints."""
        paths = RunPaths(self.folder.path)
        outdated = [paths.state(day - 1)]
        learners = plan.learners(self.config, day)
        if all(paths.checkpoint(learner.name, day).exists() for learner in learners):
            older = paths.checkpoints().glob("learner=*/day=*")
            outdated += [folder for folder in older if folder.name != f"day={day:d}"]
        return [path for path in outdated if path.exists()]

    def totals(self) -> dict[str, tuple[int, int]]:
        """Impressions and acquisitions of the finished days, by the arm that served."""
        found: dict[str, tuple[int, int]] = {}
        for day, entry in self.days.items():
            for group, users in entry.users.items():
                arm = plan.serving_arm(group, day)
                shown, acquired = found.get(arm, (0, 0))
                more = int(users.impressions.sum()), int(users.acquisitions.sum())
                found[arm] = shown + more[0], acquired + more[1]
        return found

    def user_columns(self, group: str, days: range) -> dict[str, Array]:
        """Rows of a group's users and the given days: `day` and the columns of `UserDays`."""
        entries = [(day, self.days[day].users[group]) for day in days if day in self.days]
        columns = {
            name.name: np.concatenate([getattr(users, name.name) for _, users in entries] or [np.zeros(0)])
            for name in dataclasses.fields(UserDays)
        }
        lengths = [len(users.user_id) for _, users in entries]
        columns["day"] = np.repeat(np.array([day for day, _ in entries], np.int32), lengths)
        return columns


def _joined(parts: Sequence[UserDays]) -> UserDays:
    return UserDays(
        **{
            column.name: np.concatenate([getattr(part, column.name) for part in parts])
            for column in dataclasses.fields(UserDays)
        }
    )


def _user_table(entry: DayEntry, day: int) -> Any:
    users = _joined(list(entry.users.values()))
    lengths = [len(group.user_id) for group in entry.users.values()]
    columns = {column.name: getattr(users, column.name) for column in dataclasses.fields(UserDays)}
    columns["group"] = np.repeat(np.array(list(entry.users)), lengths).tolist()
    columns["day"] = np.full(len(users.user_id), day, np.int32)
    return pa.table(columns)


def _entry_document(entry: DayEntry) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "groups": list(entry.users),
        "trained": list(entry.trained),
        "verdicts": {arm: dataclasses.asdict(verdict) for arm, verdict in entry.verdicts.items()},
        "quality": {arm: dataclasses.asdict(quality) for arm, quality in entry.quality.items()},
    }


def _read_entry(folder: RunFolder, day: int) -> DayEntry:
    paths = RunPaths(folder.path)
    document = folder.read_json(paths.day_entry(day))
    table = pq.read_table(folder.trusted(paths.user_days(day)), partitioning=None)
    of_group = np.array(table.column("group").to_pylist())
    columns = {c.name: table.column(c.name).to_numpy() for c in dataclasses.fields(UserDays)}
    users = {
        group: UserDays(**{name: values[of_group == group] for name, values in columns.items()})
        for group in document["groups"]
    }
    verdicts = {arm: Verdict(**_fields(verdict)) for arm, verdict in document["verdicts"].items()}
    quality = {arm: Quality(**_fields(measured)) for arm, measured in document["quality"].items()}
    return DayEntry(users, verdicts, tuple(document["trained"]), quality)


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    """A record's fields as they were before JSON made lists of its tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
