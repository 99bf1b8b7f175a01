"""Named arrays in one file (safetensors): no pickle, written beside and renamed, sizes checked on reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from experiment.folder import atomic
from simulator.schema import Array


class DamagedFileError(ValueError):
    """A file of a run is missing, cut or changed."""


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes `arrays` so that `path` appears only when it is complete."""
    with atomic.writing(path) as file:
        file.write(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays that `write_arrays` wrote. Raises DamagedFileError naming the file."""
    try:
        return dict(load(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise DamagedFileError(f"{path}: got an unreadable file ({error}), safetensors are needed") from error
