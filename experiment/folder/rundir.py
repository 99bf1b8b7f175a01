"""The run folder: where everything of a run lies, and what of it is complete.

Work on a day goes to new files; `finish_day` then lists them in the manifest in one step. A run that dies in
between goes on from the last finished day: `discard_unfinished` deletes what no manifest lists. Nothing here
is pickled: TOML, JSON, Parquet and safetensors only. The names are in `paths`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from experiment.config import Config, parse
from experiment.errors import BadInput
from experiment.folder import atomic, journal, lock
from experiment.folder.journal import LOCK
from experiment.folder.manifest import RENEWED, SEALED, Manifest, RunFolderError, renewal

CONFIG, REPORT, MARKDOWN = "config.toml", "report.json", "report.md"

DOCUMENT = 1
"""Version of the JSON documents in it: each has it as its `format`; without one it is the first."""

EXPLANATIONS = "explanations"
"""Folder of what `storelift explain` leaves for the dashboard; any of it can be made again."""

WORK = ("log", "truth", "models", "state", "metrics", "latency")
"""Folders whose files are listed in the manifest once their day is finished."""


def default_path(config: Config, root: Path = Path("runs")) -> Path:
    """A new name under `root`: `<timestamp>-<preset>-seed<seed>`, numbered when it is taken."""
    name = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{config.preset}-seed{config.seed}"
    path, number = root / name, 1
    while path.exists():
        number += 1
        path = root / f"{name}-{number}"
    return path


class RunFolder:
    """One run on the disk. Made by `create` or `open`; written to inside `locked()` only.

    Attributes:
        path: the folder.
        config: the configuration of the run.
        manifest: what is complete; changes reach the disk with `finish_day` and `finish`.
    """

    def __init__(self, path: Path, config: Config, manifest: Manifest) -> None:
        self.path, self.config, self.manifest = path, config, manifest
        self._retired: list[str] = []
        self._renewed: list[Path] = []

    @classmethod
    def create(cls, path: Path, config: Config) -> Self:
        """A new run folder at `path`, complete in one step; missing parents are made.

        Raises:
            BadInput: something is there already; for an unfinished run the message says how to resume it.
        """
        path = Path(path)
        _refuse_taken(path)
        manifest = Manifest(config.config_hash())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=atomic.TEMPORARY, dir=path.parent))
        except OSError as error:
            raise BadInput(f"out: got {path}, allowed: a folder that can be made ({error})") from error
        try:
            beside.chmod(0o755)
            atomic.write_bytes(beside / CONFIG, config.to_toml().encode())
            manifest.artefacts[CONFIG] = atomic.digest(beside / CONFIG)
            manifest.write(beside)
            try:
                beside.rename(path)
            except OSError:
                _refuse_taken(path)
                raise
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return cls(path, config, manifest)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run folder at `path`, to read or to go on with.

        Raises:
            RunFolderError: it is no run folder, one of another version, or its manifest or configuration is
                not what was written.
        """
        path = Path(path)
        manifest = Manifest.read(path)
        manifest.check(path, CONFIG)
        try:
            config = parse((path / CONFIG).read_text("utf-8"))
        except BadInput as error:
            lines = "\n".join(f"{path / CONFIG}: {line}" for line in str(error).split("\n"))
            raise RunFolderError(f"{lines}\n{path}: got a run of another version of the program") from error
        return cls(path, config, manifest)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the manifest is then what whoever held it last has written.

        Raises:
            lock.LockedError: another process holds it; the message names its pid and host.
            RunFolderError: the manifest is not what was written.
        """
        nested = lock.holder(self.path / LOCK) == lock.Holder.me()
        with lock.locked(self.path / LOCK):
            if not nested:
                self.manifest = Manifest.read(self.path)
            yield

    def new_folder(self, path: Path) -> AbstractContextManager[Path]:
        """An empty folder to fill; it becomes `path`, and is registered, when the block ends well."""

        @contextlib.contextmanager
        def fill() -> Iterator[Path]:
            with atomic.new_folder(path) as folder:
                yield folder
            self.register([path])

        return fill()

    def write_json(self, path: Path, document: Any) -> None:
        """Writes and registers a JSON file; one that is listed is put in place by the next `finish_day`."""
        self._put(path, lambda place: atomic.write_json(place, document))

    def write_table(self, path: Path, table: Any) -> None:
        """Writes and registers a Parquet file; likewise."""
        self._put(path, lambda place: atomic.write_table(place, table))

    def _put(self, path: Path, write: Callable[[Path], None]) -> None:
        name = self._name(path)
        place = renewal(path) if name in self.manifest.artefacts else path
        write(place)
        self.manifest.artefacts[name] = atomic.digest(place)
        if place != path:
            self._renewed.append(path)

    def register(self, paths: Iterable[Path]) -> None:
        """Has the next `finish_day` list these complete files, or folders with all their files."""
        for path in paths:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    self.manifest.artefacts[self._name(file)] = atomic.digest(file)

    def retire(self, paths: Iterable[Path]) -> None:
        """Deletes files or folders once the next `finish_day` stands, and never before."""
        for path in paths:
            name = self._name(path)
            gone = [n for n in self.manifest.artefacts if n == name or n.startswith(f"{name}/")]
            for one in gone:
                del self.manifest.artefacts[one]
            self._retired.append(name)

    def finish_day(self, day: int) -> None:
        """Makes `day` the last finished day: what was registered counts from now on."""
        self.manifest.finished_day = day
        self._write_manifest()

    def finish(self, report: Mapping[str, Any], markdown: str) -> None:
        """Writes report.json and report.md and marks the run complete; again, to renew a report."""
        self.write_json(self.path / REPORT, report)
        self._put(self.path / MARKDOWN, lambda place: atomic.write_bytes(place, markdown.encode()))
        self.manifest.complete = True
        self._write_manifest()
        for left in self.path.rglob(f".*{atomic.TEMPORARY}"):  # by workers that were lost
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    def _write_manifest(self) -> None:
        self.manifest.write(self.path)
        for path in self._renewed:
            with contextlib.suppress(FileNotFoundError):  # a reader has put it in place
                renewal(path).replace(path)
        self._renewed.clear()
        for name in self._retired:
            path = self.path / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        self._retired.clear()

    def discard_unfinished(self) -> list[str]:
        """Deletes the files that no finished day lists, half-written ones included; their relative names."""
        gone = []
        for kind in WORK:
            for file in sorted((self.path / kind).rglob("*"), reverse=True):
                if file.is_dir():
                    with contextlib.suppress(OSError):  # what is not empty stays
                        file.rmdir()
                elif self._name(file) not in self.manifest.artefacts:
                    file.unlink()
                    gone.append(self._name(file))
        for suffix in (atomic.TEMPORARY, RENEWED):
            for file in self.path.glob(f".*{suffix}"):
                file.unlink()
                gone.append(self._name(file))
        return sorted(gone)

    def listed(self, folder: Path) -> list[Path]:
        """The files directly in `folder` that the manifest lists, by name, whether they are there or not."""
        within = self._name(folder)
        names = [name for name in self.manifest.artefacts if name.rpartition("/")[0] == within]
        return [self.path / name for name in sorted(names)]

    def trusted(self, path: Path) -> Path:
        """`path`, when it is as it was written. Raises RunFolderError, naming the file, when it is not."""
        self.manifest.check(self.path, self._name(path))
        return path

    def verify(self) -> list[str]:
        """What is wrong with the run's files, one line each; empty when all are as they were written."""
        return [*self._damaged(), *self._torn(), *journal.verify(self.path)]

    def _torn(self) -> list[str]:
        """What is wrong with the explanations, which carry checksums of their own."""
        problems = []
        for path in sorted(self.path.glob(f"{EXPLANATIONS}/*.json")):
            try:
                if self.manifest.format >= SEALED:
                    atomic.read_sealed(path)
            except (OSError, atomic.TornError) as error:
                problems.append(str(error))
        return problems

    def check(self) -> None:
        """Raises RunFolderError, a line per file, when an artefact is not what was written."""
        problems = self._damaged()
        if problems:
            error = RunFolderError("\n".join(problems))
            error.add_note(
                "Nothing was changed. Put the files back from a copy, or begin anew with: "
                f"storelift run --config {self.path / CONFIG}"
            )
            raise error

    def _damaged(self) -> list[str]:
        problems = []
        for name in sorted(self.manifest.artefacts):
            try:
                self.manifest.check(self.path, name)
            except RunFolderError as error:
                problems.append(str(error))
        return problems

    def report(self) -> dict[str, Any]:
        """The document of report.json. Raises RunFolderError without one, or when it was changed."""
        if REPORT not in self.manifest.artefacts:
            raise RunFolderError(f"{self.path}: got a run without a report, allowed: a finished run")
        return self.read_json(self.path / REPORT)

    def read_json(self, path: Path) -> dict[str, Any]:
        """The document of a listed JSON file.

        Raises:
            RunFolderError: it is not what was written, or of another version.
        """
        document: dict[str, Any] = json.loads(self.trusted(path).read_bytes())
        version = document.get("format", 1)
        if version != DOCUMENT:
            raise RunFolderError(f"{path}: got format {version!r}, allowed: {DOCUMENT}")
        return document

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.path)).as_posix()


def _refuse_taken(path: Path) -> None:
    """Raises BadInput when something is at `path` that a new run would overwrite, or it is a URL."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
        raise BadInput(
            f"out: got {str(path)!r}, allowed: a folder of a file system, which all workers share; "
            "an object store must be mounted"
        )
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        manifest = Manifest.read(path)
    except RunFolderError:
        what = "a folder that is not empty" if path.is_dir() else "a file"
        raise BadInput(f"out: got {path}, {what}, allowed: a new folder") from None
    if manifest.complete:
        raise BadInput(f"out: got {path}, a finished run, allowed: a new folder")
    raise BadInput(
        f"out: got {path}, an unfinished run, allowed: a new folder; go on with: storelift resume {path}"
    )
