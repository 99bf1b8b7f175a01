"""How a run is doing: `status.json` at a glance, `events.jsonl` as it went, for people and for pages.

Neither decides anything: a run goes on from its manifest. Wall-clock times are seconds since 1970 and end in
`wall_s`; simulated days are `sim_day`.
"""

from __future__ import annotations

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
from experiment.folder.manifest import FORMAT, RunFolderError

STATUS, EVENTS, LOCK = "status.json", "events.jsonl", "lock"

STATES = ("running", "done", "failed", "interrupted")


class Journal:
    """Writes a run's status and events. One per session of work on a run; opened with the folder locked.

    Attributes:
        status: the fields of status.json.
    """

    def __init__(self, root: Path, config: Config) -> None:
        self._root, self._began = root, time.time()
        try:
            self.status = _read(root)
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
        self.status = {"format": FORMAT, **first, **days, **progress, **started, **self.status}

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
        }
        write_sealed(self._root / STATUS, self.status, flush=False)
        lock.touch(self._root / LOCK)

    def event(self, event: str, **fields: Any) -> None:
        """Appends one event with its wall-clock time."""
        line = json.dumps({"wall_s": round(time.time(), 3), "event": event, **fields}, ensure_ascii=False)
        with (self._root / EVENTS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_status(root: Path) -> dict[str, Any]:
    """The status of the run at `root`; one whose process is gone is `interrupted`, whatever it last wrote.

    Raises:
        RunFolderError: there is none, or not the one that was written.
    """
    try:
        status = _read(root)
    except (OSError, TornError) as error:
        raise RunFolderError(f"{root / STATUS}: got no status ({error}), allowed: one as written") from error
    if status.get("state") == "running" and lock.holder(root / LOCK) is None:
        status |= {"state": "interrupted", "message": "its process is gone"}
    return status


def read_events(root: Path) -> Iterator[dict[str, Any]]:
    """The events of the run at `root`, oldest first; a line that was cut off by a crash is left out."""
    try:
        lines = (root / EVENTS).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _read(root: Path) -> dict[str, Any]:
    status = read_sealed(root / STATUS)
    if status.get("format") != FORMAT:
        raise TornError(f"format: got {status.get('format')!r}, allowed: {FORMAT}")
    return status
