"""From a configuration to a report: the run folder around the loop, and what is noted when it ends."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiment.config import Config
from experiment.errors import BadInput
from experiment.executor import placed, refuse_missing
from experiment.folder.journal import Journal
from experiment.folder.rundir import RunFolder, default_path
from experiment.reporting.report import Report

if TYPE_CHECKING:
    from experiment.progress import Display


def run(config: Config, out: Path | str | None = None, *, display: Display | None = None) -> Report:
    """Runs an experiment in a new run folder and returns its report; the command line does the same.

    Args:
        config: see `experiment.load_config`.
        out: the run folder, which must not exist; by default `runs/<timestamp>-<preset>-seed<seed>`.
        display: shows the progress; by default nobody watches.

    Raises:
        BadInput: `out` is taken; for an unfinished run the message says how to resume it. The store has too
            few apps to fill a request. An arm's net is to train on a device that is not here.
        WorkerLostError: a worker process died. Finished days are kept.
    """
    refuse_missing(config.run)
    refuse_device(config)
    refuse_small(config)
    path = default_path(config) if out is None else Path(out)
    return work_on(RunFolder.create(path, config), display=display)


def resume(
    path: Path | str,
    *,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    display: Display | None = None,
) -> Report:
    """Goes on with the run at `path` after its last finished day; a finished run only returns its report.

    Args:
        path: of the run folder. workers, executor, address: as in `run` of the configuration; by default as
            the run began. display: shows the progress.

    Raises:
        RunFolderError: there is no run, or a file that it needs is not what was written.
        LockedError: another process is writing it.
        BadInput: an arm's net is to train on a device that is not here.
    """
    folder = RunFolder.open(Path(path))
    run_by = placed(folder.config.run, workers, executor, address)
    if folder.manifest.complete:
        return Report(folder.report())
    with folder.locked():
        folder.check()
        refuse_missing(run_by)
        folder.config = folder.config.model_copy(update={"run": run_by})
        refuse_device(folder.config)
        return work_on(folder, display=display)


def work_on(folder: RunFolder, *, display: Display | None = None) -> Report:
    """Runs the loop over `folder`, locked, and notes in it how that ended."""
    from experiment import loop
    from experiment.progress import Progress

    with folder.locked(), _nothing_remembered():
        journal = Journal(folder.path, folder.config)
        try:
            with contextlib.nullcontext() if display is None else display:
                report = loop.run(folder, Progress(folder, journal, display))
        except KeyboardInterrupt as error:
            error.add_note(_how_to_go_on(folder))
            _note(lambda: journal.event("interrupted", finished_day=folder.manifest.finished_day))
            _note(lambda: journal.update("interrupted", message="stopped by the user"))
            raise
        except BaseException as error:
            cause = one_line(error)
            trace = "".join(traceback.format_exception(error))
            _note(lambda: journal.event("failed", cause=cause, traceback=trace))
            _note(lambda: journal.update("failed", message=cause))
            error.add_note(_how_to_go_on(folder))
            raise
        journal.event("done", finished_day=folder.manifest.finished_day)
        journal.update("done", phase="done", share=1.0, finished_day=folder.manifest.finished_day)
        return report


@contextlib.contextmanager
def _nothing_remembered() -> Iterator[None]:
    """A block before and after which this process remembers nothing of a run: a folder may be used again."""
    from experiment import indexing, nightly, serving

    for of in (serving, nightly, indexing):
        of.forget()
    try:
        yield
    finally:
        for of in (serving, nightly, indexing):
            of.forget()


def refuse_small(config: Config) -> None:
    """Raises BadInput where fewer apps are released on the first day than a request needs."""
    from experiment.plan import all_days
    from experiment.worlds import world_of

    needed = config.retrieval.candidates + config.users.installed_capacity
    if config.world.apps * (1 - config.world.turnover) > 2 * needed:
        return  # of the old ones alone there are enough
    released = int((world_of(config).apps.release_day <= all_days(config)[0]).sum())
    if released < needed:
        raise BadInput(
            f"world.apps: got {config.world.apps}, of which {released} are released on the first day, "
            f"allowed: {needed} or more of them "
            "(retrieval.candidates + users.installed_capacity); see world.turnover"
        )


def refuse_device(config: Config) -> None:
    """Raises BadInput where the net of an arm is to train on a device that this machine has not."""
    if config.run.executor == "ray":
        return  # its workers are elsewhere
    for name, arm in config.arms.items():
        ours = ":" not in arm.kind
        device = arm.settings["deep"]["device"] if ours and "deep" in arm.settings else "cpu"
        if device != "cpu":
            from models import devices

            try:
                devices.require(device)
            except ValueError as error:
                raise BadInput(f"arms.{name}.settings.deep.{error}") from error


def one_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    message = str(error).strip().split("\n")[0]
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def _how_to_go_on(folder: RunFolder) -> str:
    return f"Finished days are kept. Go on with: storelift resume {folder.path}"


def _note(write: Callable[[], None]) -> None:
    """Writes down how a run ended, unless the disk is what ended it."""
    with contextlib.suppress(OSError):
        write()
