"""What the loop tells while it works, kept in the run folder and shown to whoever watches.

The loop calls `Progress.served` and `Progress.learned` with each result. From them come `status.json`,
`events.jsonl` and a display: bars on a terminal, a line per simulated day elsewhere, or nothing.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from experiment import plan, program
from experiment.folder.journal import Journal

if TYPE_CHECKING:
    from experiment.folder.rundir import RunFolder
    from experiment.nightly import Learned
    from experiment.serving import Served
    from experiment.stats.forecast import Forecast

STATUS_SECONDS = 0.5
"""The status is written at most so often."""


class Display(Protocol):
    """Shows a run's progress; a context manager."""

    def show(self, progress: Progress) -> None:
        """Something has changed."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress:
    """Counts what has been done.

    Attributes:
        days: all simulated days of the run.
        phase: what goes on now, in a word. sim_day: of what was done last.
        impressions, acquisitions: of this session, by arm.
        seconds: of this session.
        other_code: whether not all of the run's days come from the same code.
        forecast: of what the experiment will be able to see; None before its first day.
    """

    def __init__(self, folder: RunFolder, journal: Journal, display: Display | None = None) -> None:
        config = folder.config
        self.config = config
        self.days = plan.all_days(config)
        self.phase = "starting"
        self.sim_day = self.days[0]
        self.impressions: Counter[str] = Counter()
        self.acquisitions: Counter[str] = Counter()
        self.forecast: Forecast | None = None
        self._folder, self._journal, self._display = folder, journal, display
        self._began = time.monotonic()
        self._written = 0.0
        self._shards = Counter(shard.group for shard in plan.shards(config))
        self._served: Counter[tuple[str, int]] = Counter()
        finished = folder.manifest.finished_day
        self._resumed = 0 if finished is None else finished - self.days[0] + 1
        self._before: dict[str, tuple[int, int]] = {}
        units = [self._shards.total() + len(plan.learners(config, day)) for day in self.days]
        self._whole, self._done_before, self._done = sum(units), sum(units[: self._resumed]), 0
        before = journal.status.get("programs", ["unknown"]) if self._resumed else []
        ours = f"{program.fingerprint(program.NO_DAYS)}{program.rankers(config)}"
        journal.status["programs"] = list(dict.fromkeys([*before, ours]))
        self.other_code = len(journal.status["programs"]) > 1
        kind = "resumed" if self._resumed else "started"
        journal.event(kind, sim_day=finished, arms=list(config.arms), other_code=self.other_code)
        self._tell("starting", self.sim_day, now=True)

    def goes_on(self, totals: Mapping[str, tuple[int, int]]) -> None:
        """Earlier sessions have finished days with so many impressions and acquisitions, by arm."""
        self._before = dict(totals)
        self._tell("starting", self.sim_day, now=True)

    def served(self, result: Served) -> None:
        """A shard's visits of a day have been served and logged."""
        users = result.users
        impressions, acquisitions = int(users.impressions.sum()), int(users.acquisitions.sum())
        self.impressions[result.arm] += impressions
        self.acquisitions[result.arm] += acquisitions
        self._served[result.shard.group, result.day] += 1
        self._done += 1
        self._journal.event(
            "served",
            arm=result.arm,
            group=result.shard.group,
            shard=result.shard.number,
            sim_day=result.day,
            impressions=impressions,
            acquisitions=acquisitions,
            seconds=round(result.seconds, 3),
        )
        self._tell("serving", result.day)

    def learned(self, result: Learned) -> None:
        """A learner has trained on a day, and its model has been through the gate."""
        verdict = result.verdict
        self._done += 1
        self._journal.event(
            "learned",
            arms=list(result.learner.arms),
            sim_day=result.day,
            impressions=result.impressions,
            seconds=round(result.seconds, 3),
            accepted=None if verdict is None else verdict.accepted,
            reasons=[] if verdict is None else list(verdict.reasons),
            warnings=list(result.warnings),
        )
        self._tell("training", result.day)

    def foreseen(self, forecast: Forecast | None) -> None:
        """The pre-period is done: what the experiment will be able to see."""
        if forecast is not None:
            self.forecast = forecast
            self._journal.event("foreseen", **dataclasses.asdict(forecast))
            self._tell("foreseeing", 0)

    def finished(self, day: int, dropped: Sequence[int]) -> None:
        """A day is done; the log of the days `dropped` is gone, as the configuration wants it."""
        if dropped:
            self._journal.event(
                "dropped",
                sim_day=day,
                log_days=list(dropped),
                log_from_day=self._folder.manifest.log_from_day,
            )

    def analysing(self) -> None:
        """All days are done; the report is being made."""
        self._tell("analysing", self.days[-1], now=True)

    @property
    def seconds(self) -> float:
        """Of this session."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Impressions per second of this session."""
        return self.impressions.total() / max(self.seconds, 1e-9)

    @property
    def share(self) -> float:
        """Share of the run's work that is done, 0 to 1: shards served and nights learned."""
        return (self._done_before + self._done) / self._whole

    @property
    def seconds_left(self) -> float | None:
        """Of the whole run, at the pace of this session; None before its first day is done."""
        if self._done < self._whole / len(self.days):
            return None
        return (1.0 - self.share) * self._whole / self._done * self.seconds

    def group_share(self, group: str) -> float:
        """Share of the experiment's days that the group has been served, 0 to 1."""
        days = self.config.days()
        done = sum(self._served[group, day] for day in days) / max(self._shards[group], 1)
        return min(1.0, (done + max(0, self._resumed - self.config.experiment.pre_days)) / len(days))

    @property
    def pre_share(self) -> float:
        """Share of the pre-period that is done, 0 to 1."""
        days = self.config.pre_days()
        done = sum(self._served[group, day] for group in self._shards for day in days)
        return min(1.0, (done / self._shards.total() + self._resumed) / len(days))

    def _tell(self, phase: str, day: int, *, now: bool = False) -> None:
        self.phase, self.sim_day = phase, day
        if now or time.monotonic() - self._written > STATUS_SECONDS:
            self._written = time.monotonic()
            self._journal.update(
                phase=phase,
                sim_day=day,
                finished_day=self._folder.manifest.finished_day,
                share=round(self.share, 4),
                impressions=sum(shown for shown, _ in self._before.values()) + self.impressions.total(),
                arms=self._arms(),
            )
        if self._display is not None:
            self._display.show(self)

    def _arms(self) -> dict[str, dict[str, int]]:
        """What each arm has shown and acquired, in the finished days of earlier sessions and in this one."""
        found = {}
        for arm in dict.fromkeys((*self._before, *self.impressions)):
            shown, acquired = self._before.get(arm, (0, 0))
            found[arm] = {
                "impressions": shown + self.impressions[arm],
                "acquisitions": acquired + self.acquisitions[arm],
            }
        return found
