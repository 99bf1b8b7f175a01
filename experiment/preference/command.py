"""`storelift world`: sparsity, effective rank and spectrum of the true preferences, as numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

WORLD = "metrics/world.json"


def save(path: Path | str, **sizes: int) -> dict[str, Any]:
    """Measures the world of the run at `path` and saves it as `metrics/world.json`, where pages find it.

    Raises:
        RunFolderError: there is no run. BadInput: it is not finished. LockedError: it is being written.
    """
    from experiment.folder.rundir import RunFolder
    from experiment.preference.measures import measure
    from experiment.truth.command import refuse_unfinished

    folder = RunFolder.open(Path(path))
    refuse_unfinished(folder)
    with folder.locked():
        document = measure(folder.config, **sizes)
        folder.write_json(folder.path / WORLD, document)
        folder.finish_day(folder.manifest.finished_day or 0)
    return document


def render(document: Mapping[str, Any]) -> Any:
    """The measures for a terminal of at least 80 columns."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from experiment.preference.phrases import HEADS, findings, of, rows

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for head in HEADS[1:]:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows(document):
        table.add_row(*row)
    title = Text.assemble((document["preset"], "bold"), f", {of(document)}")
    return Group(Text(), title, Text(), table, Text(), *(Text(line) for line in findings(document)))


def register(app: typer.Typer) -> None:
    """Adds the command `world`."""

    @app.command()
    def world(
        preset: Annotated[str | None, typer.Option(help="tiny, quick (the default), standard, …")] = None,
        setting: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Changes one setting.")
        ] = None,
        seed: Annotated[int | None, typer.Option(help="Draws the world.")] = None,
        run_dir: Annotated[
            Path | None,
            typer.Option("--run", metavar="DIR", help="A finished run's world; saved for its pages."),
        ] = None,
        users: Annotated[int, typer.Option(min=10, max=5000, help="Users of the sample.")] = 600,
        apps: Annotated[int, typer.Option(min=10, max=5000, help="Apps of the sample.")] = 1200,
        day: Annotated[int, typer.Option(help="Simulated day.")] = 1,
        figure: Annotated[
            Path | None, typer.Option(metavar="FILE.html", help="Also draw the spectra.")
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
    ) -> None:
        """Say how sparse and of what rank the true preferences are."""
        from experiment.errors import BadInput
        from experiment.loading import load
        from experiment.preference.figure import write_page
        from experiment.preference.measures import measure

        if run_dir is not None and (preset is not None or setting or seed is not None):
            raise BadInput("run: got it beside preset, set or seed, allowed: a run, or settings")
        sizes = {"users": users, "apps": apps, "day": day}
        if run_dir is not None:
            document = save(run_dir, **sizes)
        else:
            document = measure(load(preset, setting or [], seed=seed), **sizes)
        if figure is not None:
            write_page(figure, document)
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        Console(highlight=False).print(render(document))
