"""`storelift dashboard`, and the report as one HTML file: the pages run as processes of their own.

The dashboard is built on the experiment, never the other way round, so nothing of it is imported here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from experiment.errors import BadInput

APP = Path(__file__).parents[1] / "dashboard" / "app.py"


def register(app: typer.Typer) -> None:
    """Adds `dashboard`."""
    app.command()(dashboard)


def dashboard(
    root: Annotated[
        Path, typer.Argument(metavar="[ROOT]", help="Where the run folders are, or one run folder.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 takes a free one.")] = 8501,
    host: Annotated[str, typer.Option(help="Its address; others see what you see.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open one.")] = True,
) -> None:
    """Open the dashboard: start experiments, follow them, judge and understand them."""
    if root.exists() and not root.is_dir():
        raise BadInput(f"root: got {root}, a file, allowed: a folder of runs, or a run")
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(APP)),
        *("--server.address", host, "--server.port", str(port or _free_port(host))),
        *("--server.headless", "false" if browser and _has_screen() else "true"),
        *("--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"),
        *("--client.toolbarMode", "minimal", "--", str(root.absolute())),
    ]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - this interpreter; no shell


def write_html(run: Path, out: Path | None = None) -> Path:
    """Writes the report of the run at `run` as one HTML file that needs nothing else, and returns its path.

    Args:
        run: a run folder with results. out: the file; by default `report.html` in the run folder.

    Raises:
        BadInput: there are no results, or the file cannot be written.
    """
    path = run / "report.html" if out is None else out
    command = [sys.executable, "-m", "dashboard.report_html", str(run), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this interpreter
    if done.returncode:
        lines = done.stderr.strip().split("\n")
        raise BadInput(lines[-1] or f"{run}: got no report")
    return path


def _has_screen() -> bool:
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as listening:
        listening.bind((host, 0))
        return int(listening.getsockname()[1])
