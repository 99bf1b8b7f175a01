"""What of a run folder is complete: each artefact with size and SHA-256, and the last finished day."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from experiment.errors import BadInput
from experiment.folder.atomic import Digest, TornError, digest, read_sealed, write_sealed

FORMAT = 2
"""Version of the run folder's layout and of its files' schemas."""

NAME = "manifest.json"


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
    """

    config_hash: str
    finished_day: int | None = None
    complete: bool = False
    artefacts: dict[str, Digest] = field(default_factory=dict)

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
        if data.get("format") != FORMAT:
            raise RunFolderError(f"{path}: got format {data.get('format')!r}, allowed: {FORMAT}")
        try:
            artefacts = {n: Digest(int(e["size"]), str(e["sha256"])) for n, e in data["artefacts"].items()}
            manifest = cls(data["config_hash"], data["finished_day"], data["complete"], artefacts)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunFolderError(f"{path}: got no manifest ({error!r}), allowed: one as written") from error
        for name in artefacts:
            _check_name(path, name)
        return manifest

    def write(self, root: Path) -> None:
        """Puts this manifest in place of the one at `root`, in one step."""
        artefacts = {n: {"size": d.size, "sha256": d.sha256} for n, d in sorted(self.artefacts.items())}
        document = {
            "format": FORMAT,
            "config_hash": self.config_hash,
            "finished_day": self.finished_day,
            "complete": self.complete,
            "artefacts": artefacts,
        }
        write_sealed(root / NAME, document)

    def check(self, root: Path, name: str) -> None:
        """Raises RunFolderError, naming the file, unless the artefact `name` is there as it was written."""
        path, expected = root / name, self.artefacts.get(name)
        if expected is None:
            raise RunFolderError(f"{path}: got a file that the manifest does not list, allowed: listed files")
        try:
            size = path.stat().st_size
            found = digest(path) if size == expected.size else None
        except OSError as error:
            raise RunFolderError(f"{path}: got no readable file, allowed: {expected.size} bytes") from error
        if found is None:
            raise RunFolderError(f"{path}: got {size} bytes, allowed: {expected.size} as written")
        if found != expected:
            raise RunFolderError(f"{path}: got other content than was written, allowed: its checksum")


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise RunFolderError(f"{path}: got the artefact {name!r}, allowed: paths inside the run folder")
