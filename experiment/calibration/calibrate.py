"""`storelift calibrate`: the statistics held against the truth.

Thousands of experiments are drawn out of the potential outcomes that `storelift truth` found
(`calibration_draws`), every method is asked about each (`calibration_methods`), and the answers are counted:
false positives under A/A, coverage of the true lift, power. Two views: in the super-population each group is
drawn with replacement from all users; in the finite population all users are assigned to the groups anew.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from experiment import options
from experiment.errors import BadInput
from experiment.watching import Tell, counted

if TYPE_CHECKING:
    from experiment.calibration.draws import Population
    from experiment.calibration.replays import DrawTask, Pair, Replays
    from experiment.stats.results import Plan
    from experiment.truth.potential import Potential

CALIBRATION = "calibration.json"
FORMAT = 1
"""Version of calibration.json."""

REPLAYS = 20_000
AT_ONCE = 500
"""Experiments of one task."""


def calibrate(
    path: Path | str,
    replays: int = REPLAYS,
    *,
    seed: int = 0,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    tell: Tell | None = None,
    tell_truth: Tell | None = None,
) -> dict[str, Any]:
    """The document of calibration.json of the run at `path`; it is also written there.

    A run whose truth is not known yet is replayed first.

    Args:
        path: of a finished run. replays: experiments drawn in each view. seed: of the draws.
        workers, executor, address: as in `run` of the configuration; by default as the run says.
        tell: is told of the progress. tell_truth: of the replay's, if there is one.

    Raises:
        BadInput: fewer than two replays, one arm only, or a run that is not finished; as `find_truth`.
    """
    from experiment.calibration.replays import draw_and_ask, population_of
    from experiment.executor import open_executor, placed
    from experiment.folder.rundir import RunFolder
    from experiment.truth.command import find_truth
    from experiment.truth.potential import Potential, days_path, users_path

    if replays < 2:
        raise BadInput(f"replays: got {replays}, allowed: at least 2")
    find_truth(path, workers=workers, executor=executor, address=address, tell=tell_truth)
    began = time.perf_counter()
    folder = RunFolder.open(Path(path))
    report = folder.report()
    pairs = tuple((one["arm"], one["control"]) for one in report["comparisons"])
    if not pairs:
        raise BadInput(f"{path}: got a run with one arm, allowed: a run that compares arms")
    for table in (users_path(folder.path), days_path(folder.path)):
        folder.trusted(table)
    planned = planned_variance(
        Potential.read(folder.path), folder.config.experiment.pre_days, folder.config.experiment.days
    )
    tasks = draw_tasks(folder.path, replays, seed, pairs, planned, report["run"]["alpha"])
    place = placed(folder.config.run, workers, executor, address)
    one_more = counted(tell, len(tasks))
    with open_executor(place, len(tasks), folder.path) as pool:
        results = pool.map(draw_and_ask, tasks, list(range(len(tasks))), lambda _: one_more())
    document = {
        "format": FORMAT,
        "run": {name: report["run"][name] for name in ("preset", "seed", "config_hash", "days_run", "alpha")},
        **summary(population_of(folder.path), tasks, results),
        "clock": {"seconds": round(time.perf_counter() - began, 1)},
    }
    with folder.locked():
        folder.write_json(folder.path / CALIBRATION, document)
        folder.finish_day(folder.manifest.finished_day or 0)
    return document


def draw_tasks(
    path: Path, replays: int, seed: int, pairs: tuple[Pair, ...], planned: Plan, alpha: float
) -> list[DrawTask]:
    """The experiments 0 .. replays - 1 of both views, `AT_ONCE` to a task."""
    from experiment.calibration.draws import VIEWS
    from experiment.calibration.replays import DrawTask

    return [
        DrawTask(path, view, seed, start, min(start + AT_ONCE, replays), pairs, planned, alpha)
        for view in VIEWS
        for start in range(0, replays, AT_ONCE)
    ]


def planned_variance(potential: Potential, pre_days: int, days: int) -> Plan:
    """The plan that fixes the always-valid boundary, from the pre-period, as in a run's report.

    Without a pre-period's variance, from the window under the first arm.
    """
    from experiment.stats import comparison, ratio
    from experiment.stats.moments import Moments

    users, scale = len(potential) * 2 / len(potential.arms), pre_days / days
    before = potential.pre_impressions > 0
    x, y = potential.pre_acquisitions[before], potential.pre_impressions[before]
    rates = ratio.rates(Moments.from_users(x, y))
    if not (rates.rate > 0 and rates.v > 0):
        came, scale = potential.visited, 1.0
        window = (getattr(potential, name)[0][came].sum(axis=1) for name in ("acquisitions", "impressions"))
        rates = ratio.rates(Moments.from_users(*window))
    return comparison.plan(float(rates.rate), float(rates.v) * scale, users)


def summary(
    population: Population, tasks: list[DrawTask], results: list[dict[tuple[Pair, str], Replays]]
) -> dict[str, Any]:
    """Everything in the document that is a function of the run, the draws' seed and their number."""
    from experiment.calibration.document import acceptance, comparison
    from experiment.calibration.draws import VIEWS

    sizes = {arm: int(size) for arm, size in zip(population.arms, population.sizes, strict=True)}
    views = {}
    for view in VIEWS:
        parts = [result for task, result in zip(tasks, results, strict=True) if task.view == view]
        found = {key: _joined([part[key] for part in parts]) for key in parts[0]}
        views[view] = {"comparisons": [comparison(pair, found, sizes) for pair in tasks[0].pairs]}
    return {
        "replays": max(task.stop for task in tasks),
        "seed": tasks[0].seed,
        "users": len(population),
        "looks": population.looks,
        "views": views,
        "acceptance": acceptance(views, tasks[0].alpha),
    }


def _joined(parts: list[Replays]) -> Replays:
    from experiment.calibration.replays import Replays

    names = Replays.__slots__
    return Replays(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def register(app: typer.Typer) -> None:
    """Adds the command `calibrate`."""

    @app.command("calibrate")
    def calibrate_command(
        run_dir: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run.")],
        replays: Annotated[int, typer.Option(help="Experiments drawn in each view.")] = REPLAYS,
        seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
        workers: Annotated[
            int | None, typer.Option(help="Worker processes; 0 takes one per core, else as the run did.")
        ] = None,
        executor: options.Executor = None,
        address: options.Address = None,
        figure: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Also draw the figures, as an HTML page.")
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Hold the statistics against the truth: errors, coverage, power."""
        from experiment.watching import watched

        with (
            watched("replaying shards", quiet=quiet) as tell_truth,
            watched("drawing experiments", quiet=quiet) as tell,
        ):
            document = calibrate(
                run_dir, replays, seed=seed, workers=workers, executor=executor, address=address, tell=tell,
                tell_truth=tell_truth,
            )  # fmt: skip
        if figure is not None:
            from experiment.calibration.figure import write_page

            write_page(figure, document)
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        from experiment.calibration.table import render

        Console(highlight=False).print(render(document))
