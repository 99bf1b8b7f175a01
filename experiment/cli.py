"""The command line: `storelift run`, `resume`, `list`, `report`, `verify`, `config`; others are added.

Nothing heavy is imported before a command runs, so that `storelift --help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment import options
from experiment.command_group import FAILED, Commands, there_is
from experiment.signals import terminable

if TYPE_CHECKING:
    from experiment.progress import Display
    from experiment.reporting.report import Report

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A laboratory for online experiments on ranking: which ranker acquires more, by how much, how sure.",
)
config_app = typer.Typer(no_args_is_help=True, help="Show a configuration, or the schema of all.")
app.add_typer(config_app, name="config")

Preset = Annotated[str | None, typer.Option(help="tiny, quick (the default), standard, paper, planet or aa.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Changes one setting, for example world.drift=0.05."),
]
File = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML that is laid over the preset.")
]
Seed = Annotated[int | None, typer.Option(help="Draws the world, the users and every coin.")]
Arms = Annotated[
    str | None, typer.Option(metavar="A,B,…", help="The arms, for example wide,deep,wide_deep,fm.")
]
Own = Annotated[
    list[str] | None,
    typer.Option("--arm", metavar="NAME=MODULE:CLASS", help="An arm with a ranker of your own."),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]


@app.callback(invoke_without_command=True)
def main(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """A laboratory for online experiments on ranking: which ranker acquires more, by how much, how sure."""
    if debug:
        os.environ["STORELIFT_DEBUG"] = "1"
    if version:
        from importlib.metadata import version as of

        typer.echo(f"storelift {of('storelift')}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command()
def run(
    preset: Preset = None,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; it must not exist.")] = None,
    arms: Arms = None,
    arm: Own = None,
    setting: Setting = None,
    file: File = None,
    stop_when: Annotated[
        str | None, typer.Option(metavar="never|decided", help="Whether to stop once every lift is decided.")
    ] = None,
    executor: options.Executor = None,
    address: options.Address = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; 0 takes one per core.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run an online experiment and print its table, the paper's figures under ours."""
    from experiment import running
    from experiment.folder.rundir import default_path
    from experiment.loading import load

    overrides = list(setting or [])
    if stop_when is not None:
        overrides.append(f"experiment.stop_when={stop_when}")
    config = load(
        preset,
        overrides,
        file=file,
        seed=seed,
        arms=arms,
        rankers=_own(arm),
        workers=workers,
        executor=executor,
        address=address,
    )
    path = default_path(config) if out is None else out
    with terminable():
        report = running.run(config, path, display=_display(quiet=quiet, lines=not as_json))
    _print(report, path, as_json=as_json)


@app.command()
def resume(
    run_dir: RunDir,
    executor: options.Executor = None,
    address: options.Address = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes, else as the run began.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a run after its last finished day."""
    from experiment import running

    with terminable():
        report = running.resume(
            run_dir,
            workers=workers,
            executor=executor,
            address=address,
            display=_display(quiet=quiet, lines=not as_json),
        )
    _print(report, run_dir, as_json=as_json)


@app.command(name="list")
def list_runs(
    root: Annotated[Path, typer.Argument(metavar="[ROOT]", help="Where the run folders are.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    from experiment import listing

    runs = listing.runs_in(root)
    if as_json:
        _dump([listing.plain(one) for one in runs])
    else:
        _console().print(listing.render(runs, root))


@app.command()
def report(
    run_dir: RunDir,
    as_json: Json = False,
    html: Annotated[
        bool,
        typer.Option("--html", help="Write it as one HTML file, figures included, that needs nothing else."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where --html writes; by default report.html in DIR.")
    ] = None,
) -> None:
    """Print the report of a finished run, or write that of any run with results as a page."""
    from experiment.errors import BadInput
    from experiment.folder.rundir import RunFolder
    from experiment.reporting.report import Report

    if out is not None and not html:
        raise BadInput(f"out: got {out} without --html, allowed: with --html")
    if html:
        from experiment.window import write_html

        written = write_html(run_dir, out)
        if not as_json:
            typer.echo(f"Wrote {written}")
            return
    _print(Report(RunFolder.open(run_dir).report()), run_dir, as_json=as_json)


@app.command()
def verify(run_dir: RunDir, as_json: Json = False) -> None:
    """Check every file of a run against its checksum; exit code 1 if one is not what was written."""
    from experiment.folder.rundir import RunFolder

    folder = RunFolder.open(run_dir)
    problems = folder.verify()
    files = len(folder.manifest.artefacts)
    if as_json:
        _dump({"files": files, "problems": problems})
    else:
        for problem in problems:
            typer.echo(problem)
        typer.echo(f"{files} files, {len(problems)} not as written")
    if problems:
        raise typer.Exit(FAILED)


@config_app.command("show")
def config_show(
    preset: Preset = None,
    setting: Setting = None,
    file: File = None,
    seed: Seed = None,
    arms: Arms = None,
    arm: Own = None,
    as_json: Json = False,
) -> None:
    """Print the whole configuration that `run` would take, as TOML."""
    from experiment.loading import load

    config = load(preset, setting or [], file=file, seed=seed, arms=arms, rankers=_own(arm))
    if as_json:
        _dump(config.model_dump(mode="json"))
    else:
        typer.echo(config.to_toml(), nl=False)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of a configuration: every setting, its range and its meaning."""
    from experiment.config import Config

    _dump(Config.model_json_schema())


def _own(arms: list[str] | None) -> dict[str, str]:
    """`--arm NAME=module:Class`, by name. Raises BadInput."""
    from experiment.errors import BadInput

    own: dict[str, str] = {}
    for text in arms or []:
        name, equals, kind = text.partition("=")
        if not equals or ":" not in kind:
            raise BadInput(f"arm: got {text!r}, allowed: NAME=module:Class")
        if name in own:
            raise BadInput(f"arm: got {name!r} twice, allowed: once")
        own[name] = kind
    return own


def _print(report: Report, path: Path, *, as_json: bool) -> None:
    if as_json:
        _dump(report.document)
        return
    from experiment.reporting.table import render

    commands = [("dashboard", "storelift dashboard", "look closer")]
    if all(c["true_lift"] is None for c in report.comparisons):
        commands.insert(0, ("truth", f"storelift truth {path}", "the true gain: every user under every arm"))
    console = _console()
    known = [(command, use) for name, command, use in commands if there_is(name)]
    console.print(render(report.document, console.width, known))


def _dump(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def _display(*, quiet: bool, lines: bool) -> Display | None:
    if quiet:
        return None
    from rich.console import Console

    from experiment.display import choose

    return choose(Console(stderr=True), lines=lines)


if __name__ == "__main__":
    sys.exit(app())
