"""One cell of a study: a run, its truth, its figures; then what is bulky is dropped.

`work` is a task for a worker process. Its run folder is an ordinary one, so a cell that was stopped goes on
where it was; its result is a small JSON file, written before anything is dropped.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiment import program

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.folder.rundir import RunFolder

FORMAT = 1
BULKY = ("log", "truth", "models", "state", "latency")
"""Folders of a finished cell that are dropped unless they are to be kept."""


@dataclass(frozen=True, slots=True)
class CellTask:
    """A cell to be worked on.

    Attributes:
        name: of the cell. variant, seed, config, extras: what it is. run: its run folder.
        result: where its figures go. keep: leave the whole run folder.
        program: the code that its figures shall come from, see `experiment.program`.
    """

    name: str
    variant: str
    seed: int
    config: Config
    extras: tuple[str, ...]
    run: Path
    result: Path
    keep: bool
    program: str


class ProgramChangedError(RuntimeError):
    """The code on the disk is no longer that which the study began with, whose figures are these?."""


def attempt(task: CellTask) -> dict[str, Any]:
    """As `work`; a cell that cannot be run is told as `{"variant", "seed", "failed"}`, so that others go on.

    Raises:
        LockedError, ProgramChangedError, OSError, MemoryError: what the other cells would meet as well.
    """
    from experiment.folder.lock import LockedError

    try:
        return work(task)
    except (LockedError, ProgramChangedError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - of whatever kind: it is told, and the study says that it failed
        from experiment.running import one_line

        return {"variant": task.variant, "seed": task.seed, "failed": one_line(error)}


def work(task: CellTask) -> dict[str, Any]:
    """Runs the cell, or goes on with it, measures it, saves the figures and drops what is bulky.

    Raises:
        LockedError: another process is working on it.
        ProgramChangedError: the code has changed since the study began.
    """
    from experiment import running
    from experiment.folder import atomic
    from experiment.folder.rundir import RunFolder
    from experiment.orphans import end_with_parent
    from experiment.study import measures as study_measures
    from experiment.truth.command import find_truth
    from experiment.worker import prepare_worker

    end_with_parent()
    prepare_worker()
    clock, cpu = time.perf_counter(), time.process_time()
    _refuse_other(task)
    if _begun(task):
        running.resume(task.run)
    else:
        _begun_by(task).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(_begun_by(task), task.program.encode())
        running.run(task.config, task.run)
    find_truth(task.run, workers=task.config.run.workers)
    folder = RunFolder.open(task.run)
    document = {
        "format": FORMAT,
        "cell": task.name,
        "variant": task.variant,
        "seed": task.seed,
        "config_hash": task.config.config_hash(),
        "program": task.program,
        "rankers": program.rankers(task.config),
        "control": task.config.experiment.control,
        "extras": list(task.extras),
        "arms": study_measures.measure(folder, task.extras),
        "comparisons": study_measures.pairs(folder),
        "clock": {
            "seconds": round(time.perf_counter() - clock, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        },
    }
    _refuse_other(task)
    atomic.write_json(task.result, document)
    if not task.keep:
        drop(folder)
    return document


def _begun(task: CellTask) -> bool:
    """Whether there is a run to go on with.

    One that other code began, or that was dropped and whose figures are lost, is deleted.
    """
    from experiment.folder import lock
    from experiment.folder.manifest import NAME
    from experiment.folder.rundir import RunFolder

    if not (task.run / NAME).exists():
        return False
    manifest = RunFolder.open(task.run).manifest
    whole = not manifest.complete or any(name.startswith("log/") for name in manifest.artefacts)
    by = _begun_by(task)
    if whole and (not by.exists() or by.read_text() == task.program):
        return True
    lock.refuse_held(task.run / "lock")
    shutil.rmtree(task.run)
    return False


def _begun_by(task: CellTask) -> Path:
    """The file that says which program began the cell's run."""
    return task.run.parent.with_name("begun") / task.name


def _refuse_other(task: CellTask) -> None:
    """Raises ProgramChangedError where the code on the disk is not the study's."""
    program.fingerprint.cache_clear()
    found = program.fingerprint()
    if found != task.program:
        raise ProgramChangedError(
            f"program: got {found} on the disk, the study began with {task.program}; the same command "
            "begins its open cells anew"
        )


def drop(folder: RunFolder) -> None:
    """Deletes a finished run's log, truth, models and state, and takes them off its manifest."""
    with folder.locked():
        folder.retire([folder.path / name for name in BULKY])
        folder.finish_day(folder.manifest.finished_day or 0)


def saved(path: Path, config: Config, extras: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """The figures at `path`, if they are those of this configuration with all of `extras`."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        return None
    if document.get("config_hash") != config.config_hash() or not set(extras) <= set(document["extras"]):
        return None
    return document if document.get("rankers", "") == program.rankers(config) else None
