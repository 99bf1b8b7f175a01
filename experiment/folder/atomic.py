"""Files that are whole or absent: written beside their place, flushed, renamed; and their digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY = ".tmp"
"""Suffix of what is being written; found after a crash, it may be deleted."""

_CHECKSUM = "checksum"


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


class TornError(ValueError):
    """A sealed document that is not the one that was written."""


def digest(path: Path) -> Digest:
    """Size and SHA-256 of the file at `path`. Raises OSError."""
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(file.tell(), sha)


@contextlib.contextmanager
def writing(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well; missing folders are made.

    `flush` waits for the disk, so that the file outlives a power cut, not only a killed process.
    """
    beside = _beside(path)
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            if flush:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Puts `data` at `path` in one step, see `writing`."""
    with writing(path, flush=flush) as file:
        file.write(data)


def write_json(path: Path, document: Any) -> None:
    """Writes `document` as indented JSON, keys in their order; NaN and infinity raise ValueError."""
    write_bytes(path, (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_table(path: Path, table: Any) -> None:
    """Writes a pyarrow table as zstd-compressed Parquet."""
    import pyarrow.parquet as pq

    with writing(path) as file:
        pq.write_table(table, file, compression="zstd")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `path` when the block ends well and vanishes when it does not.

    Raises:
        FileExistsError: when there is a folder with content at `path`.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists")
    beside = _beside(path)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        for file in sorted(beside.rglob("*")):
            if file.is_file():
                _flush(file)
        beside.replace(path)
        _flush(path.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def write_sealed(path: Path, document: Mapping[str, Any], *, flush: bool = True) -> None:
    """Writes a JSON object with a checksum of itself, for `read_sealed`."""
    sealed = {**document, _CHECKSUM: _checksum(document)}
    write_bytes(path, (json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode(), flush=flush)


def read_sealed(path: Path) -> dict[str, Any]:
    """The object that `write_sealed` wrote. Raises OSError, or TornError when it was changed."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TornError(f"{path}: got no JSON ({error}), allowed: the file as it was written") from error
    if not isinstance(document, dict) or document.pop(_CHECKSUM, None) != _checksum(document):
        raise TornError(f"{path}: got a wrong checksum, allowed: the file as it was written")
    return document


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}{TEMPORARY}")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
