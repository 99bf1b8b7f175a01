"""`storelift study`: settings swept over seeds, each cell an ordinary run with its truth.

A study is a TOML file (`experiment.study.plan`), one that comes with the program or any other. Its cells are
done side by side, each in one process, and saved one by one below `ROOT/studies/NAME/`, so that a study that
was stopped goes on. `ROOT/studies/NAME.json` is the result, renewed after each cell; the dashboard shows it.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment import options

if TYPE_CHECKING:
    from experiment.settings import RunSettings
    from experiment.study.cell import CellTask
    from experiment.study.plan import Cell, Point, Study
    from experiment.watching import Tell


def run_study(
    name: str,
    study: Study,
    root: Path | str = Path("runs"),
    *,
    points: Sequence[Point] | None = None,
    workers: int = 0,
    executor: str | None = None,
    address: str | None = None,
    keep: bool = False,
    again: bool = False,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Does the cells of a study that are not done yet; returns its document, also written to the disk.

    Args:
        name: of its folder. study: see `study_plan.find`. root: folder of run folders.
        points: variants of the study; all of them by default.
        workers: cells at a time, each in a process of its own; 0 takes one per core.
        executor, address: where these processes are, as in `run` of a configuration.
        keep: leave whole run folders, not only their figures, reports and metrics.
        again: delete what there is of the study first, once all of it is known to be in order.
        tell: is told of the progress.

    A cell that cannot be run is left out, and told in the document's `failed`; the others go on.

    Raises:
        BadInput: a cell is no configuration, or cannot be run here.
        LockedError: another process works on a cell.
        ProgramChangedError: the code was changed meanwhile.
        WorkerLostError: a worker process died; finished cells, and finished days of the others, are kept.
    """
    from experiment.executor import open_executor, placed
    from experiment.folder import atomic
    from experiment.folder.rundir import RunFolder
    from experiment.settings import RunSettings
    from experiment.study import cell as study_cell
    from experiment.study import plan as study_plan
    from experiment.study import summary as study_summary

    place = placed(RunSettings(), workers, executor, address)
    folder = Path(root) / "studies" / name
    cells = study_plan.cells(study, points)
    if again:
        _refuse(cells, place)
        forget(name, root)
    known = [_known(folder, cell) for cell in cells]
    _refuse([cell for cell, found in zip(cells, known, strict=True) if found is None], place)
    failed: list[dict[str, Any]] = []
    done: dict[tuple[str, int], dict[str, Any]] = {}
    tasks: list[CellTask] = []
    for cell, found in zip(cells, known, strict=True):
        task = _task(folder, cell, keep=keep)
        if found is None:
            tasks.append(task)
            continue
        done[cell.point.name, cell.seed] = found
        if not keep and (task.run / "log").exists():  # it was stopped between saving and dropping
            study_cell.drop(RunFolder.open(task.run))

    def conclude() -> dict[str, Any]:
        document = study_summary.document(name, study, done, points) | {"failed": failed}
        atomic.write_json(folder.with_name(f"{name}.json"), document)
        return document

    def note(result: dict[str, Any]) -> None:
        if "failed" in result:
            failed.append(result)
        else:
            done[result["variant"], result["seed"]] = result
        conclude()
        if tell is not None:
            tell(len(done) + len(failed), len(cells))

    document = conclude()
    if tell is not None:
        tell(len(done), len(cells))
    if tasks:
        folder.mkdir(parents=True, exist_ok=True)
        with open_executor(place, len(tasks), folder) as pool:
            try:
                pool.map(study_cell.attempt, tasks, slots(tasks, pool.workers), note)
            except BaseException as error:
                error.add_note(
                    "Finished cells are kept, and the others' finished days: the same command goes on."
                )
                raise
        document = conclude()
    return document


def slots(tasks: Sequence[CellTask], workers: int) -> list[int]:
    """A worker for each task: as many for each, and of every variant too, since some take longer."""
    total: Counter[int] = Counter()
    alike: Counter[tuple[str, int]] = Counter()
    found = []
    for task in tasks:
        slot = min(range(workers), key=lambda w: (total[w], alike[task.variant, w]))
        total[slot] += 1
        alike[task.variant, slot] += 1
        found.append(slot)
    return found


def _task(folder: Path, cell: Cell, *, keep: bool) -> CellTask:
    from experiment import program
    from experiment.study.cell import CellTask

    return CellTask(
        name=cell.name,
        variant=cell.point.name,
        seed=cell.seed,
        config=cell.config,
        extras=cell.extras,
        run=folder / "runs" / cell.name,
        result=_result(folder, cell),
        keep=keep,
        program=program.fingerprint(),
    )


def _refuse(cells: Sequence[Cell], place: RunSettings) -> None:
    """Raises BadInput for a cell that cannot be run here."""
    from experiment.running import refuse_device, refuse_small

    for cell in cells:
        if place.executor == "local":
            refuse_device(cell.config)
        refuse_small(cell.config)


def _result(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.name}.json"


def _known(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """The cell's figures: its own, or those of another study with the very same run and program, copied."""
    from experiment import program
    from experiment.folder import atomic
    from experiment.study.cell import saved

    own = saved(_result(folder, cell), cell.config, cell.extras)
    if own is not None:
        return {**own, "variant": cell.point.name}
    for other in sorted(folder.parent.glob(f"*/cells/*-{cell.config.config_hash()}.json")):
        found = saved(other, cell.config, cell.extras)
        if found is not None and found["program"] == program.fingerprint():
            copied = {
                **found,
                "cell": cell.name,
                "variant": cell.point.name,
                "copied_from": other.parent.parent.name,
            }
            atomic.write_json(_result(folder, cell), copied)
            return copied
    return None


def forget(name: str, root: Path | str = Path("runs")) -> None:
    """Deletes everything of a study: figures, run folders, document.

    Raises:
        LockedError: another process works on one of its cells. Nothing is deleted.
    """
    from experiment.folder import lock

    folder = Path(root) / "studies" / name
    for held in sorted(folder.glob("runs/*/lock")):
        lock.refuse_held(held)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{name}.json").unlink(missing_ok=True)


def register(app: typer.Typer) -> None:
    """Adds the command `study`."""

    @app.command("study")
    def study_command(
        name: Annotated[
            str | None, typer.Argument(metavar="[NAME|FILE]", help="A study; without one they are listed.")
        ] = None,
        seeds: Annotated[int | None, typer.Option(help="How many seeds.")] = None,
        first_seed: Annotated[int | None, typer.Option(help="The first of them.")] = None,
        preset: Annotated[str | None, typer.Option(help="Instead of the study's.")] = None,
        arms: Annotated[str | None, typer.Option(metavar="A,B,…", help="Instead of the study's.")] = None,
        setting: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="PATH=VALUE", help="Changes one setting of all cells."),
        ] = None,
        root: Annotated[Path, typer.Option(help="The folder of run folders.")] = Path("runs"),
        workers: Annotated[int, typer.Option(min=0, help="Cells at a time; 0 takes one per core.")] = 0,
        executor: options.Executor = None,
        address: options.Address = None,
        keep: Annotated[bool, typer.Option("--keep", help="Keep logs, truth, models and state.")] = False,
        write: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Put the tables into this page, between the study's markers."),
        ] = None,
        again: Annotated[bool, typer.Option("--again", help="Delete what there is of it first.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Sweep settings and seeds: who wins where, with intervals over seeds.

        A study is one TOML file, of settings as `storelift config show` has them; docs/tutorial.md shows one.
        """
        from rich.console import Console

        from experiment.loading import parse_overrides
        from experiment.signals import terminable
        from experiment.study import figure, page
        from experiment.study import plan as study_plan
        from experiment.study import table as study_table
        from experiment.study.markdown import markdown
        from experiment.watching import watched

        console = Console(highlight=False)
        if name is None:
            known = study_plan.shipped()
            if as_json:
                typer.echo(
                    json.dumps({key: one.model_dump(mode="json") for key, one in known.items()}, indent=2)
                )
            else:
                console.print(study_table.listed(known))
            return
        short, study = study_plan.find(name)
        study = study_plan.changed(
            study, short, preset=preset, seeds=seeds, first_seed=first_seed,
            arms=arms.split(",") if arms else None, overrides=dict(parse_overrides(setting or [])),
        )  # fmt: skip
        if write is not None:
            page.read_page(write, f"study {short}")  # a page without markers is told before the work
        with terminable(), watched("cells", quiet=quiet) as tell:
            document = run_study(
                short, study, root, workers=workers, executor=executor, address=address, keep=keep,
                again=again, tell=tell,
            )  # fmt: skip
        drawn = Path(root) / "studies" / f"{short}.html"
        figure.write_page(drawn, document)
        if write is not None:
            asked = {"--preset": preset, "--seeds": seeds, "--first-seed": first_seed, "--arms": arms}
            words = [f"{option} {value}" for option, value in asked.items() if value is not None]
            words += [f"--set {one}" for one in setting or []]
            page.write_page(
                write,
                f"study {short}",
                markdown(document, " ".join(["storelift study", name, *words, "--write", str(write)])),
            )
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            console.print(study_table.render(document))
            console.print(f"Figure: {drawn}   Figures as data: {drawn.with_suffix('.json')}", style="dim")
        for cell in document["failed"]:
            typer.echo(f"storelift: {cell['variant']}, seed {cell['seed']}: {cell['failed']}", err=True)
        if document["failed"]:
            raise typer.Exit(1)
