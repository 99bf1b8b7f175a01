"""A model on disk: `arrays.safetensors` and `meta.json` in a folder, no pickle.

Each file is written beside itself and renamed, `meta.json` last: a folder with a `meta.json` is complete.
Where a model is replaced its `meta.json` goes first, so that none stands beside another model's arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

Array = NDArray[Any]

FORMAT = 1
"""Version of the form on disk; a reader refuses others."""

ARRAYS, META = "arrays.safetensors", "meta.json"


def write(folder: Path, kind: str, arrays: Mapping[str, Array], **meta: Any) -> None:
    """Writes `arrays` and `meta` (what JSON can hold, `form` among it) into the existing `folder`.

    A model that was there is kept if this one cannot be written.

    Raises:
        TypeError: if JSON cannot hold something of `meta`.
        ValueError: if a number of `meta` is not finite.
    """
    meta = {**meta, "kind": kind, "format": FORMAT}
    document = json.dumps(meta, indent=1, sort_keys=True, allow_nan=False) + "\n"
    arrays_beside, meta_beside = folder / f"{ARRAYS}.tmp", folder / f"{META}.tmp"
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, arrays_beside)
    meta_beside.write_text(document, "utf-8")
    (folder / META).unlink(missing_ok=True)
    arrays_beside.replace(folder / ARRAYS)
    meta_beside.replace(folder / META)


def read_meta(folder: Path) -> dict[str, Any]:
    """The `meta.json` of `folder`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no JSON object with a kind, or of another format.
    """
    path = folder / META
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: got no {META}, a complete model folder is needed")
    try:
        meta: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: got no valid JSON ({error})") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("kind"), str):
        raise ValueError(  # noqa: TRY004 - the file is at fault
            f"{path}: got no object with a kind, the meta.json of a model is needed"
        )
    if meta.get("format") != FORMAT:
        raise ValueError(f"{path}: got format {meta.get('format')}, {FORMAT} is allowed")
    return meta


def read(folder: Path, kind: str | None, form: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the `meta.json` that `write` left in `folder`.

    Args:
        folder: to be read.
        kind: the kind it must be of; any if None.
        form: "trainable" or "published", or "both" for a kind that is its own published form.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file cannot be read, or is of another format, form or kind.
    """
    meta = read_meta(folder)
    if kind is not None and meta.get("kind") != kind:
        raise ValueError(f"{folder}: got kind {meta.get('kind')}, {kind} is needed")
    if meta.get("form") != form:
        raise ValueError(f"{folder}: got a {meta.get('form')} model, a {form} one is needed")
    path = folder / ARRAYS
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: got no {ARRAYS}, a complete model folder is needed")
    try:
        arrays: dict[str, Array] = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:  # the latter two: of a type numpy lacks
        raise ValueError(f"{path}: got an unreadable file ({error}), safetensors are needed") from error
    return arrays, meta
