"""`storelift offpolicy`: what production's explored log would have said of each arm before it served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment.errors import BadInput

if TYPE_CHECKING:
    from experiment.folder.rundir import RunFolder

OFFPOLICY = "metrics/offpolicy.json"


def offpolicy(path: Path | str, clip: float | None = None) -> dict[str, Any]:
    """The off-policy document of the run at `path`; it is also written to its metrics.

    Args:
        path: of a finished run. clip: largest weight, 0 for no limit; the default by default.

    Raises:
        BadInput: the run is not finished, or explored nothing; a negative clip.
        RunFolderError: a file of it is not what was written, or was dropped.
        ReplayError: what is worked out again is not what was logged.
        LockedError: another process is writing the run.
    """
    from experiment.folder.rundir import RunFolder
    from experiment.offpolicy.evaluate import CLIP, evaluate
    from experiment.truth.command import refuse_dropped, refuse_unfinished
    from experiment.worker import prepare_worker

    limit = CLIP if clip is None else clip
    if not limit >= 0:
        raise BadInput(f"clip: got {limit}, allowed: 0 (no limit) or more")
    folder = RunFolder.open(Path(path))
    refuse_unfinished(folder)
    refuse_dropped(folder)
    _check_inputs(folder)
    prepare_worker()
    document = evaluate(folder, limit or None)
    with folder.locked():
        folder.write_json(folder.path / OFFPOLICY, document)
        folder.finish_day(folder.manifest.finished_day or 0)
    return document


def _check_inputs(folder: RunFolder) -> None:
    """Raises RunFolderError unless production's log and models are there and as they were written."""
    needed = ("log/arm=production/", "models/arm=production/", "metrics/offline-", "metrics/days/")
    for prefix in needed:
        names = [name for name in folder.manifest.artefacts if name.startswith(prefix)]
        if not names:
            raise BadInput(f"{folder.path}: got a run without {prefix}, allowed: a whole run folder")
        for name in names:
            folder.manifest.check(folder.path, name)


def render(document: dict[str, Any]) -> Any:
    """A row per estimator and a column per arm: the lift over the control, the truth at the top."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from experiment.offpolicy.evaluate import ESTIMATORS
    from experiment.words import arm_name, interval, percent

    compared = document["comparisons"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for c in compared:
        table.add_column(f"{arm_name(c['arm'])}\nvs {arm_name(c['control'])}", justify="right", no_wrap=True)
        table.add_column("95%", justify="right", no_wrap=True)
    for name, words in (("expected_lift", "true, same requests"), ("first_day_lift", "true, first day")):
        table.add_row(words, *(cell for c in compared for cell in (percent(c[name]), "")), style="bold")
    for name, words in ESTIMATORS.items():
        found = [c["estimates"][name] for c in compared]
        table.add_row(words, *(cell for one in found for cell in (percent(one["lift"]), interval(one["ci"]))))
    lines: list[Any] = [Text(), table, Text()]
    clip = "no weight is cut" if document["clip"] is None else f"weights are cut at {document['clip']:g}"
    words = f"{document['requests']:,} requests of day {document['day']}; {clip}; examination "
    lines.append(Text(f"{words}exp({-document['decay']:.3f} s).".replace("-", "−"), "dim"))
    for arm, one in document["arms"].items():
        item, anywhere = one["support"]["item"], one["support"]["position"]
        words = f"{arm_name(arm)}: {item['matched_share']:.0%} of the impressions match at their position, "
        words += f"worth {item['effective_sample']:,.0f}; {anywhere['matched_share']:.0%} match anywhere, "
        lines.append(Text(f"{words}worth {anywhere['effective_sample']:,.0f}.", "dim"))
    return Group(*lines)


def register(app: typer.Typer) -> None:
    """Adds the command `offpolicy`."""

    @app.command("offpolicy")
    def offpolicy_command(
        run_dir: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run.")],
        clip: Annotated[
            float | None, typer.Option(help="Largest weight; 0 for no limit; 100 by default.")
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
    ) -> None:
        """Estimate each arm's lift from production's log, before it has served anybody.

        By the direct method, IPS, SNIPS and doubly robust, with weights by an app's own position or by its
        exposure over all positions, beside the truth.
        """
        document = offpolicy(run_dir, clip)
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        Console(highlight=False).print(render(document))
