"""What the finished days say of themselves: the gate's verdicts, the quality served, and their logs."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from dashboard import intact
from dashboard.reading import Document, Key, Run
from experiment.folder.paths import RunPaths

BULKY = ("log/", "truth/", "models/", "state/")
"""What is too large to be read only to know whether it was changed."""


def entries(run: Run) -> list[tuple[int, Document]]:
    """The finished days' entries: the gate's verdicts and the quality that was served, by simulated day."""
    return _entries(run.key)


@lru_cache(maxsize=16)
def _entries(key: Key) -> list[tuple[int, Document]]:
    found: list[tuple[int, Document]] = []
    for day, file in days_of(key, "days", "json")[0]:
        try:
            entry = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(entry, dict):
            found.append((day, entry))
    return found


def days_of(key: Key, kind: str, suffix: str) -> tuple[list[tuple[int, Path]], list[str]]:
    """(day, file) of the finished days in `metrics/KIND/`, and the names of files that cannot be trusted."""
    known = {}
    for file in (Path(key.path) / "metrics" / kind).glob(f"day=*.{suffix}"):
        day = file.stem.partition("=")[2]
        if key.finished is not None and day.lstrip("-").isdigit() and int(day) <= key.finished:
            known[file] = int(day)
    good, bad = intact.split(key, known)
    return sorted((known[file], file) for file in good), bad


def untrusted(run: Run) -> list[str]:
    """Names of listed files that are not what was written; they are left out everywhere.

    The log, the truth, the models and the state are looked at when they are asked for, not here.
    """
    return intact.changed(run.key, BULKY)


def log_days(run: Run, kind: str = "log") -> list[tuple[str, int]]:
    """(arm, day) of the finished days of the log, or of the truth."""
    if run.finished_day is None:
        return []
    first = 1 - int(run.setting("experiment.pre_days", 0))
    return [
        (arm, day)
        for arm in [*run.arms, "production"]
        for day in range(first, run.finished_day + 1)
        if _folder(run, kind, arm, day).is_dir()
    ]


def parts(run: Run, kind: str, arm: str, day: int) -> list[Path]:
    """The intact parts of an arm's day in the log, or in the truth."""
    return intact.split(run.key, sorted(_folder(run, kind, arm, day).glob("part-*.parquet")))[0]


def _folder(run: Run, kind: str, arm: str, day: int) -> Path:
    paths = RunPaths(run.path)
    return paths.log(arm, day) if kind == "log" else paths.truth(arm, day)
