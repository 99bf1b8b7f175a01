"""`storelift compare`: finished runs side by side: the settings that differ, their AUC and their lifts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment.errors import BadInput

if TYPE_CHECKING:
    from rich.console import RenderableType

ARM_FIGURES = ("offline_auc", "expected_auc", "gauc", "acquisition_rate", "expected_rate")
LIFT_FIGURES = ("lift", "ci", "p_adjusted", "expected_lift", "true_lift", "status")


def compare(paths: Sequence[Path | str]) -> dict[str, Any]:
    """What differs between the finished runs at `paths`, and what came of it.

    Returns:
        `{"settings": {PATH: [value of each run]}, "runs": [{"name", "preset", "seed", "days_run", "arms":
        {ARM: {…}}, "comparisons": [{"arm", "control", …}]}]}`. `settings` has only those that differ, `run`
        (how the work was spread) left out; a setting that a run does not have is None.

    Raises:
        BadInput: fewer than two paths, or one of them twice.
        RunFolderError: there is no run, it is not finished, or a file of it is not what was written.
    """
    from experiment.folder.rundir import RunFolder

    places = [Path(path) for path in paths]
    if len(places) < 2:
        raise BadInput(f"runs: got {len(places)}, allowed: at least two run folders")
    if len({place.resolve() for place in places}) < len(places):
        raise BadInput("runs: got one folder twice, allowed: different ones")
    folders = [RunFolder.open(place) for place in places]
    reports = [folder.report() for folder in folders]
    flat = [_flat(folder.config.model_dump(mode="json", exclude={"run"})) for folder in folders]
    return {
        "settings": differing(flat),
        "runs": [_run(name, report) for name, report in zip(_names(places), reports, strict=True)],
    }


def differing(flat: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Of settings by path, one mapping per run, those whose values are not all the same."""
    names = list(dict.fromkeys(name for one in flat for name in one))
    values = {name: [one.get(name) for one in flat] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _names(places: Sequence[Path]) -> list[str]:
    names = [place.resolve().name for place in places]
    return names if len(set(names)) == len(names) else [str(place) for place in places]


def _run(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        **{field: report["run"][field] for field in ("preset", "seed", "days_run", "control")},
        "arms": {arm: {f: found[f] for f in ARM_FIGURES} for arm, found in report["arms"].items()},
        "comparisons": [{f: c[f] for f in ("arm", "control", *LIFT_FIGURES)} for c in report["comparisons"]],
    }


def render(document: Mapping[str, Any]) -> RenderableType:
    """A table for the terminal: a column per run."""
    from rich import box
    from rich.table import Table

    runs = document["runs"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", overflow="fold")
    for run in runs:
        table.add_column(run["name"], justify="right", overflow="fold")
    for name, values in document["settings"].items():
        table.add_row(name, *(_plain(value) for value in values), style="cyan")
    table.add_section()
    for words, cells in _figures(runs):
        table.add_row(words, *cells)
    return table


def _figures(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The rows below the settings: AUC of each arm, then each comparison, a cell per run."""
    from experiment.words import DASH, arm_name, interval, number, percent

    rows = []
    for arm in dict.fromkeys(arm for run in runs for arm in run["arms"]):
        found = [run["arms"].get(arm) for run in runs]
        rows.append(
            (
                f"{arm_name(arm)}, offline AUC",
                [DASH if a is None else number(a["offline_auc"]) for a in found],
            )
        )
    for arm, control in dict.fromkeys((c["arm"], c["control"]) for run in runs for c in run["comparisons"]):
        pair = f"{arm_name(arm)} against {arm_name(control)}"
        by_run = [
            next((c for c in run["comparisons"] if (c["arm"], c["control"]) == (arm, control)), None)
            for run in runs
        ]
        rows += [
            (f"{pair}, lift", [DASH if c is None else percent(c["lift"]) for c in by_run]),
            ("  interval", [DASH if c is None else interval(c["ci"]) for c in by_run]),
            ("  expected lift", [DASH if c is None else percent(c["expected_lift"]) for c in by_run]),
        ]
        if any(c is not None and c["true_lift"] is not None for c in by_run):
            rows.append(("  true lift", [DASH if c is None else percent(c["true_lift"]) for c in by_run]))
    return rows


def _plain(value: Any) -> str:
    from experiment.words import DASH

    if value is None:
        return DASH
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def register(app: typer.Typer) -> None:
    """Adds the command `compare`."""

    @app.command("compare")
    def compare_command(
        run_dirs: Annotated[list[Path], typer.Argument(metavar="DIR DIR…", help="Finished runs.")],
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
    ) -> None:
        """Set runs side by side: the settings in which they differ, their AUC and their lifts."""
        document = compare(run_dirs)
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        Console(highlight=False).print(render(document))
