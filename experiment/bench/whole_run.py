"""A whole run in `bench simulate`: all days served and logged, arms side by side, retrained every night."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from experiment import running
from experiment.config import Config

TASKS = {"served": "serving", "learned": "training"}
"""Events of a run's journal whose seconds are a worker's, and what they are called here."""


def whole_run(config: Config, root: Path, workers: int) -> dict[str, Any]:
    """Rates of a run from its start to its report, the pre-period included, and what its workers did.

    `impressions_per_second` counts what was shown; in the pre-period every arm trains on all of production's
    log, in the experiment on its own, so `pre_period` and `experiment` tell the two apart.

    `worker_seconds` are wall-clock seconds of all workers by kind of work; what is left of `workers` times
    the run's seconds is refitting retrieval, measuring, analysing, starting and waiting for the slowest.

    Args:
        config: of the run. root: a folder in which it may lie. workers: processes.
    """
    settings = config.run.model_copy(update={"workers": workers})
    before = _cpu()
    running.run(config.model_copy(update={"run": settings}), root / "run")
    cpu = _cpu() - before
    events = [json.loads(line) for line in (root / "run" / "events.jsonl").read_text("utf-8").splitlines()]
    days = [event for event in events if event["event"] in TASKS]
    shown = sum(event["impressions"] for event in events if event["event"] == "served")
    trained = sum(event["impressions"] for event in events if event["event"] == "learned")
    spent = {
        words: round(sum(event["seconds"] for event in events if event["event"] == kind), 2)
        for kind, words in TASKS.items()
    }
    seconds = round(events[-1]["wall_s"] - events[0]["wall_s"], 3)  # the clock stops before the analysis
    spent["other"] = round(max(workers * seconds - sum(spent.values()), 0.0), 2)
    return {
        "preset": config.preset,
        "arms": list(config.arms),
        "days": len(config.pre_days()) + len(config.days()),
        "workers": workers,
        "impressions": shown,
        "impressions_trained": trained,
        "seconds": seconds,
        "cpu_seconds": round(cpu, 2),
        "impressions_per_second": round(shown / seconds, 1),
        "visits_per_second": round(shown / config.experiment.shown / seconds, 1),
        "impressions_per_cpu_second": round(shown / cpu, 1),
        "worker_seconds": spent,
        "pre_period": _phase([event for event in days if event["sim_day"] <= 0], events[0]["wall_s"]),
        "experiment": _phase(
            [event for event in days if event["sim_day"] > 0],
            max(event["wall_s"] for event in days if event["sim_day"] <= 0),
        ),
    }


def _phase(events: list[dict[str, Any]], began: float) -> dict[str, float]:
    """Impressions shown and trained on in some days of a run, and the wall-clock seconds of these days."""
    shown, trained = (
        sum(event["impressions"] for event in events if event["event"] == kind) for kind in TASKS
    )
    seconds = max(event["wall_s"] for event in events) - began
    return {
        "impressions": shown,
        "impressions_trained": trained,
        "seconds": round(seconds, 4),
        "impressions_per_second": round(shown / seconds, 1),
        "impressions_trained_per_second": round(trained / seconds, 1),
    }


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
