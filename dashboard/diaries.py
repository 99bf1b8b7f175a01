"""What the finished days say of themselves: the gate's verdicts, the quality served, and their logs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dashboard import intact
from dashboard.reading import Document, Key, Run
from experiment.folder.paths import RunPaths

BULKY = ("log/", "truth/", "models/", "state/")
"""What is too large to be read only to know whether it was changed."""


def entries(run: Run) -> list[tuple[int, Document]]:
    """The finished days' entries: the gate's verdicts and the quality that was served, by simulated day."""
    return _entries(days_of(run.key, "days", "json"))


@lru_cache(maxsize=16)
def _entries(files: tuple[DayFile, ...]) -> list[tuple[int, Document]]:
    found: list[tuple[int, Document]] = []
    for one in files:
        try:
            entry = json.loads(one.path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(entry, dict):
            found.append((one.day, entry))
    return found


@dataclass(frozen=True, slots=True)
class DayFile:
    """A file of a finished day that is as it was written.

    Attributes:
        day: simulated. path: of the file. stamp: changes with it, so that what was read of it may be kept.
    """

    day: int
    path: Path
    stamp: tuple[int, int]


def days_of(key: Key, kind: str, suffix: str) -> tuple[DayFile, ...]:
    """The finished days' files in `metrics/KIND/` that can be trusted, by day."""
    known = {}
    for file in (Path(key.path) / "metrics" / kind).glob(f"day=*.{suffix}"):
        day = file.stem.partition("=")[2]
        if key.finished is not None and day.lstrip("-").isdigit() and int(day) <= key.finished:
            known[file] = int(day)
    good = intact.split(key, known)[0]
    ordered = sorted((known[file], file) for file in good)
    return tuple(DayFile(day, file, intact.stamp(file)) for day, file in ordered)


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
