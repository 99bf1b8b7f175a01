"""The kinds of ranker an arm may have, their settings, and rankers of the user's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from experiment.config_errors import close, describe, scoped
from experiment.errors import BadInput
from experiment.settings import Settings
from models import settings as models


class NothingToSet(Settings):
    """Settings of a ranker without any: the oracle, which knows the truth."""


KINDS: dict[str, type[BaseModel]] = {
    "wide": models.WideSettings,
    "deep": models.DeepSettings,
    "wide_deep": models.WideDeepSettings,
    "ensemble": models.EnsembleSettings,
    "fm": models.FMSettings,
    "random": models.RandomSettings,
    "popularity": models.PopularitySettings,
    "oracle": NothingToSet,
}
"""The settings of each kind of ranker; the order is the canonical order of arms."""


def arm_order(names: Iterable[str]) -> list[str]:
    """`names` in canonical order: the known kinds as in `KINDS`, then the others by name."""
    known = list(KINDS)
    return sorted(names, key=lambda name: (known.index(name) if name in KINDS else len(known), name))


def complete(kind: str, given: dict[str, Any], table: str, problems: list[str]) -> dict[str, Any]:
    """All settings of a ranker of `kind`, those `given` and the defaults of the rest, as plain data.

    What is wrong is added to `problems`, as lines whose paths begin with `table`; then `given` comes back.
    A class of the user's own without a `Settings` model takes any settings.
    """
    model = KINDS.get(kind)
    if model is None:
        if ":" not in kind:
            allowed = f"{', '.join(KINDS)} or module:Class{close(kind, KINDS)}"
            problems.append(f"{table}kind: got {kind!r}, allowed: {allowed}")
            return given
        try:
            model = getattr(own_ranker(kind), "Settings", None)
        except BadInput as error:
            problems.append(f"{table}{error}")
            return given
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return given
    try:
        return model.model_validate_json(json.dumps(given), strict=True).model_dump(mode="json")
    except ValidationError as error:
        problems += scoped(f"{table}settings", describe(error, model))
        return given


def own_ranker(path: str) -> type[Any]:
    """The class that `module:Class` names, the working directory included in the search.

    Raises:
        BadInput: `kind: got …`; there is no such class, or its module fails.
    """
    from models.registry import ranker_class  # with torch, which the user's module is likely to need too

    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return ranker_class(path)
    except ValueError as error:
        raise BadInput(str(error)) from error
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise BadInput(f"kind: got {path!r}, but importing it failed ({cause})") from error
