"""`storelift slices`: where memorising and where generalising wins, in parts of what a run showed.

It is measured once, arm by arm on the executor, and saved as `metrics/slices.json`; then it is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment import options
from experiment.slices.cuts import CUTS
from experiment.watching import Tell, counted

if TYPE_CHECKING:
    from experiment.folder.rundir import RunFolder
    from experiment.slices.measure import SliceTask

SLICES = "metrics/slices.json"


def find_slices(
    path: Path | str,
    *,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """The document of `metrics/slices.json` of the run at `path`; measures what has not been measured.

    Args:
        path: of a run folder. workers, executor, address: as in `run`; by default as the run says.
        tell: is told of the progress.

    Raises:
        RunFolderError: there is no run, or a file of it is not what was written.
        BadInput: the run is not finished, or its log is gone.
        LockedError: another process is writing the run.
    """
    from experiment.executor import open_executor, placed
    from experiment.folder.rundir import RunFolder
    from experiment.slices.document import FORMAT, build
    from experiment.slices.measure import measure
    from experiment.truth.command import days_run, refuse_dropped, refuse_unfinished

    folder = RunFolder.open(Path(path))
    refuse_unfinished(folder)
    if SLICES in folder.manifest.artefacts:
        known: dict[str, Any] = json.loads(folder.trusted(folder.path / SLICES).read_bytes())
        if known["format"] == FORMAT:
            return known
    refuse_dropped(folder)
    _check_inputs(folder)
    with folder.locked():
        tasks = _tasks(folder)
        place = placed(folder.config.run, workers, executor, address)
        one_more = counted(tell, len(tasks))
        with open_executor(place, len(tasks), folder.path) as pool:
            found = pool.map(measure, tasks, list(range(len(tasks))), lambda _: one_more())
        document = build(folder.config, found, days_run(folder))
        folder.write_json(folder.path / SLICES, document)
        folder.finish_day(folder.manifest.finished_day or 0)
    return document


def _check_inputs(folder: RunFolder) -> None:
    """Raises unless the log, its truth and the days' entries are there as they were written."""
    from experiment.errors import BadInput

    kinds = ("log/", "truth/", "metrics/days/")
    names = [name for name in folder.manifest.artefacts if name.startswith(kinds)]
    for kind in kinds:
        if not any(name.startswith(kind) for name in names):
            raise BadInput(f"{folder.path}: got a run without {kind}, allowed: a run with its log and truth")
    for name in names:
        folder.manifest.check(folder.path, name)


def _tasks(folder: RunFolder) -> list[SliceTask]:
    from experiment.folder.paths import RunPaths
    from experiment.slices.measure import SliceTask
    from experiment.truth.command import days_run

    config, days = folder.config, days_run(folder)
    entries = {
        day: json.loads(RunPaths(folder.path).day_entry(day).read_bytes())["trained"]
        for day in (*config.pre_days(), *days)
    }
    return [
        SliceTask(
            folder.path, config, arm, days, frozenset(day for day, arms in entries.items() if arm in arms)
        )
        for arm in config.arms
    ]


def register(app: typer.Typer) -> None:
    """Adds the command `slices`."""

    @app.command()
    def slices(
        run_dir: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run.")],
        cut: Annotated[
            str | None, typer.Option(metavar="CUT", help=f"One cut, with every interval: {', '.join(CUTS)}.")
        ] = None,
        workers: Annotated[
            int | None, typer.Option(help="Worker processes; 0 takes one per core, else as the run did.")
        ] = None,
        executor: options.Executor = None,
        address: options.Address = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Part what each arm showed by what it could know, and count what it explored."""
        from experiment.errors import BadInput
        from experiment.watching import watched

        if cut is not None and cut not in CUTS:
            raise BadInput(f"cut: got {cut!r}, allowed: {', '.join(CUTS)}")
        with watched("measuring arms", quiet=quiet) as tell:
            document = find_slices(run_dir, workers=workers, executor=executor, address=address, tell=tell)
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        from experiment.slices.table import render

        console = Console(highlight=False)
        console.print(render(document, console.width, cut))
