"""`storelift bench train`: examples learned per second, beside the machine's limits and beside others.

`request_level` trains the default rankers, day by day, on production's log of the default world; `table`
trains the models of `WideDeepClassifier` on rows of ten categorical columns, five dense ones and a cross;
`ftrl` is the linear learner alone; `peers` train the same network on the same rows where they are installed.
One thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment.bench.command import Json, dump, table

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.machine import Limits

KINDS = ("wide", "deep", "wide_deep")
FIRST_TEST_ROW = 10**9


def register(bench: typer.Typer) -> None:
    """Adds `bench train`."""

    @bench.command("train")
    def train(
        as_json: Json = False,
        users: Annotated[int, typer.Option(min=200, help="Users of production's log.")] = 20_000,
        days: Annotated[int, typer.Option(min=3, help="Days of it; the last one is held out.")] = 4,
        rows: Annotated[int, typer.Option(min=2000, help="Rows of the table.")] = 100_000,
        repeats: Annotated[int, typer.Option(min=1, help="Epochs of the table; figures are medians.")] = 3,
        peers: Annotated[bool, typer.Option(help="Whether to train the others, where they are.")] = True,
        seed: Annotated[int, typer.Option(min=0, help="Draws the world, the users and the table.")] = 0,
        preset: Annotated[str | None, typer.Option(help="Of which preset the world is.")] = None,
    ) -> None:
        """Train each kind of model on requests and on a table."""
        from experiment.bench.world import default_config

        document = measure(default_config(seed, preset), users, days, rows, repeats, peers=peers)
        if as_json:
            dump(document)
        else:
            show(document)


def measure(
    config: Config, users: int, days: int, rows: int, repeats: int, *, peers: bool = True
) -> dict[str, Any]:
    """The document of `bench train --json`.

    Args:
        config: its world gives the log. users: of the log. days: of it, the last one held out.
        rows: of the table; a fifth as many are held out. repeats: epochs that count.
        peers: whether to train those of `benchmarks/peers.py` that are installed.
    """
    import os

    import torch

    from experiment.bench import peers as bench_peers
    from experiment.bench import table as bench_table
    from experiment.machine import limits

    torch.set_num_threads(1)
    found = limits()
    requests = request_level(config, users, days, found)
    own = bench_table.make(rows, config.seed)
    test = bench_table.make(max(rows // 5, 1000), config.seed, FIRST_TEST_ROW)
    data = bench_table.Prepared(own, test)
    tables: dict[str, Any] = {}
    for kind in KINDS:
        for precision in ("fp32",) if kind == "wide" else ("fp32", "bf16"):
            tables.setdefault(kind, {})[precision] = bench_table.one_kind(
                data, kind, precision, repeats, found
            )
    others = bench_peers.measured("peers", own, test) if peers else {}
    for name, one in others.items():
        if one["status"] == "ok":
            ours = tables["wide_deep"]["fp32"]["examples_per_cpu_second"]
            tables["wide_deep"]["fp32"][f"{name}_ratio"] = round(ours / one["examples_per_cpu_second"], 3)
    return {
        "bench": "train",
        "machine": found.document() | {"load_after": round(os.getloadavg()[0], 2)},
        "settings": {"seed": config.seed, "users": users, "days": days, "rows": rows, "repeats": repeats},
        "request_level": requests,
        "table": tables,
        "ftrl": bench_table.ftrl_alone(own, repeats, found),
        "peers": others,
    }


def request_level(config: Config, users: int, days: int, limits: Limits) -> dict[str, Any]:
    """Rates of the default rankers on production's log; the first day warms up, the last one is held out.

    An example is one impression in one pass; `impressions_per_second` counts each impression of the log once,
    all passes over it, the growth of vocabularies and the day's history included.
    """
    from statistics import median

    from experiment.bench.world import production_days
    from experiment.machine import Clock
    from experiment.worlds import world_of
    from models import evaluation, registry

    world = world_of(config)
    served = list(production_days(config, users, days))
    results: dict[str, Any] = {}
    for kind in KINDS:
        ranker: Any = registry.create(kind, world.apps, world.cardinalities, {}, 0)
        epochs = ranker.settings.training.epochs
        walls, cpus = [], []
        for one in served[:-1]:
            clock = Clock()
            ranker.fit(one.log, one.day + 1000)
            walls.append(clock.wall() / one.log.labels.size)
            cpus.append(clock.cpu() / one.log.labels.size)
        wall, cpu = median(walls[1:]), median(cpus[1:])
        scores = ranker.publish().score(served[-1].log.requests)
        figures = {
            "passes": epochs,
            "examples_per_second": round(epochs / wall, 1),
            "examples_per_cpu_second": round(epochs / cpu, 1),
            "impressions_per_second": round(1 / wall, 1),
            "impressions_per_cpu_second": round(1 / cpu, 1),
            "log_loss": round(evaluation.log_loss(served[-1].log.labels, scores), 5),
        }
        if "deep" in ranker.parts:
            operations = _plain_operations(ranker.parts["deep"].weights)
            figures["gemm_ratio"] = round(operations * epochs / cpu / 1e9 / limits.gemm_gflops, 4)
        results[kind] = figures
    return results


def _plain_operations(weights: dict[str, Any]) -> int:
    """Additions and multiplications for one impression of the plain network, forward and backward.

    Ours does fewer: the user side is computed once per request, the app side once per distinct app.
    """
    layers = [w for name, w in weights.items() if name in {"user1", "app1", "position1", "out"}]
    layers += [w for name, w in weights.items() if name.startswith("layer")]
    return sum(6 * int(w.numel()) for w in layers)


def show(document: dict[str, Any]) -> None:
    """Prints the document as a table."""
    rows = [_row(f"requests: {kind}", one) for kind, one in document["request_level"].items()]
    for kind, by_precision in document["table"].items():
        rows += [_row(f"table: {kind} {precision}", one) for precision, one in by_precision.items()]
    rows.append(_row("FTRL alone, 10 crosses", document["ftrl"]))
    rows += [_row(f"table: {n}", one) for n, one in document["peers"].items() if one["status"] == "ok"]
    table(
        "Thousands of examples per second, one thread",
        ["what learns", "one core", "CPU-second", "of GEMM", "log loss"],
        rows,
    )
    for name, one in document["peers"].items():
        if one["status"] != "ok":
            typer.echo(f"{name}: {one['status']}")
    machine = document["machine"]
    typer.echo(
        f"\nmachine: {machine['gemm_gflops']:.0f} GFLOP/s fp32, {machine['gemm_bf16_gflops']:.0f} bf16, "
        f"{machine['copy_gb_per_second']:.0f} GB/s copied, load {machine['load']:.1f} to "
        f"{machine['load_after']:.1f}"
    )


def _row(name: str, one: dict[str, Any]) -> list[str]:
    ratio, loss = one.get("gemm_ratio"), one.get("log_loss")
    return [
        name,
        f"{one['examples_per_second'] / 1000:,.1f}",
        f"{one['examples_per_cpu_second'] / 1000:,.1f}",
        "-" if ratio is None else f"{ratio:.0%}",
        "-" if loss is None else f"{loss:.4f}",
    ]
