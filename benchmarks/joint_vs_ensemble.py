"""Joint training against an ensemble (Cheng et al. 2016, section 3.3), on production's log.

The paper: in an ensemble "each individual model size usually needs to be larger", while in joint training
"the wide part only needs to complement the weaknesses of the deep part with a small number of cross-product
feature transformations". Here the L1 strength of FTRL sets the size of the wide part, the network stays the
same, and day 0 is held out:

    python benchmarks/joint_vs_ensemble.py --seeds 0,1,2

An ensemble's parts know nothing of each other, so each is trained once and the log odds are averaged, which
is what the kind `ensemble` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiment.bench.world import ProductionDay, default_config, production_days
from experiment.machine import Clock
from experiment.worlds import world_of
from models import evaluation, registry
from models.settings import PAPER_CROSSES, RICH_CROSSES, EnsembleSettings

L1 = (1.0, 4.0, 16.0)
MEANS = ("expected_auc", "auc", "gauc", "log_loss", "wide_weights")


def main() -> None:
    """Prints a line per trained model, then the table over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--users", type=int, default=40_000)
    parser.add_argument("--days", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for seed in map(int, options.seeds.split(",")):
        config = default_config(seed)
        days = list(production_days(config, options.users, options.days))
        for row in compare(config, days):
            rows.append({"seed": seed, **row})
            print(json.dumps(rows[-1]), flush=True)
    print(summary(rows))


def compare(config: Any, days: list[ProductionDay]) -> Iterator[dict[str, Any]]:
    """AUC of day 0 and non-zero weights of both ways, for each strength of L1 and set of crosses."""
    test = days[-1]
    deep, _, _ = _trained(config, days, "deep", {})
    yield _row("deep", "", 0.0, deep, 0, test)
    for name, crosses in (("installed x app", PAPER_CROSSES), ("all crosses", RICH_CROSSES)):
        for l1 in L1 if crosses == PAPER_CROSSES else (1.0,):
            own = EnsembleSettings().wide.model_dump() | {"crosses": list(crosses), "l1": l1}
            settings: dict[str, Any] = {"wide": own}
            joint, size, seconds = _trained(config, days, "wide_deep", settings)
            yield _row("joint", name, l1, joint, size, test) | {"cpu_seconds": round(seconds, 1)}
            settings |= {"training": EnsembleSettings().training.model_dump()}
            wide, size, _ = _trained(config, days, "wide", settings)
            yield _row("ensemble", name, l1, (wide + deep) / 2, size, test)
            yield _row("wide", name, l1, wide, size, test)


def _trained(
    config: Any, days: list[ProductionDay], kind: str, settings: dict[str, Any]
) -> tuple[np.ndarray[Any, Any], int, float]:
    """Scores of the last day after training on the others, non-zero wide weights, CPU seconds of training."""
    world = world_of(config)
    ranker = registry.create(kind, world.apps, world.cardinalities, settings, 1)
    clock = Clock()
    for one in days[:-1]:
        ranker.fit(one.log, 1000 + one.day)
    seconds = clock.cpu()
    published = ranker.publish()
    nonzero = {k: v for k, v in published.meta["nonzero"].items() if k != "deep"}  # type: ignore[attr-defined]
    return published.score(days[-1].log.requests), sum(nonzero.values()), seconds


def _row(way: str, crosses: str, l1: float, scores: Any, size: int, test: ProductionDay) -> dict[str, Any]:
    labels = test.log.labels
    return {
        "way": way,
        "crosses": crosses,
        "l1": l1,
        "auc": round(evaluation.auc(labels, scores), 5),
        "expected_auc": round(evaluation.expected_auc(test.truth.probabilities, scores), 5),
        "gauc": round(evaluation.gauc(labels, scores), 5),
        "log_loss": round(evaluation.log_loss(labels, scores), 5),
        "wide_weights": size,
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: means over seeds, and the wide size that each way needs for the joint AUC."""
    lines = [
        "| way | crosses | l1 | expected AUC | AUC | GAUC | log loss | non-zero wide weights |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    seen: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in rows:
        seen.setdefault((row["way"], row["crosses"], row["l1"]), []).append(row)
    for (way, crosses, l1), group in seen.items():
        mean = {
            k: float(np.mean([r[k] for r in group]))
            for k in group[0]
            if k not in ("way", "crosses", "cpu_seconds")
        }
        lines.append(
            f"| {way} | {crosses or '-'} | {l1:g} | {mean['expected_auc']:.4f} | {mean['auc']:.4f} | "
            f"{mean['gauc']:.4f} | {mean['log_loss']:.5f} | {mean['wide_weights']:,.0f} |"
        )
    lines += ["", *needed(rows)]
    return "\n".join(lines)


def needed(rows: list[dict[str, Any]]) -> list[str]:
    """For each seed: the fewest wide weights with which each way reaches the best ensemble's expected AUC."""
    lines = []
    for seed in sorted({row["seed"] for row in rows}):
        own = [row for row in rows if row["seed"] == seed]
        goal = max(row["expected_auc"] for row in own if row["way"] == "ensemble")
        for way in ("joint", "ensemble"):
            enough = [r for r in own if r["way"] == way and r["expected_auc"] >= goal]
            least = min(enough, key=lambda r: r["wide_weights"], default=None)
            words = "never" if least is None else f"with {least['wide_weights']:,} wide weights"
            lines.append(f"seed {seed}: {way} reaches expected AUC {goal:.4f} {words}")
    return lines


if __name__ == "__main__":
    main()
