"""What of a run folder is complete: each artefact with size and SHA-256, and the last finished day."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from experiment.errors import BadInput
from experiment.folder.atomic import Digest, TornError, digest, read_sealed, write_sealed

FORMAT = 3
"""Version of the run folder's layout and of its files' schemas.

1: the first; refused, its shards are others. 2: shards of equal cost. 3: each line of events.jsonl has a
checksum and status.json their number, documents that are not listed have one of their own; `log_from_day`.
"""

READABLE = (2, FORMAT)
"""Versions that are opened; a run goes on in the version that it was begun in."""

SEALED = 3
"""From this version on, files that the manifest does not list carry checksums of their own."""

NAME = "manifest.json"

RENEWED = ".new"


class RunFolderError(BadInput):
    """A run folder that is none, is of another version, or holds a file that is not what was written."""


@dataclass(slots=True)
class Manifest:
    """The complete artefacts of a run.

    Attributes:
        config_hash: of the configuration that they belong to.
        finished_day: last simulated day of which everything is there; None before the first.
        complete: the run is at its end.
        artefacts: relative POSIX path to digest.
        format: one of `READABLE`.
        log_from_day: first simulated day of the log that is still there; None where none was dropped.
    """

    config_hash: str
    finished_day: int | None = None
    complete: bool = False
    artefacts: dict[str, Digest] = field(default_factory=dict)
    format: int = FORMAT
    log_from_day: int | None = None

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """The manifest of the run at `root`. Raises RunFolderError."""
        path = root / NAME
        try:
            data = read_sealed(path)
        except FileNotFoundError as error:
            raise RunFolderError(f"{root}: got no run folder, allowed: one with a {NAME}") from error
        except (OSError, TornError) as error:
            raise RunFolderError(str(error)) from error
        version = data.get("format")
        if version not in READABLE:
            raise RunFolderError(f"{path}: got format {version!r}, allowed: {allowed_formats()}")
        try:
            artefacts = {n: Digest(int(e["size"]), str(e["sha256"])) for n, e in data["artefacts"].items()}
            manifest = cls(
                data["config_hash"],
                data["finished_day"],
                data["complete"],
                artefacts,
                version,
                data.get("log_from_day"),
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise RunFolderError(f"{path}: got no manifest ({error!r}), allowed: one as written") from error
        days = (manifest.finished_day, manifest.log_from_day)
        if any(type(day) not in (int, type(None)) for day in days) or type(manifest.complete) is not bool:
            raise RunFolderError(
                f"{path}: got no manifest (finished_day {days[0]!r}), allowed: one as written"
            )
        for name in artefacts:
            _check_name(path, name)
        return manifest

    def write(self, root: Path) -> None:
        """Puts this manifest in place of the one at `root`, in one step."""
        artefacts = {n: {"size": d.size, "sha256": d.sha256} for n, d in sorted(self.artefacts.items())}
        document = {
            "format": self.format,
            "config_hash": self.config_hash,
            "finished_day": self.finished_day,
            "complete": self.complete,
            "log_from_day": self.log_from_day,
            "artefacts": artefacts,
        }
        write_sealed(root / NAME, document)

    def check(self, root: Path, name: str) -> None:
        """Raises RunFolderError, naming the file, unless the artefact `name` is there as it was written.

        A renewal that stopped after the manifest named it is finished first, see `renewal`.
        """
        path, expected = root / name, self.artefacts.get(name)
        if expected is None:
            raise RunFolderError(f"{path}: got a file that the manifest does not list, allowed: listed files")
        beside = renewal(path)
        with contextlib.suppress(OSError):  # there is none, or another process has put it in place
            if beside.exists() and digest(beside) == expected:
                beside.replace(path)
        try:
            size = path.stat().st_size
            found = digest(path) if size == expected.size else None
        except OSError as error:
            raise RunFolderError(f"{path}: got no readable file, allowed: {expected.size} bytes") from error
        if found is None:
            raise RunFolderError(f"{path}: got {size} bytes, allowed: {expected.size} as written")
        if found != expected:
            raise RunFolderError(f"{path}: got other content than was written, allowed: its checksum")


def renewal(path: Path) -> Path:
    """Where a listed file is written anew before the manifest names its new content.

    The file itself changes after the manifest does: at any instant one of the two is what is listed.
    """
    return path.with_name(f".{path.name}{RENEWED}")


def allowed_formats() -> str:
    """The readable versions in words, for messages."""
    return " or ".join(map(str, READABLE))


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise RunFolderError(f"{path}: got the artefact {name!r}, allowed: paths inside the run folder")
