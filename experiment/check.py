"""`storelift check module:Class`: a ranker of one's own, put through the contract of all rankers.

The checks are those of `models.contract`, the tests' own; here they run on three days of a tiny store, which
popularity serves with much exploration.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.contract import Material, Outcome

USERS, DAYS = 500, (1, 2, 3)
"""Users of the store, and the days of its log."""


def check(kind: str, settings: dict[str, Any] | None = None, tell: Any = None) -> list[Outcome]:
    """The outcome of every check.

    Args:
        kind: `module:Class`, or a kind that ships. settings: of the ranker, the defaults otherwise.
        tell: is told how many checks of how many are done.

    Raises:
        BadInput: there is no such class, or it refuses the settings.
    """
    from experiment.rankers import complete
    from experiment.worker import prepare_worker
    from models.contract import Subject, examine

    problems: list[str] = []
    whole = complete(kind, settings or {}, "", problems)
    if kind == "oracle":
        problems.append("kind: got 'oracle', allowed: a ranker that learns")
    if problems:
        raise BadInput("\n".join(problems))
    prepare_worker()
    return examine(Subject(kind, whole, material()), tell)


def material() -> Material:
    """Three days of a tiny store as popularity served it, and two blocks of requests with candidates."""
    import numpy as np

    from experiment.loading import load
    from experiment.worlds import world_of
    from models import registry
    from models.contract import Material
    from simulator import retrieval, traffic
    from simulator.schema import Log

    config = load("tiny")
    world = world_of(config)
    audience = traffic.arrive(world, np.arange(USERS))
    counts = retrieval.Counts.empty()
    popularity = registry.create("popularity", world.apps, world.cardinalities, {}, 0)
    policy = traffic.Policy(popularity, "popularity", config.experiment.shown, 1.0)
    logs, blocks = [], []
    for day in DAYS:
        index = retrieval.build_index(world.retrieval, world.users.countries, world.catalogue, counts, day)
        rows = world.visitors(audience.profiles, day)[: traffic.BLOCK]
        blocks.append(world.requests(audience.profiles, rows, audience.installed, day, index)[0])
        logs.append(traffic.serve(world, audience, day, policy, index)[0])
    return Material(world.apps, world.cardinalities, Log.concatenate(logs), blocks[-1], blocks[0])


def document(kind: str, settings: dict[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The outcomes as plain data."""
    import dataclasses

    return {
        "ranker": kind,
        "settings": settings,
        "passed": all(outcome.passed for outcome in outcomes),
        "checks": [dataclasses.asdict(outcome) for outcome in outcomes],
    }


def render(found: dict[str, Any]) -> Any:
    """A row per check, why it fails under it; then the verdict."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), show_header=False
    )
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for one in found["checks"]:
        words = Text(one["sentence"])
        if not one["passed"]:
            words.append(f"\n{one['reason']}", "red")
        sign = Text("✓", "green") if one["passed"] else Text("✗", "bold red")
        table.add_row(sign, one["name"], words)
    kept = sum(one["passed"] for one in found["checks"])
    total = len(found["checks"])
    if found["passed"]:
        verdict = Text(f"All {total} checks hold.", "green")
        if ":" in found["ranker"]:
            verdict.append("  Next  ", "default bold")
            verdict.append(f"storelift run --arm mine={found['ranker']}", "cyan")
    else:
        verdict = Text(f"{kept} of {total} checks hold; a run with this ranker could not be trusted.", "red")
    return Group(Text(), table, Text(), verdict)


def _settings(file: Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """The settings that a TOML file and `--set` state, the latter over the former. Raises BadInput."""
    from experiment.loading import parse_overrides

    settings: dict[str, Any] = {}
    if file is not None:
        try:
            settings = tomllib.loads(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadInput(f"settings: got {file}, allowed: a readable TOML file ({error})") from error
    for path, value in parse_overrides(overrides):
        *tables, key = path.split(".")
        place = settings
        for name in tables:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise BadInput(f"{path}: got a path below a value, allowed: a table")
        place[key] = value
    return settings


def register(app: typer.Typer) -> None:
    """Adds the command `check`."""

    @app.command("check")
    def check_command(
        ranker: Annotated[str, typer.Argument(metavar="MODULE:CLASS", help="A ranker of your own.")],
        settings: Annotated[
            Path | None, typer.Option(metavar="FILE", help="TOML with the ranker's settings.")
        ] = None,
        setting: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Changes one of its settings.")
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Put a ranker of your own through the contract tests; exit code 1 if one fails."""
        from experiment.command_group import FAILED
        from experiment.watching import watched

        given = _settings(settings, setting or [])
        with watched("checks", quiet=quiet) as tell:
            found = document(ranker, given, check(ranker, given, tell))
        if as_json:
            typer.echo(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            from rich.console import Console

            Console(highlight=False).print(render(found))
        if not found["passed"]:
            raise typer.Exit(FAILED)
