"""The command line's frame: commands that are imported when they are called, and one meaning per exit code.

0 done; 1 failed while running, with the cause in one line; 2 bad input, a line per problem; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
import typer.core
import typer.main

from experiment.errors import BadInput

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Later:
    """Commands of another module, which has a `register(app)`; imported when one of them is called.

    Attributes:
        module: its name. names: of its commands, with a line of help each.
    """

    module: str
    names: dict[str, str]


LATER = (
    Later(
        "experiment.analyze.command",
        {
            "analyze": "Analyse a table of users, of any experiment.",
            "power": "Say what an experiment of a given size can see.",
        },
    ),
    Later("experiment.truth.command", {"truth": "Replay every user under every arm: the true lift."}),
    Later("experiment.preference.command", {"world": "Say how sparse, and of what rank, preferences are."}),
    Later("experiment.slices.command", {"slices": "Part what each arm showed by what it could know."}),
    Later(
        "experiment.calibration.calibrate",
        {"calibrate": "Hold the statistics against the truth: errors, coverage, power."},
    ),
    Later(
        "experiment.offpolicy.command",
        {"offpolicy": "Estimate each arm's lift from production's log, before it has served."},
    ),
    Later("experiment.reporting.compare", {"compare": "Set runs side by side."}),
    Later("experiment.study.sweep", {"study": "Sweep settings and seeds."}),
    Later(
        "experiment.interference.command",
        {"interference": "Compare designs of an experiment whose rankers share data."},
    ),
    Later("experiment.study.reproduce", {"reproduce": "Count the paper's claims over seeds."}),
    Later("experiment.bench.command", {"bench": "Measure simulation, training and serving."}),
    Later("experiment.server.command", {"serve": "Serve a run's model over HTTP."}),
    Later("experiment.explain", {"explain": "Take a logged score apart, feature by feature."}),
    Later("experiment.check", {"check": "Put a ranker of your own through the contract tests."}),
    Later("experiment.window", {"dashboard": "Open the dashboard."}),
)


def there_is(name: str) -> bool:
    """Whether a command of `LATER` is there."""
    return any(name in later.names and importlib.util.find_spec(later.module) for later in LATER)


class Commands(typer.core.TyperGroup):
    """The commands of the application; those of `LATER` are only named until one is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._later: dict[str, Later] = {}
        for later in LATER:
            if importlib.util.find_spec(later.module) is None:
                continue
            for name, words in later.names.items():
                self._later[name] = later
                self.commands[name] = typer.core.TyperCommand(name, help=words, callback=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Puts the true command in place of a named one that is called."""
        later = self._later.pop(args[0], None)
        if later is not None:
            app = typer.Typer(add_completion=False)
            importlib.import_module(later.module).register(app)
            app.callback()(lambda: None)
            self.commands[args[0]] = typer.main.get_group(app).commands[args[0]]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; what it raises becomes lines on stderr and an exit code."""
        with answering():
            return super().invoke(ctx)


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turns exceptions into exit codes; with STORELIFT_DEBUG set, the traceback is shown too."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except BadInput as error:
        _say(error, str(error))
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt as error:
        _say(error, "interrupted")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError:
        raise
    except Exception as error:
        from experiment.running import one_line

        _say(error, one_line(error))
        raise typer.Exit(FAILED) from error


def _say(error: BaseException, message: str) -> None:
    if os.environ.get("STORELIFT_DEBUG"):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    lines = [line for line in message.split("\n") if line]
    notes: list[str] = getattr(error, "__notes__", [])
    for line in [*(f"storelift: {line}" for line in lines), *notes]:
        typer.echo(line, err=True)
