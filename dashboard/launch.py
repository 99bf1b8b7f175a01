"""Starting and stopping runs: the command line's own process, which outlives the page.

Nothing is written here; the run writes its folder. Until that is there, what the process says is kept in a
temporary file, to be shown if it ends at once.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from experiment.config import Config
from experiment.errors import BadInput
from experiment.executor import refuse_missing
from experiment.folder import journal, lock
from experiment.loading import load
from experiment.running import refuse_device, refuse_small

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Order:
    """An experiment to be started.

    Attributes:
        preset: to begin from. seed: of everything. arms: that take part; none for the preset's.
        settings: `path=value`, as for `--set`. name: of the run folder; none for one by date.
    """

    preset: str
    seed: int = 0
    arms: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    name: str = ""

    def config(self) -> Config:
        """The configuration, checked as the command line does. Raises BadInput with its messages."""
        config = load(self.preset, list(self.settings), seed=self.seed, arms=list(self.arms) or None)
        refuse_missing(config.run)
        refuse_device(config)
        refuse_small(config)
        return config

    def arguments(self, out: Path) -> list[str]:
        """The command's arguments."""
        words = ["run", "--preset", self.preset, "--seed", str(self.seed), "--out", str(out), "--quiet"]
        if self.arms:
            words += ["--arms", ",".join(self.arms)]
        for setting in self.settings:
            words += ["--set", setting]
        return words

    def folder(self, root: Path) -> Path:
        """The run folder below `root`. Raises BadInput for a name that is none, or is taken."""
        name = self.name or f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{self.preset}-seed{self.seed}"
        if not NAME.fullmatch(name):
            raise BadInput(f"name: got {name!r}, allowed: letters, digits, dot, - and _, at most 100")
        path = root / name
        if path.exists() or path.is_symlink():
            raise BadInput(f"name: got {name!r}, which is taken, allowed: a new name")
        return path


@dataclass(slots=True)
class Launched:
    """A run that was started from here.

    Attributes:
        folder: where its run will be. process: of the command.
        said: file with what it says, which is deleted when it has ended. words: the last of it, kept then.
    """

    folder: Path
    process: subprocess.Popen[bytes]
    said: Path
    command: Sequence[str] = field(default=())
    words: str | None = None

    @property
    def code(self) -> int | None:
        """Its exit code; None while it works. To ask is what lets the system forget a process that ended."""
        code = self.process.poll()
        with _REAPING:
            if code is not None and self.words is None:
                self.words = _tail(self.said)
                self.said.unlink(missing_ok=True)
        return code

    def last_words(self) -> str:
        """What it said, the last lines."""
        return _tail(self.said) if self.code is None else self.words or ""


_LAUNCHED: dict[str, Launched] = {}
_REAPING = threading.Lock()


def _tail(said: Path) -> str:
    try:
        return "\n".join(said.read_text("utf-8", "replace").strip().split("\n")[-12:])
    except OSError:
        return ""


def reap() -> None:
    """Looks after the processes started here: one that ended would stay a zombie, and its file would stay."""
    for one in list(_LAUNCHED.values()):
        _ = one.code


def start(order: Order, root: Path) -> Launched:
    """Starts the experiment in a session of its own. Raises BadInput where the command line would."""
    order.config()
    folder = order.folder(root)
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "experiment.cli", *order.arguments(folder)]
    handle, name = tempfile.mkstemp(prefix="storelift-", suffix=".log")
    with os.fdopen(handle, "wb") as said:
        process = subprocess.Popen(  # noqa: S603 - this interpreter; the arguments have passed `load`
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    launched = Launched(folder, process, Path(name), command)
    _LAUNCHED[folder.name] = launched
    return launched


def started_here(name: str) -> Launched | None:
    """The process of the run of that name, if this window started it."""
    return _LAUNCHED.get(name)


def starting(root: Path) -> list[Launched]:
    """Processes started here whose run folder is not there yet, newest last."""
    own = [one for one in _LAUNCHED.values() if one.folder.parent == root]
    return [one for one in own if not (one.folder / journal.STATUS).exists()]


def stop(folder: Path) -> bool:
    """Asks the process that works on the run at `folder` to stop, as Ctrl-C does; whether there was one.

    It finishes nothing more, but leaves a run that can be resumed.
    """
    holder = lock.holder(folder / journal.LOCK)
    if holder is None or holder != _on_this_host(holder):
        return False
    try:
        os.kill(holder.pid, signal.SIGTERM if _ignores_interrupts(holder.pid) else signal.SIGINT)
    except ProcessLookupError:
        return False
    return True


def _on_this_host(holder: lock.Holder) -> lock.Holder | None:
    return holder if holder.host == lock.Holder.me().host else None


def _ignores_interrupts(pid: int) -> bool:
    """Whether the process ignores SIGINT, as children of a background shell do; SIGTERM does the same."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    found = re.search(r"^SigIgn:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(found and int(found[1], 16) >> (signal.SIGINT - 1) & 1)
