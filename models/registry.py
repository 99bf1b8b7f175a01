"""Rankers by the name of their kind, as a run's configuration and a model's `meta.json` give it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from models import checkpoint
from models.ensemble import Ensemble
from models.fm import FM
from models.reference import Popularity, Random
from models.scorer import Published
from models.training import Learned
from models.wide_deep import Deep, Wide, WideDeep
from simulator.schema import AppTable, Cardinalities, PublishedRanker, TrainableRanker

kinds: dict[str, type[Any]] = {
    cls.kind: cls for cls in (Wide, Deep, WideDeep, Ensemble, FM, Random, Popularity)
}
"""The kinds that ship, by name."""


def ranker_class(kind: str) -> type[Any]:
    """The class of a kind: a name of `kinds`, or `module:Class` of one's own.

    Raises:
        ValueError: if there is no such kind, module or class.
    """
    if kind in kinds:
        return kinds[kind]
    module, colon, name = kind.partition(":")
    if not (colon and module and name):
        near = difflib.get_close_matches(kind, kinds, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"kind: got {kind!r}{hint}, {', '.join(kinds)} or module:Class are allowed")
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"kind: got {kind!r}, but {module} cannot be imported ({error})") from error
    except Exception as error:  # a module of one's own may raise anything
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"kind: got {kind!r}, but importing it failed ({cause})") from error
    try:
        found = getattr(imported, name)
    except AttributeError as error:
        raise ValueError(f"kind: got {kind!r}, but {module} has no {name}") from error
    if not isinstance(found, type):
        raise ValueError(f"kind: got {kind!r}, which is no class")  # noqa: TRY004 - the user's input is at fault
    return found


def create(
    kind: str, apps: AppTable, cardinalities: Cardinalities, settings: Mapping[str, Any] | BaseModel, key: int
) -> TrainableRanker:
    """A fresh ranker of a kind.

    Raises:
        ValueError: if there is no such kind, or it refuses the settings.
    """
    ranker: TrainableRanker = ranker_class(kind)(apps, cardinalities, settings, key)
    return ranker


def load(folder: Path, apps: AppTable) -> TrainableRanker:
    """The trainable ranker saved in `folder`, of the kind that its `meta.json` names.

    Raises:
        FileNotFoundError: if the folder is not complete.
        ValueError: if it holds no trainable ranker of a known kind.
    """
    ranker: TrainableRanker = _loaded(ranker_class(checkpoint.read_meta(folder)["kind"]), folder, apps)
    return ranker


def load_published(folder: Path, apps: AppTable) -> PublishedRanker:
    """The published ranker saved in `folder`, of the kind that its `meta.json` names.

    A kind's class says by its attribute `Published` which class its published form has; `Learned` kinds share
    theirs, and a kind without the attribute is its own published form.

    Raises:
        FileNotFoundError: if the folder is not complete.
        ValueError: if it holds no published ranker of a known kind.
    """
    cls = ranker_class(checkpoint.read_meta(folder)["kind"])
    form: Any = Published if issubclass(cls, Learned) else getattr(cls, "Published", cls)
    ranker: PublishedRanker = _loaded(form, folder, apps)
    return ranker


def _loaded(form: Any, folder: Path, apps: AppTable) -> Any:
    """What `form` loads; a file that lacks something, or holds it in another shape, raises ValueError."""
    try:
        return form.load(folder, apps)
    except (LookupError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{folder}: got no {form.__name__} ({error!r}), a saved one is needed") from error
