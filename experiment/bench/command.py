"""`storelift bench`: how fast simulation, training and serving are, beside the limits of the machine.

Each part is a module of its own with a `register(bench)`, and imports what is heavy inside its command.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import Annotated, Any

import typer

PARTS = ("experiment.bench.simulate", "experiment.bench.train", "experiment.bench.serving")
"""Modules of the parts, in the order of the help."""

Json = Annotated[
    bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
]


def register(app: typer.Typer) -> None:
    """Adds `bench` with all its parts to the command line."""
    bench = typer.Typer(no_args_is_help=True, help="Measure simulation, training and serving.")
    for module in PARTS:
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(bench)
    app.add_typer(bench, name="bench")


def dump(document: Any) -> None:
    """Prints one JSON document; undefined numbers must be None."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table, the first column to the left and the others to the right."""
    from rich.console import Console
    from rich.table import Table

    view = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, name in enumerate(columns):
        view.add_column(name, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        view.add_row(*row)
    Console(highlight=False).print(view)
