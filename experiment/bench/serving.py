"""`storelift bench serving`: Table 2 of Cheng et al. 2016, on this machine.

One request of 200 candidates, as one batch, two batches on two threads or four on four. The paper's network
is scored as it serves here (first layer folded into a table by app) in fp32 and bf16, and beside it by plain
torch and onnxruntime from inputs that are ready; a run's own model likewise. Engines take turns, so that what
else runs on the machine meets all of them alike.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment.bench.command import Json, dump, table

if TYPE_CHECKING:
    from experiment.folder.rundir import RunFolder
    from experiment.machine import Limits


def register(bench: typer.Typer) -> None:
    """Adds `bench serving`."""

    @bench.command("serving")
    def serving(
        run_dir: Annotated[
            Path | None, typer.Argument(metavar="[DIR]", help="A run whose own model is measured too.")
        ] = None,
        as_json: Json = False,
        arm: Annotated[str | None, typer.Option(help="Whose model; by default the run's last arm.")] = None,
        requests: Annotated[int, typer.Option(min=6, help="Measured requests for each figure.")] = 300,
        apps: Annotated[int, typer.Option(min=500, help="Catalogue of the paper's network.")] = 50_000,
        http: Annotated[bool, typer.Option(help="Measure over HTTP too.")] = True,
    ) -> None:
        """Table 2: 200 candidates as 1 batch, 2 batches on 2 threads, 4 on 4; with and without HTTP."""
        document = measure(run_dir, arm, requests, apps, http=http)
        if run_dir is not None:
            from experiment.bench.record import keep

            document["kept"] = keep(run_dir, document)
        dump(document) if as_json else show(document)


def measure(run: Path | None, arm: str | None, requests: int, apps: int, *, http: bool) -> dict[str, Any]:
    """The document of `bench serving --json`.

    Args:
        run: a run folder, or None. arm: of the run. requests: measured for each figure.
        apps: of the catalogue of the paper's network. http: also over HTTP.

    Raises:
        BadInput: no run folder, or no model of the arm.
    """
    from experiment.bench import engines
    from experiment.bench import paper as bench_paper
    from experiment.machine import limits

    bench_paper.prepare()
    own = None if run is None else _own_model(run, arm)
    machine = limits()
    document: dict[str, Any] = {
        "machine": machine.document(),
        "candidates": engines.CANDIDATES,
        "paper": [{"batch": b, "threads": t, "paper_ms": engines.PAPER_MS[b, t]} for b, t in engines.SPLITS],
        "rows": [],
        "models": [],
        "skipped": [],
    }
    _paper_structure(document, machine, requests, apps, http=http)
    if own is not None and run is not None:
        _run_structure(document, machine, requests, run, own, http=http)
    return document


def _paper_structure(
    document: dict[str, Any], machine: Limits, requests: int, apps: int, *, http: bool
) -> None:
    from experiment.bench import engines
    from experiment.bench import paper as bench_paper
    from experiment.bench.http import body, paper_server
    from experiment.machine import seconds_of

    net = bench_paper.PaperNet.draw(apps)
    exact = net.publish()
    publish = seconds_of(net.publish, 3)
    request = net.request(engines.CANDIDATES)
    found, differences = engines.own_engines(document, exact, request)
    inputs, layers = net.concatenation(request), net.layers()
    for name, make in (("torch eager", bench_paper.eager), ("onnxruntime", bench_paper.onnxruntime)):
        try:
            score, scores = make(layers, inputs)
        except ModuleNotFoundError as error:
            reason = f"{error.name} is not installed; pip install 'storelift[onnx]'"
            document["skipped"].append({"model": "paper", "engine": name, "reason": reason})
            continue
        found[name] = engines.plain(name, score)
        differences[name] = engines.difference(scores(), exact.score(request)[0])
    folded, rounded = bench_paper.folded_operations(), bench_paper.rounded_operations()
    work = {name: (bench_paper.plain_operations(), 0.0) for name in found}
    work |= {"storelift fp32": (folded, 0.0), "storelift bf16": (folded - rounded, rounded)}
    rows = engines.rows("paper", found, requests)
    document["models"].append(
        {
            "model": "paper",
            "structure": f"{inputs.shape[1]}-{'-'.join(map(str, bench_paper.HIDDEN))}-1",
            "publish_apps": apps,
            "publish_cpu_seconds": round(publish, 3),
            "memory_mib": round(exact.nbytes / 2**20, 1),
            "score_difference": differences,
            **engines.throughput(exact, request),
        }
    )
    if http:
        with contextlib.ExitStack() as stack:
            addresses = {s: stack.enter_context(paper_server(apps, s[1], s[0])) for s in engines.SPLITS}
            rows += engines.http_rows("paper", addresses, [body(request)], requests)
    engines.finish(document, rows, machine, work)


def _run_structure(
    document: dict[str, Any],
    machine: Limits,
    requests: int,
    run: Path,
    own: tuple[RunFolder, str, int],
    *,
    http: bool,
) -> None:
    import numpy as np

    from experiment.bench import engines
    from experiment.bench.http import body, run_server
    from experiment.folder.paths import RunPaths
    from experiment.machine import seconds_of
    from experiment.visitors import Visitors
    from experiment.worlds import world_of
    from models import registry
    from simulator.world import with_apps

    folder, arm, day = own
    visitors = Visitors(folder)
    path, apps_of = RunPaths(run).model(arm, day), world_of(folder.config).apps
    exact: Any = registry.load_published(path, apps_of)
    publish = seconds_of(lambda: registry.load_published(path, apps_of), 3)
    some = visitors.some(64)
    several = -(-engines.CANDIDATES // some.apps.shape[1])  # retrieval gives fewer: take other users' too
    apps = np.concatenate([np.roll(some.apps, turn, axis=0) for turn in range(several)], axis=1)
    apps = apps[:, : engines.CANDIDATES]
    some = with_apps(some, np.ascontiguousarray(apps))
    request = some.take(slice(0, 1))
    found, differences = engines.own_engines(document, exact, request, name=f"{arm}/{day}")
    rows = engines.rows(f"{arm}/{day}", found, requests)
    document["models"].append(
        {
            "model": f"{arm}/{day}",
            "publish_apps": len(visitors.world.apps),
            "publish_cpu_seconds": round(publish, 3),
            "score_difference": differences,
            **engines.throughput(exact, request),
        }
    )
    if http:
        bodies = [body(some, row) for row in range(len(some))]
        with contextlib.ExitStack() as stack:
            addresses = {
                (b, t): stack.enter_context(run_server(run, arm, "--threads", t, "--batch", b))
                for b, t in engines.SPLITS
            }
            rows += engines.http_rows(f"{arm}/{day}", addresses, bodies, requests)
    engines.finish(document, rows, machine, {})


def _own_model(run: Path, arm: str | None) -> tuple[RunFolder, str, int]:
    from experiment.errors import BadInput
    from experiment.folder.rundir import RunFolder
    from experiment.server.live_model import published_days

    folder = RunFolder.open(run)
    arm = list(folder.config.arms)[-1] if arm is None else arm
    days = published_days(folder.manifest, arm)
    if not days:
        raise BadInput(f"arm: got {arm!r}, which has no published model in {run}, allowed: one that has")
    return folder, arm, days[-1]


def show(document: dict[str, Any]) -> None:
    """Prints the document as tables."""
    machine = document["machine"]
    rows = [
        [
            r["name"].replace("storelift ", ""),
            f"{r['batch']} x {r['threads']}",
            *(f"{r[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
            f"{r['paper_ms']:.0f}",
            "" if r["gemm_limit_ratio"] is None else f"{r['gemm_limit_ratio']:.0%}",
        ]
        for r in document["rows"]
    ]
    title = f"Milliseconds for {document['candidates']} candidates"
    table(title, ["model", "batch", "p50", "p95", "p99", "paper", "of the limit"], rows)
    for model in document["models"]:
        rate, cores = model["apps_per_second_per_core"], model["cores_for_10_million_per_second"]
        typer.echo(
            f"{model['model']}: {rate:,} apps per second and core; 10 million per second take {cores:.0f} "
            f"cores. Published in {model['publish_cpu_seconds']:.2f} CPU s ({model['publish_apps']:,} apps)."
        )
        for engine, found in model["score_difference"].items():
            typer.echo(
                f"  {engine}: off by at most {found['log_odds']:.1e} log odds, {found['chance']:.1e} chance"
            )
    for gone in document["skipped"]:
        typer.echo(f"{gone['engine']} ({gone['model']}) is left out: {gone['reason']}")
    typer.echo(
        f"Limits of one core: {machine['gemm_gflops']:.0f} GFLOP/s fp32, "
        f"{machine['gemm_bf16_gflops']:.0f} bf16; {machine['cores']} cores, load {machine['load']:.1f}."
    )
