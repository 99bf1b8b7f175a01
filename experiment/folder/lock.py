"""One writer per run folder: a lock file that names its holder, and is recognised when its holder is gone."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from experiment.errors import BadInput

STRANGER_SECONDS = 600.0
"""A lock of another host, whose processes cannot be seen, counts as stale when untouched for so long."""

BEAT_SECONDS = 60.0
"""Whoever holds a lock touches it so often, whatever else it does."""

DEAD = ("Z", "X")
"""States of a process that has ended, but that its parent has not asked after: signals still reach it."""


class LockedError(BadInput):
    """Another process writes to the run folder."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock: its number, host and start (clock ticks since boot, or 0)."""

    pid: int
    host: str
    began: int

    @classmethod
    def me(cls) -> Holder:
        """This process."""
        return cls(os.getpid(), socket.gethostname(), _began(os.getpid()))


def holder(path: Path) -> Holder | None:
    """Who holds the lock at `path` now; None when nobody does, or only a process that is gone."""
    try:
        found = _read(path)
        age = time.time() - path.stat().st_mtime
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if found.host != socket.gethostname():
        return found if age < STRANGER_SECONDS else None
    return found if _alive(found) else None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock at `path` for the block; inside another such block of this process it changes nothing.

    Raises:
        LockedError: when another living process holds it; the message names its pid and host.
    """
    if holder(path) == Holder.me():
        yield
        return
    _take(path)
    gone = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, gone), name=f"lock {path}", daemon=True)
    beat.start()
    try:
        yield
    finally:
        gone.set()
        beat.join()
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            if _read(path) == Holder.me():
                path.unlink()


def refuse_held(path: Path) -> None:
    """Raises LockedError where a living process holds the lock at `path`; the message names pid and host."""
    found = holder(path)
    if found is not None:
        raise LockedError(
            f"{path.parent}: got a run that process {found.pid} on {found.host} is writing, "
            "allowed: one writer at a time"
        )


def _beat(path: Path, gone: threading.Event) -> None:
    """Shows other hosts that the holder of the lock at `path` is alive."""
    while not gone.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _take(path: Path) -> None:
    """Reads and writes the lock file under a kernel lock, so that two takers cannot both find it stale."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_still(path, descriptor):
                continue  # it was released, and deleted, between the two calls
            refuse_held(path)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(Holder.me())).encode(), 0)
            return
        finally:
            os.close(descriptor)


def _read(path: Path) -> Holder:
    """Who the lock file names. Raises OSError, ValueError, TypeError or KeyError if it names nobody."""
    fields = json.loads(path.read_bytes())
    return Holder(int(fields["pid"]), str(fields["host"]), int(fields["began"]))


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _alive(process: Holder) -> bool:
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _state(process.pid) not in DEAD and process.began in (0, _began(process.pid))


def _state(pid: int) -> str:
    """A process's state, a letter of Linux's stat file; none where there is no such file."""
    return next(iter(_stat(pid)), "")


def _began(pid: int) -> int:
    """Start of a process in clock ticks since boot (field 22 of Linux's stat file): its pid may be reused."""
    try:
        return int(_stat(pid)[19])
    except (ValueError, IndexError):
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of a process's stat file after its name, from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
