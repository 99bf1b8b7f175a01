"""The runs of a folder at a glance, whatever state they are in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from experiment.folder.journal import read_status
from experiment.folder.manifest import NAME, RunFolderError
from experiment.folder.rundir import RunFolder
from experiment.reporting.text import against_control
from experiment.words import DASH, arm_name, percent

STYLES = {"done": "green", "running": "cyan", "interrupted": "yellow", "failed": "red", "damaged": "bold red"}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run.

    Attributes:
        path: of its folder. state: running, done, failed, interrupted, or damaged.
        preset, seed: of its configuration; None if that cannot be read.
        finished_day: the last finished simulated day. days: of the experiment.
        started_wall_s: seconds since 1970.
        lifts: by arm against the control, of a finished run.
        message: why it failed, was interrupted or is damaged.
    """

    path: Path
    state: str
    preset: str | None = None
    seed: int | None = None
    finished_day: int | None = None
    days: int | None = None
    started_wall_s: float | None = None
    lifts: dict[str, float | None] = dataclasses.field(default_factory=dict)
    message: str | None = None


def runs_in(root: Path) -> list[RunSummary]:
    """The runs directly below `root`, newest first; none where there is no such folder."""
    if not root.is_dir():
        return []
    runs = [summary(path.parent) for path in root.glob(f"*/{NAME}") if not path.parent.name.startswith(".")]
    return sorted(runs, key=lambda run: (run.started_wall_s or 0.0, run.path.name), reverse=True)


def summary(path: Path) -> RunSummary:
    """What is to say of the run at `path`; a run that cannot be trusted is `damaged`, with the reason."""
    try:
        folder = RunFolder.open(path)
        config = folder.config
        done = folder.manifest.complete
        known = RunSummary(
            path=path,
            state="done" if done else "interrupted",
            preset=config.preset,
            seed=config.seed,
            finished_day=folder.manifest.finished_day,
            days=config.experiment.days,
        )
        document = folder.report() if done else None
    except RunFolderError as error:
        return RunSummary(path, "damaged", message=str(error))
    if document is not None:
        known = dataclasses.replace(known, lifts={c["arm"]: c["lift"] for c in against_control(document)})
    try:
        status = read_status(path)
    except RunFolderError as error:
        return dataclasses.replace(known, message=str(error))
    return dataclasses.replace(
        known,
        state="done" if done else str(status["state"]),
        started_wall_s=status["started_wall_s"],
        message=None if done else status.get("message"),
    )


def plain(run: RunSummary) -> dict[str, Any]:
    """The summary as plain data, for JSON."""
    return {**dataclasses.asdict(run), "path": str(run.path)}


def render(runs: Sequence[RunSummary], root: Path) -> RenderableType:
    """A table of runs for the terminal."""
    if not runs:
        return Text.assemble(f"No runs in {root}. ", ("storelift run --preset tiny", "cyan"), " makes one.")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("run", "state", "day", "started", "lifts"):
        table.add_column(head, no_wrap=head != "lifts", overflow="fold")
    for run in runs:
        day = DASH if run.finished_day is None else f"{max(run.finished_day, 0)}/{run.days}"
        lifts = ", ".join(f"{arm_name(arm)} {percent(lift)}" for arm, lift in run.lifts.items())
        table.add_row(
            run.path.name,
            Text(run.state, STYLES.get(run.state, "")),
            day,
            _when(run.started_wall_s),
            lifts or Text(run.message or "", "dim"),
        )
    return table


def _when(wall_s: float | None) -> str:
    return DASH if wall_s is None else f"{datetime.fromtimestamp(wall_s).astimezone():%Y-%m-%d %H:%M}"
