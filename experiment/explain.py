"""`storelift explain`: a logged request, what was shown, and the exact shares of each score by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

SHARES = 6
"""Shares of each score that the table shows, the largest first; `--app` and `--json` show all."""


def register(app: typer.Typer) -> None:
    """Adds `explain` to the command line."""

    @app.command("explain")
    def explain(
        run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
        request: Annotated[int, typer.Option(metavar="ID", help="A request_id of the run's log.")],
        arm: Annotated[str | None, typer.Option(help="Whose model; by default the one that served.")] = None,
        app_id: Annotated[int | None, typer.Option("--app", metavar="ID", help="One shown app.")] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
    ) -> None:
        """Take a logged score apart, feature by feature, and rank the same apps by every arm's model."""
        from experiment import explanation
        from experiment.bench.command import dump
        from experiment.folder.rundir import RunFolder

        folder = RunFolder.open(run_dir)
        document = explanation.explain(folder, request)
        saved = explanation.save(folder, document)
        document = chosen(document, arm, app_id)
        if as_json:
            dump(document)
        else:
            show(document, arm or document["arm"], whole=app_id is not None)
            typer.echo(f"\nSaved for the dashboard: {saved}")


def chosen(document: dict[str, Any], arm: str | None, app: int | None) -> dict[str, Any]:
    """The document with one arm's model or one app alone.

    Raises:
        BadInput: the arm has no model of that day, or the app was not shown.
    """
    from experiment.errors import BadInput

    arms = document["arms"]
    if arm is not None:
        if arm not in arms:
            raise BadInput(f"arm: got {arm!r}, allowed on day {_day(document)}: {', '.join(arms)}")
        arms = {arm: arms[arm]}
    shown = [one["app"] for one in document["apps"]]
    if app is not None and app not in shown:
        raise BadInput(f"app: got {app}, allowed: {', '.join(map(str, shown))}")

    def only(apps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in apps if app is None or one["app"] == app]

    arms = {name: {**one, "apps": only(one["apps"])} for name, one in arms.items()}
    return {**document, "apps": only(document["apps"]), "arms": arms}


def show(document: dict[str, Any], arm: str, *, whole: bool) -> None:
    """Prints the request, what was shown with each arm's rank, and the shares under the model of `arm`."""
    from experiment.bench.command import table

    request = document["request"]
    typer.echo(
        f"Request {request['request_id']}: user {request['user_id']}, day {_day(document)} at "
        f"{request['hour']}:00, served by {document['model_version']}"
    )
    words = ("device", "country", "language", "age_band", "gender")
    typer.echo(
        ", ".join(f"{word.replace('_', ' ')} {request[word]}" for word in words)
        + f", {len(request['installed'])} apps installed\n"
    )
    rows = [
        [
            str(one["position"] + 1),
            str(one["app"]),
            one["source"],
            f"{one['score']:.3f}",
            "-" if one["probability"] is None else f"{one['probability']:.1%}",
            "yes" if one["label"] else "no",
        ]
        for one in document["apps"]
    ]
    table("What was shown", ["place", "app", "source", "score", "true chance", "acquired"], rows)
    ranked = {name: one["apps"] for name, one in document["arms"].items() if one["apps"]}
    rows = [
        [
            str(one["app"]),
            *(f"{apps[place]['rank']} ({apps[place]['score']:.2f})" for apps in ranked.values()),
        ]
        for place, one in enumerate(document["apps"])
    ]
    table("\nPlace (and score) of the same apps by each arm's model of the day", ["app", *ranked], rows)
    of = document["arms"][arm]
    typer.echo(f"\nShares of the log odds under {of['model_version'] or arm}:")
    if of["status"] != "ok":
        typer.echo(of["status"])
    for one in of["apps"]:
        typer.echo(_line(one, whole=whole))


def _line(one: dict[str, Any], *, whole: bool) -> str:
    """An app's score as the sum of its shares; `whole` gives each a line."""
    parts = list(one["parts"].items())
    if not parts:
        return f"app {one['app']}: {one['score']:+.3f}"
    if whole:
        lines = [f"  {share:+.6f}  {name}" for name, share in parts]
        total = sum(share for _, share in parts)
        return "\n".join([f"app {one['app']}: {one['score']:+.6f}", *lines, f"  {total:+.6f}  sum"])
    first, others = parts[:SHARES], parts[SHARES:]
    words = [f"{name} {share:+.2f}" for name, share in first]
    if others:
        words.append(f"{len(others)} others {sum(share for _, share in others):+.2f}")
    return f"app {one['app']}: {one['score']:+.3f} = {', '.join(words)}"


def _day(document: dict[str, Any]) -> int:
    day: int = document["request"]["sim_day"]
    return day
