"""Options of the command line that several commands share: where their workers are."""

from __future__ import annotations

from typing import Annotated

import typer

Executor = Annotated[
    str | None, typer.Option(metavar="local|ray", help="Where the workers are: this machine, or Ray.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A node of a Ray cluster; without it Ray is started here."),
]
