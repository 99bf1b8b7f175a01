"""Which files of a run are as they were written: each is held against the manifest's checksum, once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from dashboard.reading import Key
from experiment.folder.atomic import digest
from experiment.folder.manifest import NAME, Manifest, RunFolderError


def split(key: Key, files: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """The files that can be trusted, and the names of those that cannot."""
    listed = _listed(key.path, stamp(Path(key.path) / NAME))
    good, bad = [], []
    for file in files:
        name = file.relative_to(key.path).as_posix()
        if _sum(str(file), stamp(file)) == listed.get(name, ""):
            good.append(file)
        else:
            bad.append(name)
    return good, bad


def changed(key: Key, besides: tuple[str, ...]) -> list[str]:
    """Names of the listed files that are not as written, but for those that begin with `besides`."""
    listed = _listed(key.path, stamp(Path(key.path) / NAME))
    names = [name for name in listed if not name.startswith(besides)]
    return split(key, [Path(key.path) / name for name in names])[1]


@lru_cache(maxsize=64)
def _listed(path: str, _: tuple[int, int]) -> dict[str, str]:
    """SHA-256 by name of what the manifest lists; nothing where it cannot be read."""
    try:
        return {name: one.sha256 for name, one in Manifest.read(Path(path)).artefacts.items()}
    except RunFolderError:
        return {}


@lru_cache(maxsize=16384)
def _sum(path: str, _: tuple[int, int]) -> str | None:
    try:
        return digest(Path(path)).sha256
    except OSError:
        return None


def stamp(file: Path) -> tuple[int, int]:
    """Changes when the file is written anew; zeros where there is none."""
    try:
        stat = file.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)
