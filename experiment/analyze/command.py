"""The commands `analyze` and `power`; heavy imports are inside them, so that --help answers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command("analyze")(analyze_command)
    app.command("power")(power_command)


def analyze_command(
    users: Annotated[Path, typer.Argument(help="CSV or Parquet: user_id, arm, impressions, installs, …")],
    control: Annotated[str, typer.Option(help="The arm the others are compared with.")],
    weights: Annotated[
        str | None, typer.Option(help="Planned shares, ARM=NUMBER,…; equal by default.")
    ] = None,
    planned_users: Annotated[
        float | None, typer.Option(help="Planned users of a pair, for the always-valid figures.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="1 - alpha is the coverage of the intervals.")] = 0.05,
    t: Annotated[bool, typer.Option("--t", help="Welch's t in place of z.")] = False,
    by: Annotated[
        list[str] | None, typer.Option(help="A dimension to explore by segment; repeatable.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Tolerated loss of impressions per user.")] = 0.05,
    set_apart: Annotated[
        bool, typer.Option("--set-apart", help="Leave out users with bad rows and count them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Analyses an experiment from one row per user, or per user and day."""
    from experiment.analyze.document import analyze, parse_weights

    found = analyze(
        users,
        control=control,
        weights=None if weights is None else parse_weights(weights),
        planned_users=planned_users,
        alpha=alpha,
        use_t=t,
        by=by or (),
        margin=margin,
        set_apart=set_apart,
    )
    if as_json:
        _print_json(found)
        return
    from experiment.analyze.table import print_analysis

    print_analysis(found, _console())


def power_command(
    rate: Annotated[float | None, typer.Option(help="The control's acquisitions per impression.")] = None,
    impressions: Annotated[float | None, typer.Option(help="Impressions per user.")] = None,
    design_effect: Annotated[
        float | None, typer.Option(help="Variance over that of independent impressions; 1 by default.")
    ] = None,
    users: Annotated[float | None, typer.Option(help="Users of the control.")] = None,
    lift: Annotated[float | None, typer.Option(help="The true lift, a fraction: 0.039.")] = None,
    power: Annotated[float, typer.Option(help="The power wanted.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Level of the two-sided test.")] = 0.05,
    ratio: Annotated[float, typer.Option(help="Users of the treatment per user of the control.")] = 1.0,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take rate, variance and users from this file's control.")
    ] = None,
    control: Annotated[str | None, typer.Option(help="The control in the file of --from.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """What an experiment of a size can see, what size it needs, and the days left to it."""
    from experiment.analyze.power_plan import PowerQuestion, answer, sentences

    found = answer(
        PowerQuestion(
            rate=rate,
            impressions=impressions,
            design_effect=design_effect,
            users=users,
            lift=lift,
            power=power,
            alpha=alpha,
            ratio=ratio,
            source=source,
            control=control,
        )
    )
    if as_json:
        _print_json(found)
        return
    for line in sentences(found):
        typer.echo(line)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2))


def _console() -> Any:
    """A console as wide as its tables where the output is no terminal."""
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)
