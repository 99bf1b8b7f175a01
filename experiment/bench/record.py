"""What a benchmark of serving leaves in a run folder, for the dashboard: `latency/serving.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment.folder.lock import LockedError
from experiment.folder.rundir import RunFolder

SERVING = "latency/serving.json"


def keep(run: Path, document: Mapping[str, Any]) -> bool:
    """Writes the document into the run folder; False where another process is writing the run."""
    folder = RunFolder.open(run)
    try:
        with folder.locked():
            folder.write_json(run / SERVING, document)
            folder.finish_day(folder.manifest.finished_day or 0)
    except LockedError:
        return False
    return True
