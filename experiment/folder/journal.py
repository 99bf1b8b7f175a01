"""How a run is doing: `status.json` at a glance, `events.jsonl` as it went, for people and for pages.

Neither decides anything: a run goes on from its manifest. Wall-clock times are seconds since 1970 and end in
`wall_s`; simulated days are `sim_day`. Each line of the events ends in a checksum of itself and of the run's
configuration, and the status counts the lines, so that what was changed or cut is noticed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiment.config import Config
from experiment.folder import lock
from experiment.folder.atomic import TornError, read_sealed, write_sealed
from experiment.folder.manifest import FORMAT, READABLE, SEALED, Manifest, RunFolderError, allowed_formats

STATUS, EVENTS, LOCK = "status.json", "events.jsonl", "lock"

_SUM = "sum"

STATES = ("running", "done", "failed", "interrupted")


class Journal:
    """Writes a run's status and events. One per session of work on a run; opened with the folder locked.

    Attributes:
        status: the fields of status.json.
    """

    def __init__(self, root: Path, config: Config) -> None:
        self._root, self._began = root, time.time()
        self._hash, format_ = config.config_hash(), _whose(root)[1]
        _cut_torn_line(root / EVENTS)
        self._events = sum(1 for _ in _lines(root))
        try:
            self.status = _read(root)
            _same_run(self.status, self._hash, format_)
        except (OSError, TornError):
            self.status = {}
        self._worked = float(self.status.get("worked_s", 0.0))
        first = {"preset": config.preset, "seed": config.seed, "control": config.experiment.control}
        days = {"days": config.experiment.days, "pre_days": config.experiment.pre_days}
        progress: dict[str, Any] = {
            "phase": "starting",
            "sim_day": None,
            "finished_day": None,
            "impressions": 0,
            "arms": {},
        }
        started = {"started_wall_s": round(self._began, 3)}
        known = {"format": format_, "config_hash": self._hash}
        self.status = {**known, **first, **days, **progress, **started, **self.status}

    def update(self, state: str = "running", **fields: Any) -> None:
        """Puts `fields` into the status, and on the disk with state, heartbeat, pid and host."""
        now = time.time()
        self.status |= {
            **fields,
            "state": state,
            "heartbeat_wall_s": round(now, 3),
            "worked_s": round(self._worked + now - self._began, 3),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "events": self._events,
        }
        write_sealed(self._root / STATUS, self.status, flush=False)

    def event(self, event: str, **fields: Any) -> None:
        """Appends one event with its wall-clock time."""
        document = {"wall_s": round(time.time(), 3), "event": event, **fields}
        if self.status["format"] >= SEALED:
            document[_SUM] = _sum(self._hash, document)
        _append(self._root / EVENTS, (json.dumps(document, ensure_ascii=False) + "\n").encode())
        self._events += 1


def read_status(root: Path) -> dict[str, Any]:
    """The status of the run at `root`; one whose process is gone is `interrupted`, whatever it last wrote.

    Raises:
        RunFolderError: there is none, or not the one that was written.
    """
    try:
        status = _read(root)
        _same_run(status, *_whose(root))
    except (OSError, TornError) as error:
        raise RunFolderError(f"{root / STATUS}: got no status ({error}), allowed: one as written") from error
    if status.get("state") == "running" and lock.holder(root / LOCK) is None:
        status |= {"state": "interrupted", "message": "its process is gone"}
    return status


def read_events(root: Path) -> Iterator[dict[str, Any]]:
    """The events of the run at `root`, oldest first; a line that is not as it was written is left out."""
    config_hash, format_ = _whose(root)
    for line in _lines(root):
        event = _event(line, config_hash, format_)
        if event is not None:
            yield event


def verify(root: Path) -> list[str]:
    """What is wrong with the status and the events of the run at `root`, one line each."""
    try:
        status = _read(root)
        _same_run(status, *_whose(root))
    except FileNotFoundError:
        if not (root / EVENTS).exists():
            return []  # nobody has worked on it yet
        return [f"{root / STATUS}: got no file, allowed: one as written"]
    except (OSError, TornError) as error:
        return [f"{root / STATUS}: got no status ({error}), allowed: one as written"]
    config_hash, format_ = _whose(root)
    if format_ < SEALED:
        return []
    lines = list(_lines(root))
    good = sum(_event(line, config_hash, format_) is not None for line in lines)
    if good < len(lines):
        return [f"{root / EVENTS}: got {len(lines) - good} lines that are not as written, allowed: none"]
    if good < status.get("events", 0):
        return [f"{root / EVENTS}: got {good} lines, allowed: at least {status['events']} as written"]
    return []


def _whose(root: Path) -> tuple[str, int]:
    """Configuration hash and format of the run at `root`, as its manifest has them; else none."""
    try:
        manifest = Manifest.read(root)
    except RunFolderError:
        return "", FORMAT
    return manifest.config_hash, manifest.format


def _same_run(status: dict[str, Any], config_hash: str, format_: int) -> None:
    """Raises TornError for a status of another run; those of older formats do not say whose they are."""
    whose = status.get("config_hash", config_hash if format_ < SEALED else None)
    if config_hash and whose != config_hash:
        raise TornError(f"config_hash: got {whose!r}, allowed: {config_hash!r}")


def _lines(root: Path) -> Iterator[str]:
    """The lines of the events, without what cannot be read."""
    with contextlib.suppress(FileNotFoundError):
        text = (root / EVENTS).read_text("utf-8", errors="replace")
        yield from text.removesuffix("\n").split("\n") if text else ()  # JSON may hold other ends of lines


def _event(line: str, config_hash: str, format_: int) -> dict[str, Any] | None:
    """The event of a line; None where it is not as it was written."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or (
        format_ >= SEALED and event.pop(_SUM, None) != _sum(config_hash, event)
    ):
        return None
    return event


def _sum(config_hash: str, event: dict[str, Any]) -> str:
    text = json.dumps(event, ensure_ascii=False)
    return hashlib.sha256(f"{config_hash}\n{text}".encode()).hexdigest()[:16]


def _append(path: Path, line: bytes) -> None:
    """Adds a line, whole or not at all: on a full disk nothing is left of it."""
    with path.open("ab", buffering=0) as file:
        end, written = file.seek(0, os.SEEK_END), 0
        try:
            written = file.write(line)
        finally:
            if written < len(line):
                file.truncate(end)
    if written < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _cut_torn_line(path: Path) -> None:
    """Takes off what a killed process left of its last line, so that the next one begins a new line."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        at, tail = end, b""
        while at > 0 and b"\n" not in tail:
            at = max(0, at - 4096)
            file.seek(at)
            tail = file.read(end - at)
        file.truncate(at + tail.rfind(b"\n") + 1)


def _read(root: Path) -> dict[str, Any]:
    status = read_sealed(root / STATUS)
    if status.get("format") not in READABLE:
        raise TornError(f"format: got {status.get('format')!r}, allowed: {allowed_formats()}")
    if not isinstance(status.get("events", 0), int):
        raise TornError(f"events: got {status['events']!r}, allowed: a whole number")
    return status
