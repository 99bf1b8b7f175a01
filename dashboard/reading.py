"""The one reader of run folders: tolerant of what is half-written, failed, changed or of another version.

Nothing is written, and nothing is locked. What was read is kept until one of its files changes.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiment.folder import journal, lock
from experiment.folder.atomic import TornError, read_sealed
from experiment.folder.manifest import FORMAT, READABLE, SEALED, Manifest, RunFolderError
from experiment.folder.manifest import NAME as MANIFEST
from experiment.folder.rundir import CONFIG, REPORT

Document = Mapping[str, Any]
Signature = tuple[tuple[int, int], ...]

SIGNED = (MANIFEST, journal.STATUS, REPORT, CONFIG, journal.LOCK, journal.EVENTS)
STARTING_SECONDS = 60.0
"""A new run folder without a status belongs to a run that is starting, for so long."""

STATES = ("running", "done", "failed", "interrupted", "older", "damaged")


@dataclass(frozen=True, slots=True)
class Key:
    """Where a run's data are, up to which day, and when its configuration was written."""

    path: str
    finished: int | None
    made: tuple[int, int]

    @property
    def days(self) -> list[int]:
        """The finished days of the experiment."""
        return list(range(1, (self.finished or 0) + 1))


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder as it stands.

    Attributes:
        path: of the folder. name: of the folder, not to be trusted as markup.
        state: one of `STATES`. message: why it failed, stopped or cannot be trusted.
        config: plain data of config.toml, empty if it cannot be read.
        status: of status.json, empty if there is none.
        report: of report.json, None if there is none that can be read.
        finished_day: last finished simulated day, None before the first.
        warnings: what is wrong with files that could still be read.
        signature: changes when one of the run's files does.
    """

    path: Path
    name: str
    state: str
    message: str | None = None
    config: Document = field(default_factory=dict)
    status: Document = field(default_factory=dict)
    report: Document | None = None
    finished_day: int | None = None
    warnings: tuple[str, ...] = ()
    signature: Signature = ((0, 0),) * len(SIGNED)

    def setting(self, path: str, default: Any = None) -> Any:
        """A setting of the configuration by its dotted path."""
        found: Any = self.config
        for key in path.split("."):
            if not isinstance(found, Mapping) or key not in found:
                return default
            found = found[key]
        return found

    @property
    def arms(self) -> list[str]:
        """The arms, in the order of the report, else of the configuration."""
        if self.report is not None:
            return list(self.report.get("arms", {}))
        return list(self.setting("arms", {}))

    @property
    def control(self) -> str | None:
        """The control arm."""
        control = self.setting("experiment.control")
        if control is None and self.report is not None:
            control = self.report.get("run", {}).get("control")
        return control if control is None else str(control)

    @property
    def days(self) -> int | None:
        """Days of the experiment, as planned."""
        days = self.setting("experiment.days", self.status.get("days"))
        return days if isinstance(days, int) else None

    @property
    def day(self) -> int:
        """Days of the experiment that are finished."""
        return max(0, self.finished_day or 0)

    @property
    def started(self) -> float | None:
        """When it was started, seconds since 1970."""
        started = self.status.get("started_wall_s")
        return float(started) if isinstance(started, int | float) else None

    @property
    def heartbeat(self) -> float | None:
        """When it last told how it is doing, seconds since 1970."""
        beat = self.status.get("heartbeat_wall_s")
        return float(beat) if isinstance(beat, int | float) else None

    @property
    def key(self) -> Key:
        """Stands for the data of the finished days, which never change."""
        return Key(str(self.path), self.finished_day, self.signature[SIGNED.index(CONFIG)])


def is_run(path: Path) -> bool:
    """Whether there is a run folder at `path`, in whatever state."""
    return path.is_dir() and any((path / name).is_file() for name in (MANIFEST, journal.STATUS, REPORT))


def runs_in(root: Path) -> list[Run]:
    """The runs directly below `root`, newest first; `root` alone if it is a run itself."""
    if is_run(root):
        return [read(root)]
    try:
        folders = [p for p in root.iterdir() if not p.name.startswith(".") and is_run(p)]
    except OSError:
        return []
    runs = [read(path) for path in folders]
    return sorted(runs, key=lambda run: (run.started or 0.0, run.name), reverse=True)


def read(path: Path) -> Run:
    """The run at `path` as it stands now."""
    run = _read_files(str(path), _signature(path))
    if run.state == "running" and not run.status and time.time() - run.key.made[0] / 1e9 < STARTING_SECONDS:
        return run
    if run.state == "running" and lock.holder(path / journal.LOCK) is None:  # killed: no file has changed
        return replace(run, state="interrupted", message="its process is gone")
    return run


def events(run: Run) -> list[dict[str, Any]]:
    """What happened so far, oldest first."""
    try:
        return list(journal.read_events(run.path))
    except OSError:
        return []


def document(run: Run, name: str) -> Document | None:
    """The JSON file `name` of the run, such as `calibration.json`; None where there is none as written."""
    try:
        stamps = tuple((stat.st_mtime_ns, stat.st_size) for stat in map(Path.stat, _files(run.path, name)))
    except OSError:
        return None
    found = _json(str(run.path), name, stamps)
    return found if isinstance(found, Mapping) else None


def _files(root: Path, name: str) -> tuple[Path, Path]:
    """A document, and what it is held against."""
    return root / name, root / MANIFEST


def documents(run: Run, pattern: str) -> dict[str, Document]:
    """The JSON files of the run that match `pattern`, by relative name."""
    found = {}
    for path in sorted(run.path.glob(pattern)):
        name = path.relative_to(run.path).as_posix()
        one = document(run, name)
        if one is not None:
            found[name] = one
    return found


@lru_cache(maxsize=512)
def _json(root: str, name: str, _: Signature) -> Any:
    """A listed file by the manifest's checksum, another by its own; the first format had none of these."""
    path = Path(root) / name
    try:
        manifest = Manifest.read(Path(root))
        if name in manifest.artefacts:
            manifest.check(Path(root), name)
        elif manifest.format >= SEALED:
            return read_sealed(path)
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _signature(path: Path) -> Signature:
    signs = []
    for name in SIGNED:
        try:
            stat = (path / name).stat()
            signs.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            signs.append((0, 0))
    return tuple(signs)


@lru_cache(maxsize=512)
def _read_files(path: str, signature: Signature) -> Run:
    """The run as its files have it."""
    root = Path(path)
    warnings: list[str] = []
    manifest, trouble = _manifest(root)
    other = None if manifest else _other_format(root)
    report = _report(root, manifest, warnings) if other is None else _unchecked(root)
    config = _config(root, manifest, warnings)
    status: Document = {}
    stated = None
    try:
        status = journal.read_status(root)
        stated = str(status.get("state"))
    except RunFolderError as error:
        if (root / journal.STATUS).exists() and not (manifest and manifest.complete):
            warnings.append(str(error))
    if manifest is not None and manifest.complete:
        warnings += journal.verify(root)
    state, message = _state(manifest, trouble, stated, status)
    if other is not None:
        state, message, warnings = "older", f"It is of format {other}, and this version reads {FORMAT}", []
    return Run(
        path=root,
        name=root.name,
        state=state,
        message=message,
        config=config,
        status=status,
        report=report,
        finished_day=manifest.finished_day if manifest else None,
        warnings=tuple(warnings),
        signature=signature,
    )


def _manifest(root: Path) -> tuple[Manifest | None, str | None]:
    try:
        return Manifest.read(root), None
    except RunFolderError as error:
        return None, str(error)


def _other_format(root: Path) -> str | None:
    """The format of a run folder that another version wrote, whole; None for any other trouble."""
    try:
        written = read_sealed(root / MANIFEST).get("format")
    except (OSError, TornError):
        return None
    return None if written in READABLE else str(written)


def _state(
    manifest: Manifest | None, trouble: str | None, stated: str | None, status: Document
) -> tuple[str, str | None]:
    if manifest is None:
        return "damaged", trouble
    if manifest.complete:
        return "done", None
    if stated in ("running", "failed", "interrupted"):
        return stated, status.get("message")
    return "running", None  # it has said nothing yet; `read` looks whether it is too late for that


def _report(root: Path, manifest: Manifest | None, warnings: list[str]) -> Document | None:
    """The report as it was written; one that cannot be held against the manifest is not used."""
    if manifest is None or REPORT not in manifest.artefacts:
        return None
    try:
        manifest.check(root, REPORT)
        report = json.loads((root / REPORT).read_bytes())
    except RunFolderError as error:
        warnings.append(str(error))
        return None
    except (OSError, ValueError) as error:
        warnings.append(f"{REPORT} cannot be read: {error}")
        return None
    if not _is_report(report):
        warnings.append(f"{REPORT} is not a report that this version knows.")
        return None
    known: Document = report
    return known


def _unchecked(root: Path) -> Document | None:
    """The report of a run of another version, whose manifest is whole but not understood."""
    try:
        report = json.loads((root / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    return report if _is_report(report) else None


def _is_report(document: Any) -> bool:
    return isinstance(document, dict) and {"run", "arms", "comparisons"} <= set(document)


def _config(root: Path, manifest: Manifest | None, warnings: list[str]) -> Document:
    try:
        if manifest is not None:
            manifest.check(root, CONFIG)
        return tomllib.loads((root / CONFIG).read_text("utf-8"))
    except RunFolderError as error:
        warnings.append(str(error))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        warnings.append(f"{CONFIG} cannot be read: {error}")
    return {}


def chosen(runs: Sequence[Run], name: str | None) -> Run | None:
    """The run of that name, else the newest."""
    for run in runs:
        if run.name == name:
            return run
    return runs[0] if runs else None
