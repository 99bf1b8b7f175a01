"""What a warm start saves (Cheng et al. 2016, section 4.2): time to the same log loss, warm against cold.

Each night a new day of the log arrives. Warm: yesterday's model goes on over the new day alone. Cold: a fresh
model is trained on the last k days, for growing k, until it does as well on the next day, which is held out:

    python benchmarks/warm_start.py --seeds 0,1,2

Trained on all days, in their order, a cold model is the warm one, bit for bit; what is asked is how few do.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from experiment.bench.world import ProductionDay, default_config, production_days
from experiment.machine import Clock
from experiment.worlds import world_of
from models import evaluation, registry


def main() -> None:
    """Prints a line per model, then the ratio of times by seed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--kind", default="wide_deep")
    parser.add_argument("--users", type=int, default=40_000)
    parser.add_argument("--days", type=int, default=10)
    options = parser.parse_args()
    for seed in map(int, options.seeds.split(",")):
        config = default_config(seed)
        days = list(production_days(config, options.users, options.days))
        warm = night(config, days, options.kind, len(days) - 1)
        print(json.dumps({"seed": seed, **warm}), flush=True)
        for k in range(1, len(days)):
            cold = night(config, days[-1 - k :], options.kind, k, cold=True)
            print(json.dumps({"seed": seed, **cold}), flush=True)
            if cold["log_loss"] <= warm["log_loss"]:
                break
        ratio = cold["cpu_seconds"] / warm["cpu_seconds"]
        print(f"seed {seed}: cold needs {k} days and {ratio:.1f} times as long", flush=True)


def night(
    config: Any, days: list[ProductionDay], kind: str, learned: int, *, cold: bool = False
) -> dict[str, Any]:
    """CPU seconds of a night's training and the log loss on the last of `days`.

    Args:
        config: of the world. days: the first `learned` are trained on, the last is held out. kind: of ranker.
        learned: number of days. cold: whether all of them are the night's work, or only the last of them.
    """
    world = world_of(config)
    ranker = registry.create(kind, world.apps, world.cardinalities, {}, 1)
    clock = Clock()
    for place, one in enumerate(days[:learned]):
        if not cold and place == learned - 1:
            clock = Clock()
        ranker.fit(one.log, 1000 + one.day)
    seconds = clock.cpu()
    log = days[-1].log
    loss = evaluation.log_loss(log.labels, ranker.publish().score(log.requests))
    return {
        "start": "cold" if cold else "warm",
        "days": learned if cold else 1,
        "cpu_seconds": round(seconds, 2),
        "log_loss": round(loss, 5),
    }


if __name__ == "__main__":
    main()
