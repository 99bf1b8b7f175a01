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

    `worker_seconds` are wall-clock seconds of all workers by kind of work; what is left of `workers` times
    the run's seconds is refitting retrieval, measuring, analysing, starting and waiting for the slowest.

    Args:
        config: of the run. root: a folder in which it may lie. workers: processes.
    """
    settings = config.run.model_copy(update={"workers": workers})
    before = _cpu()
    report = running.run(config.model_copy(update={"run": settings}), root / "run").document
    cpu = _cpu() - before
    events = [json.loads(line) for line in (root / "run" / "events.jsonl").read_text("utf-8").splitlines()]
    shown = sum(event["impressions"] for event in events if event["event"] == "served")
    trained = sum(event["impressions"] for event in events if event["event"] == "learned")
    spent = {
        words: round(sum(event["seconds"] for event in events if event["event"] == kind), 2)
        for kind, words in TASKS.items()
    }
    seconds = report["run"]["clock"]["seconds"]
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
    }


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
