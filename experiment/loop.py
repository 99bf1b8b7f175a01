"""The story: an online experiment, from the first day of the pre-period to its report.

For each day: who visits -> which arm -> candidates -> rank -> respond -> log. Each night: data -> train ->
gate -> publish. At the end: analyse. The parts are tasks over the run folder (`serving`, `nightly`,
`indexing`, `daily`), so a run goes on after its last finished day as if it had never stopped.
"""

from __future__ import annotations

import time

from experiment import analysis, plan
from experiment.daily import measure
from experiment.diary import Diary
from experiment.executor import Executor, balanced, open_executor
from experiment.folder.rundir import RunFolder
from experiment.indexing import refit_retrieval
from experiment.nightly import learn
from experiment.progress import Progress
from experiment.reporting.report import Report
from experiment.serving import serve_shard


def run(folder: RunFolder, progress: Progress) -> Report:
    """Runs the experiment of `folder`, or goes on with it, and writes its report.

    Args:
        folder: of the run, locked by this process. progress: is told of each finished task.

    Raises:
        WorkerLostError: a worker process died; finished days are kept.
        BadInput: there is no such executor here, see `open_executor`.
    """
    config, began = folder.config, time.time()
    with open_executor(config.run, len(plan.shards(config)), folder.path) as workers:
        diary, stopped = Diary.open(folder), None
        progress.goes_on(diary.totals())
        for day in plan.all_days(config):
            if not diary.has(day):
                serve_day(diary, workers, day, progress)
                learn_overnight(diary, workers, day, progress)
                progress.finished(day, diary.finish(day))
            if day == 0:
                progress.foreseen(analysis.foresee(diary))
            if config.experiment.stop_when == "decided" and analysis.decided(diary, day):
                stopped = f"decided on day {day}: each always-valid p-value is below alpha after Holm"
                break
        progress.analysing()
        clock = {"started_wall_s": round(began, 3), "seconds": round(time.time() - began, 3)}
        report = analysis.conclude(diary, workers, clock, stopped)
    folder.finish(report.document, report.markdown())
    return report


def serve_day(diary: Diary, workers: Executor, day: int, progress: Progress) -> None:
    """Every visit of the day is served by the model of its user's arm, and logged."""
    tasks = [diary.serve_task(shard, day) for shard in plan.shards(diary.config)]
    costs = [plan.serving_cost(diary.config, task.shard, day) for task in tasks]
    slots = balanced(costs, workers.workers)
    diary.served(day, workers.map(serve_shard, tasks, slots, progress.served))


def learn_overnight(diary: Diary, workers: Executor, day: int, progress: Progress) -> None:
    """Each learner trains on the day's log; what passes the gate serves from tomorrow."""
    workers.map(refit_retrieval, [diary.retrieval_task(day)], [0])
    nights = [diary.learn_task(learner, day) for learner in plan.learners(diary.config, day)]
    costs = [plan.learning_cost(diary.config, night.learner, day) for night in nights]
    diary.learned(day, workers.map(learn, nights, balanced(costs, workers.workers), progress.learned))
    workers.share(diary.published(day))
    served = [diary.measure_task(arm, day) for arm in plan.serving_arms(diary.config, day)]
    diary.measured(day, workers.map(measure, served, list(range(len(served)))))
