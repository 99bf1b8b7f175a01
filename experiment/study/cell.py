"""One cell of a study: a run, its truth, its figures; then what is bulky is dropped.

`work` is a task for a worker process. Its run folder is an ordinary one, so a cell that was stopped goes on
where it was; its result is a small JSON file, written before anything is dropped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.folder.rundir import RunFolder

FORMAT = 1
BULKY = ("log", "truth", "models", "state", "latency")
"""Folders of a finished cell that are dropped unless they are to be kept."""
NO_FIGURES = (
    "bench/", "server/", "interference/", "study/claims_text.py", "study/figure.py", "study/markdown.py",
    "study/page.py", "study/plan.py", "study/predictors.py", "study/reproduce.py", "study/spread.py",
    "study/summary.py", "study/sweep.py", "study/table.py",
)  # fmt: skip
"""What of the code has no part in a cell's figures."""


@dataclass(frozen=True, slots=True)
class CellTask:
    """A cell to be worked on.

    Attributes:
        name: of the cell. variant, seed, config, extras: what it is. run: its run folder.
        result: where its figures go. keep: leave the whole run folder.
    """

    name: str
    variant: str
    seed: int
    config: Config
    extras: tuple[str, ...]
    run: Path
    result: Path
    keep: bool


def work(task: CellTask) -> dict[str, Any]:
    """Runs the cell, or goes on with it, measures it, saves the figures and drops what is bulky.

    Raises:
        LockedError: another process is working on it.
    """
    from experiment import nightly, running
    from experiment.folder import atomic
    from experiment.folder.rundir import RunFolder
    from experiment.orphans import end_with_parent
    from experiment.study import measures as study_measures
    from experiment.truth.command import find_truth
    from experiment.worker import prepare_worker

    end_with_parent()
    prepare_worker()
    clock, cpu = time.perf_counter(), time.process_time()
    if _begun(task.run):
        running.resume(task.run)
    else:
        running.run(task.config, task.run)
    nightly.forget()
    find_truth(task.run, workers=task.config.run.workers)
    folder = RunFolder.open(task.run)
    document = {
        "format": FORMAT,
        "cell": task.name,
        "variant": task.variant,
        "seed": task.seed,
        "config_hash": task.config.config_hash(),
        "program": program(),
        "control": task.config.experiment.control,
        "extras": list(task.extras),
        "arms": study_measures.measure(folder, task.extras),
        "comparisons": study_measures.pairs(folder),
        "clock": {
            "seconds": round(time.perf_counter() - clock, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        },
    }
    atomic.write_json(task.result, document)
    if not task.keep:
        drop(folder)
    return document


def _begun(run: Path) -> bool:
    """Whether there is a run to go on with; one that was dropped, and whose figures are lost, is deleted."""
    from experiment.folder.manifest import NAME
    from experiment.folder.rundir import RunFolder

    if not (run / NAME).exists():
        return False
    manifest = RunFolder.open(run).manifest
    if not manifest.complete or any(name.startswith("log/") for name in manifest.artefacts):
        return True
    shutil.rmtree(run)
    return False


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
    return document


@lru_cache(maxsize=2)
def program(without: tuple[str, ...] = NO_FIGURES) -> str:
    """12 digits that stand for the code behind a cell's figures: those of different ones do not mix.

    Args:
        without: beginnings of paths within a package; what they name has no part in the figures.
    """
    import experiment
    import models
    import simulator

    sha = hashlib.sha256()
    for package in (simulator, models, experiment):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            name = file.relative_to(root).as_posix()
            if not name.startswith(without):
                sha.update(name.encode() + file.read_bytes())
    return sha.hexdigest()[:12]
