"""`storelift bench simulate`: impressions and visits per second, stage by stage, beside the machine's limits.

A visit goes through retrieval (100 candidates), the ranker, the slate (10 shown), the response and the log,
written as in a run. Models are trained on a few days of production's log in memory first. Rates are those of
one core, by wall clock and by CPU time (they differ where other work shares the core); `side_by_side` has
processes on all cores at once, each with its own users. `whole_run` is an experiment of the preset from its
start to its report: pre-period, arms side by side, retraining every night, everything logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment.bench.command import Json, dump, table

if TYPE_CHECKING:
    from experiment.config import Config

RANKERS = ("random", "wide", "deep", "wide_deep")
PEER_VISITS = 5000
STAGES = ("retrieval", "score", "slate", "respond", "log", "write")


def register(bench: typer.Typer) -> None:
    """Adds `bench simulate`."""

    @bench.command("simulate")
    def simulate(
        as_json: Json = False,
        users: Annotated[
            int, typer.Option(min=200, help="Users of production's log and of each day.")
        ] = 16_000,
        days: Annotated[int, typer.Option(min=2, help="Days of production's log that the models learn.")] = 3,
        rankers: Annotated[str, typer.Option(metavar="A,B,…", help="The rankers.")] = ",".join(RANKERS),
        repeats: Annotated[int, typer.Option(min=1, help="Days served; each figure is their median.")] = 3,
        workers: Annotated[
            int, typer.Option(min=0, help="Processes side by side; 0 takes one per core.")
        ] = 0,
        peers: Annotated[bool, typer.Option(help="Whether to run the others, where they are.")] = True,
        whole: Annotated[bool, typer.Option(help="Whether to do a whole run of the preset.")] = True,
        seed: Annotated[int, typer.Option(min=0, help="Draws the world and the users.")] = 0,
        preset: Annotated[str | None, typer.Option(help="Of which preset the world is.")] = None,
    ) -> None:
        """Serve visits by each ranker: per core, on all cores, and with retraining every night."""
        from experiment.bench.world import default_config
        from experiment.machine import cores

        names = [name.strip() for name in rankers.split(",")]
        config = default_config(seed, preset)
        document = measure(config, names, users, days, repeats, workers or cores(), peers=peers, whole=whole)
        if as_json:
            dump(document)
        else:
            show(document)


def measure(
    config: Config,
    rankers: list[str],
    users: int,
    days: int,
    repeats: int,
    workers: int,
    *,
    peers: bool = True,
    whole: bool = True,
) -> dict[str, Any]:
    """The document of `bench simulate --json`.

    Args:
        config: its world is served. rankers: kinds. users: of each day, ids 0 .. users - 1.
        days: of production's log that the models are trained on. repeats: days served for each figure.
        workers: processes of `side_by_side`. peers: whether to run those of `benchmarks/simulators.py`.
        whole: whether to run an experiment from its start to its report.

    Raises:
        BadInput: for a kind of ranker that does not exist.
    """
    import os
    import tempfile
    from pathlib import Path

    from experiment.bench import peers as bench_peers
    from experiment.bench import serve_days as work
    from experiment.bench.whole_run import whole_run
    from experiment.machine import limits

    problems = work.unknown(rankers)
    if problems:
        from experiment.errors import BadInput

        raise BadInput(problems)
    with tempfile.TemporaryDirectory(prefix="storelift-bench-") as name:
        root = Path(name)
        prepared = work.prepare(config, rankers, users, days, root)
        found = limits()
        results: dict[str, Any] = {}
        for ranker in rankers:
            results[ranker] = work.one_core(config, root, ranker, users, repeats, found)
            results[ranker]["retraining"] = work.retraining(config, root, ranker, users, repeats)
        for ranker, figures in work.side_by_side(config, root, rankers, users, repeats, workers).items():
            results[ranker]["side_by_side"] = figures
        one_run = whole_run(config, root, workers) if whole else None
    others = bench_peers.measured("simulators", PEER_VISITS) if peers else {}
    for name, one in others.items():
        if one["status"] == "ok":
            for figures in results.values():
                ours = figures["impressions_per_cpu_second"]
                figures[f"{name}_ratio"] = round(ours / one["impressions_per_cpu_second"], 3)
    return {
        "bench": "simulate",
        "machine": found.document() | {"load_after": round(os.getloadavg()[0], 2)},
        "settings": {
            "seed": config.seed,
            "apps": config.world.apps,
            "candidates": config.retrieval.candidates,
            "shown": config.experiment.shown,
            "users": users,
            "training_days": days,
            "training_impressions": prepared,
            "repeats": repeats,
        },
        "rankers": results,
        "whole_run": one_run,
        "peers": others,
    }


def show(document: dict[str, Any]) -> None:
    """Prints the document as two tables."""
    machine, rankers = document["machine"], document["rankers"]
    rows = [
        [
            name,
            _thousands(one["impressions_per_second"]),
            _thousands(one["impressions_per_cpu_second"]),
            _thousands(one["side_by_side"]["impressions_per_second"]),
            _thousands(one["retraining"]["impressions_per_cpu_second"]),
            f"{one['gemm_ratio']:.0%}",
            f"{one['copy_ratio']:.1%}",
        ]
        for name, one in rankers.items()
    ]
    workers = next(iter(rankers.values()))["side_by_side"]["workers"]
    table(
        "Thousands of impressions per second: 10 chosen of 100, the log written",
        ["ranker", "one core", "CPU-second", f"{workers} together", "+ training", "of GEMM", "of copy"],
        rows,
    )
    profile = [
        [name, f"{one['us_per_visit']:.1f}", *(f"{one['stages'][stage]:.0%}" for stage in STAGES)]
        for name, one in rankers.items()
    ]
    table("\nWhere the CPU time of a visit goes", ["ranker", "us/visit", *STAGES], profile)
    if document["whole_run"] is not None:
        typer.echo(_whole(document["whole_run"]))
    for name, one in document["peers"].items():
        words = one["status"]
        if words == "ok":
            rate = _thousands(one["impressions_per_cpu_second"])
            words = f"{rate} thousand impressions per CPU-second, random ranker, no candidates and no log"
        typer.echo(f"{name}: {words}")
    typer.echo(
        f"\nmachine: {machine['gemm_gflops']:.0f} GFLOP/s fp32, {machine['gemm_bf16_gflops']:.0f} bf16, "
        f"{machine['copy_gb_per_second']:.0f} GB/s copied, {machine['cores']} cores, "
        f"load {machine['load']:.1f} to {machine['load_after']:.1f}"
    )


def _whole(one: dict[str, Any]) -> str:
    every = one["workers"] * one["seconds"]
    parts = ", ".join(f"{words} {seconds / every:.0%}" for words, seconds in one["worker_seconds"].items())
    phases = "; ".join(
        f"{name.replace('_', '-')} {_thousands(one[name]['impressions_per_second'])} shown and "
        f"{_thousands(one[name]['impressions_trained_per_second'])} trained on"
        for name in ("pre_period", "experiment")
    )
    return (
        f"\na whole run ({one['preset']}, {len(one['arms'])} arms, {one['days']} days, retrained nightly): "
        f"{_thousands(one['impressions_per_second'])} thousand impressions per second, "
        f"{_thousands(one['impressions_per_cpu_second'])} per CPU-second;\n"
        f"{one['impressions']:,} shown and {one['impressions_trained']:,} trained on "
        f"in {one['seconds']:.0f} s by {one['workers']} workers, whose time went to: {parts};\n"
        f"thousands a second of the {phases}\n"
    )


def _thousands(rate: float) -> str:
    return f"{rate / 1000:,.1f}"
