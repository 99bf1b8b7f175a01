"""The work that `bench simulate` times: days of visits served by one ranker, in one or several processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from experiment import plan
from experiment.bench.world import next_index, production_days
from experiment.config import Config
from experiment.executor import open_executor
from experiment.folder import atomic
from experiment.folder.tensors import read_arrays, write_arrays
from experiment.machine import Clock, Limits
from experiment.rankers import KINDS
from experiment.settings import RunSettings
from experiment.worlds import world_of
from models import registry
from models.scorer import Published
from simulator import traffic
from simulator.log import write_log, write_truth
from simulator.retrieval import Index
from simulator.schema import Log, Ranker
from simulator.traffic import Policy


@dataclass(slots=True)
class Stopwatch:
    """CPU seconds by stage; called with each stage as it ends."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.process_time)

    def __call__(self, stage: str) -> None:
        """Notes the seconds since the stage before as those of `stage`."""
        now = time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now


def unknown(rankers: list[str]) -> str:
    """What is wrong with the names of rankers, a line each; empty where nothing is."""
    allowed = [kind for kind in KINDS if kind in registry.kinds]
    wrong = [name for name in rankers if name not in allowed]
    return "\n".join(f"rankers: got {name!r}, allowed: {', '.join(allowed)}" for name in wrong)


def prepare(config: Config, rankers: list[str], users: int, days: int, root: Path) -> int:
    """Trains each ranker on production's log and leaves model, state and index under `root`.

    Returns:
        The impressions that each was trained on.
    """
    world = world_of(config)
    served = list(production_days(config, users, days))
    for kind in rankers:
        trainer = registry.create(kind, world.apps, world.cardinalities, {}, 0)
        for one in served:
            trainer.fit(one.log, plan.training_key(config, one.day))
        with atomic.new_folder(root / kind / "trainer") as folder:
            trainer.save(folder)
        with atomic.new_folder(root / kind / "model") as folder:
            trainer.publish().save(folder)
    index = next_index(world, served)
    write_arrays(root / "index.safetensors", {n: getattr(index, n) for n in Index.__slots__})
    return sum(int(one.log.labels.size) for one in served)


@dataclass(slots=True)
class _Day:
    """One day served: seconds in all, CPU seconds by stage, what was logged."""

    wall: float
    stages: dict[str, float]
    log: Log


def _server(config: Config, root: Path, ranker: Ranker, first: int, users: int) -> Callable[[int], _Day]:
    """A function that serves a day to users `first` .. and writes its log, as a run's shard does."""
    world = world_of(config)
    audience = traffic.arrive(world, np.arange(first, first + users, dtype=np.int64))
    index = Index(**read_arrays(root / "index.safetensors"))

    def serve(day: int) -> _Day:
        clock, watch = Clock(), Stopwatch()
        policy = Policy(ranker, f"bench/{day}", config.experiment.shown)
        log, truth = traffic.serve(world, audience, day, policy, index, watch)
        write_truth(root / "parts" / f"truth-{first}.parquet", truth)
        write_log(root / "parts" / f"log-{first}.parquet", log)
        watch("write")
        return _Day(clock.wall(), watch.seconds, log)

    return serve


def _model(config: Config, root: Path, kind: str) -> Ranker:
    return registry.load_published(root / kind / "model", world_of(config).apps)


def one_core(
    config: Config, root: Path, kind: str, users: int, repeats: int, limits: Limits
) -> dict[str, Any]:
    """Rates, stages and shares of the limits, in this process with one thread."""
    import torch

    torch.set_num_threads(1)
    model = _model(config, root, kind)
    serve = _server(config, root, model, 0, users)
    serve(1)
    days = [serve(day) for day in range(2, 2 + repeats)]
    visits = [len(day.log) for day in days]
    wall = median(day.wall / n for day, n in zip(days, visits, strict=True))
    cpu = median(sum(day.stages.values()) / n for day, n in zip(days, visits, strict=True))
    spent: dict[str, float] = {}
    for day in days:
        for stage, seconds in day.stages.items():
            spent[stage] = spent.get(stage, 0.0) + seconds
    shown, candidates = config.experiment.shown, config.retrieval.candidates
    operations = net_operations(model, candidates)
    score = spent["score"] / sum(visits)
    return {
        "visits": sum(visits),
        "impressions_per_second": round(shown / wall, 1),
        "visits_per_second": round(1 / wall, 1),
        "impressions_per_cpu_second": round(shown / cpu, 1),
        "visits_per_cpu_second": round(1 / cpu, 1),
        "us_per_visit": round(1e6 * cpu, 2),
        "stages": {stage: round(seconds / sum(spent.values()), 4) for stage, seconds in spent.items()},
        "gemm_ratio": round(operations / cpu / 1e9 / limits.gemm_gflops, 4),
        "score_gemm_ratio": round(operations / score / 1e9 / limits.gemm_gflops, 4),
        "copy_ratio": round(bytes_moved(days[0].log, candidates) / cpu / 1e9 / limits.copy_gb_per_second, 4),
    }


def net_operations(model: Ranker, candidates: int) -> float:
    """Additions and multiplications of the deep part for one visit: its layers for each candidate.

    The first layer's app side is a table that publishing builds, its user side is one row per visit; adding
    the two is one operation for each unit. 0 without a deep part.
    """
    arrays = model.arrays if isinstance(model, Published) else {}
    weights = {k.removeprefix("deep."): v.shape for k, v in arrays.items() if k.startswith("deep.")}
    if not weights:
        return 0.0
    layers = [shape for name, shape in weights.items() if name.startswith("layer")]
    units, inputs = weights["user1"]
    each = sum(2 * a * b for a, b in layers) + 2 * weights["out"][1] + 2 * units
    return float(2 * units * inputs + candidates * each)


def bytes_moved(log: Log, candidates: int) -> float:
    """Bytes that a visit must at least write: its candidates with sources and scores, its log and truth."""
    requests = log.requests
    own = sum(array.nbytes for array in requests.arrays().values())
    listed = sum(a.nbytes for a in (log.positions, log.sources, log.scores, log.labels, log.propensities))
    truth = log.labels.size * 12
    return float((own + listed + truth) / len(log) + candidates * 9)


def retraining(config: Config, root: Path, kind: str, users: int, repeats: int) -> dict[str, Any]:
    """Rates with the model retrained each night on the day's log, in this process with one thread."""
    world = world_of(config)
    trainer = registry.load(root / kind / "trainer", world.apps)
    wall, cpu = [], []
    for day in range(1, 2 + repeats):
        serve = _server(config, root, trainer.publish(), 0, users)
        clock = Clock()
        log = serve(day).log
        trainer.fit(log, plan.training_key(config, day))
        trainer.publish()
        wall.append(clock.wall() / log.labels.size)
        cpu.append(clock.cpu() / log.labels.size)
    return {
        "impressions_per_second": round(1 / median(wall[1:]), 1),
        "impressions_per_cpu_second": round(1 / median(cpu[1:]), 1),
    }


@dataclass(frozen=True, slots=True)
class _Share:
    """One process's users and days; `days` of 1 warm it up."""

    config: Config
    root: Path
    kind: str
    first: int
    users: int
    days: int


def _serve_share(share: _Share) -> tuple[int, float, float, float]:
    """Visits, when they began and ended (seconds of one clock for all processes), CPU seconds."""
    model = _model(share.config, share.root, share.kind)
    serve = _server(share.config, share.root, model, share.first, share.users)
    serve(1)
    began, clock, visits = time.monotonic(), Clock(), 0
    for day in range(2, 2 + share.days):
        visits += len(serve(day).log)
    return visits, began, time.monotonic(), clock.cpu()


def side_by_side(
    config: Config, root: Path, rankers: list[str], users: int, repeats: int, workers: int
) -> dict[str, dict[str, Any]]:
    """Rates of `workers` processes together, from the first one's start to the last one's end."""
    results = {}
    slots = list(range(workers))
    with open_executor(RunSettings(workers=workers), workers) as pool:
        pool.map(_serve_share, [_Share(config, root, rankers[0], k * users, 500, 1) for k in slots], slots)
        for kind in rankers:
            shares = [_Share(config, root, kind, k * users, users, repeats) for k in slots]
            done = pool.map(_serve_share, shares, slots)
            seconds = max(end for _, _, end, _ in done) - min(begin for _, begin, _, _ in done)
            visits, cpu = sum(n for n, *_ in done), sum(spent for *_, spent in done)
            results[kind] = {
                "workers": workers,
                "impressions_per_second": round(visits * config.experiment.shown / seconds, 1),
                "visits_per_second": round(visits / seconds, 1),
                "impressions_per_cpu_second": round(visits * config.experiment.shown / cpu, 1),
            }
    return results
