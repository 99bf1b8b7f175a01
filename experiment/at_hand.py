"""Finished folders that an executor has put at this worker's hand, so that it need not read the disk.

An executor that has a way of its own to every worker reads a folder once and hands its bytes round; a worker
without them reads the folder itself. Either way the same bytes go through the same reader.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Fetch = Callable[[], Mapping[str, bytes] | None]
"""Gives the bytes of a folder's files by name; None where they are lost."""

_held: dict[Path, tuple[Path, Fetch]] = {}


def keep(folder: Path, fetch: Fetch) -> None:
    """Has `folder` at hand; another of the same parent is let go, as the models of an arm are."""
    _held[folder.parent] = (folder, fetch)


@contextlib.contextmanager
def at_hand(folder: Path) -> Iterator[Path]:
    """A folder with the files of `folder`, for the block: a copy of what is at hand, or `folder` itself."""
    held, fetch = _held.get(folder.parent, (None, None))
    files = fetch() if fetch is not None and held == folder else None
    if files is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="storelift-") as copy:
        for name, data in files.items():
            (Path(copy) / name).write_bytes(data)
        yield Path(copy)
