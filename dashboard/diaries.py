"""What the finished days say of themselves: the gate's verdicts, the quality served, where their log lies."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from dashboard.reading import Document, Key, Run
from experiment.paths import RunPaths


def entries(run: Run) -> list[tuple[int, Document]]:
    """The finished days' entries: the gate's verdicts and the quality that was served, by simulated day."""
    return _entries(run.key)


@lru_cache(maxsize=16)
def _entries(key: Key) -> list[tuple[int, Document]]:

    found = []
    for file in (Path(key.path) / "metrics" / "days").glob("day=*.json"):
        text = file.stem.partition("=")[2]
        if key.finished is None or not text.lstrip("-").isdigit() or int(text) > key.finished:
            continue
        try:
            entry = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(entry, dict):
            found.append((int(text), entry))
    return sorted(found, key=lambda pair: pair[0])


def log_days(run: Run, kind: str = "log") -> list[tuple[str, int, Path]]:
    """(arm, day, folder) of the finished days of the log, or of the truth."""
    found = []
    for arm in [*run.arms, "production"]:
        for day in range(1 - int(run.setting("experiment.pre_days", 0)), (run.finished_day or 0) + 1):
            paths = RunPaths(run.path)
            folder = paths.log(arm, day) if kind == "log" else paths.truth(arm, day)
            if run.finished_day is not None and folder.is_dir():
                found.append((arm, day, folder))
    return found
