"""A run's published models, read back: of the kind and the features that the run's arm has.

What a model folder says of itself is compared with the run's configuration before its kind decides which
class is imported, and before any array is made room for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment.folder.manifest import RunFolderError
from models import checkpoint, registry
from simulator.schema import PublishedRanker
from simulator.world import World


def load_model(folder: Path, world: World, kind: str, settings: Mapping[str, Any]) -> PublishedRanker:
    """The published model in `folder`.

    Args:
        folder: of the model. world: of the run. kind, settings: of the arm that it serves.

    Raises:
        RunFolderError: the folder is not what the run publishes; the message names it.
    """
    expected: dict[str, Any] = {"kind": kind}
    if kind in registry.kinds:
        expected["cardinalities"] = dataclasses.asdict(world.cardinalities)
        if "features" in settings:
            expected["features"] = settings["features"]
    try:
        _compare(checkpoint.read_meta(folder), expected)
        return registry.load_published(folder, world.apps)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{folder}: got no model as published ({error}), allowed: one") from error


def _compare(meta: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if meta.get(name) != value:
            raise ValueError(f"{name}: got {meta.get(name)!r}, {value!r} is needed")
