"""From a run's diary to its report."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiment import plan
from experiment.assignment import layer_of
from experiment.daily import measure
from experiment.diary import Diary
from experiment.executor import Executor
from experiment.folder.paths import RunPaths
from experiment.quality import Quality
from experiment.reporting import report
from experiment.reporting.outcomes import Outcomes, users_table
from experiment.reporting.report import ArmResult, GateEntry, Report
from experiment.stats.forecast import Forecast, forecast


def conclude(diary: Diary, workers: Executor, clock: dict[str, Any], stopped: str | None) -> Report:
    """The report of the days that were run.

    Args:
        diary: of the run. workers: measure the offline holdout. clock: wall-clock times to report.
        stopped: why the run ended early, if it did.
    """
    config = diary.config
    learned = [arm for arm in config.arms if config.arms[arm].kind not in plan.REFERENCE_KINDS]
    tasks = [diary.measure_task(arm, 0, offline=True) for arm in learned]
    measured = workers.map(measure, tasks, list(range(len(tasks))))
    offline = {result.arm: result.quality for result in measured}
    days = [day for day in config.days() if day in diary.days]
    gate = [
        GateEntry(day, arm, verdict)
        for day, entry in sorted(diary.days.items())
        for arm, verdict in entry.verdicts.items()
    ]
    results = arm_results(diary, offline)
    outcomes = {result.name: Outcomes.of(result.window, result.pre) for result in results}
    diary.folder.write_table(RunPaths(diary.folder.path).users(), users_table(outcomes))
    built = report.build(config, results, days, gate, clock, stopped, foresee(diary))
    if diary.folder.manifest.log_from_day is not None:
        built.document["run"]["log_from_day"] = diary.folder.manifest.log_from_day
    return built


def arm_results(diary: Diary, offline: dict[str, Quality]) -> list[ArmResult]:
    """What each arm did so far, with the quality of its first model where it is known."""
    config = diary.config
    layer = layer_of(config)
    return [
        ArmResult(
            name=arm,
            assigned=layer.size(arm),
            window=diary.user_columns(arm, config.days()),
            pre=diary.user_columns(arm, config.pre_days()),
            offline=offline.get(arm),
            served={day: entry.quality[arm] for day, entry in diary.days.items() if arm in entry.quality},
        )
        for arm in config.arms
    ]


def foresee(diary: Diary) -> Forecast | None:
    """What the experiment will be able to see, told from the days on which production's ranker served."""
    config, layer = diary.config, layer_of(diary.config)
    days = [day for day in config.pre_days() if day in diary.days and not plan.bootstrapping(config, day)]
    if not days:
        return None
    rows = [diary.user_columns(arm, range(days[0], days[-1] + 1)) for arm in config.arms]
    at = np.concatenate([columns["day"] for columns in rows]) - days[0]
    users, place = np.unique(np.concatenate([columns["user_id"] for columns in rows]), return_inverse=True)
    acquired, shown = np.zeros((2, len(days), len(users)))
    acquired[at, place] = np.concatenate([columns["acquisitions"] for columns in rows])
    shown[at, place] = np.concatenate([columns["impressions"] for columns in rows])
    sizes = [layer.size(arm) for arm in config.arms]
    return forecast(
        acquired,
        shown,
        sampled=sum(sizes),
        users=round(sum(sizes) / len(sizes)),
        days=config.experiment.days,
        pre_days=config.experiment.pre_days,
        alpha=config.experiment.alpha,
    )


def decided(diary: Diary, day: int) -> bool:
    """Whether each arm's always-valid p-value against the control, after Holm, is below alpha after `day`.

    Only the last finished day is looked at: the others were, when they ended, and the run went on. After the
    last planned day nothing is stopped early, and the figures of a fixed end hold.
    """
    days = [one for one in diary.config.days() if one in diary.days]
    if not days or day != days[-1] or day >= diary.config.experiment.days:
        return False
    analysis = report.analyse(diary.config, arm_results(diary, {}), days)
    return report.decided(diary.config, analysis)
