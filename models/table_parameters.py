"""What the parameters and labels of `models.WideDeepClassifier` may be, and which columns they choose."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from models.table import TableSettings
from models.vocabulary import is_missing

Array = NDArray[Any]

CHOICES = {"kind": ("wide_deep", "wide", "deep"), "precision": ("fp32", "bf16")}

AT_LEAST = {
    "embedding_dim": 1,
    "min_count": 1,
    "num_quantiles": 2,
    "wide_quantiles": 2,
    "epochs": 1,
    "batch_size": 1,
    "patience": 1,
}

POSITIVE = ("ftrl_alpha", "learning_rate", "initial_accumulator")

NOT_NEGATIVE = ("ftrl_beta", "l1", "l2")

SWITCHES = ("early_stopping", "progress")

KINDS = ("categorical", "continuous", "multivalent")


def check_parameters(classifier: Any) -> None:
    """Raises ValueError, with name, what was got and what is allowed, for a parameter out of range."""
    p = classifier.get_params(deep=False)
    for name, allowed in CHOICES.items():
        if p[name] not in allowed:
            raise ValueError(f"{name}: got {p[name]!r}, {' or '.join(map(repr, allowed))} are allowed")
    for name, least in AT_LEAST.items():
        if not _is_integer(p[name], least):
            raise ValueError(f"{name}: got {p[name]!r}, an integer of at least {least} is allowed")
    if p["hash_buckets"] is not None and not _is_integer(p["hash_buckets"], 1):
        raise ValueError(f"hash_buckets: got {p['hash_buckets']!r}, None or an integer above 0 is allowed")
    for name in SWITCHES:
        if not isinstance(p[name], bool | int | np.bool_) or p[name] not in (False, True):
            raise ValueError(f"{name}: got {p[name]!r}, True or False is allowed")
    for name in KINDS:
        if p[name] is not None and _listed(p[name]) is None:
            raise ValueError(f"{name}: got {p[name]!r}, None or a list of columns' names is allowed")
    if p["crosses"] is not None and _listed(p["crosses"]) is None:
        raise ValueError(f"crosses: got {p['crosses']!r}, None or a list of tuples of columns is allowed")
    hidden = _listed(p["hidden"])
    if not hidden or not all(_is_integer(units, 1) for units in hidden):
        raise ValueError(f"hidden: got {p['hidden']!r}, one or more integers of at least 1 are allowed")
    for name in POSITIVE:
        if not _is_finite(p[name]) or p[name] <= 0:
            raise ValueError(f"{name}: got {p[name]!r}, a finite number above 0 is allowed")
    for name in NOT_NEGATIVE:
        if not _is_finite(p[name]) or p[name] < 0:
            raise ValueError(f"{name}: got {p[name]!r}, a finite number of at least 0 is allowed")
    if not _is_finite(p["validation_share"]) or not 0 < p["validation_share"] < 1:
        raise ValueError(
            f"validation_share: got {p['validation_share']!r}, a number between 0 and 1 is allowed"
        )


def _is_integer(value: Any, least: int) -> bool:
    try:
        return operator.index(value) >= least
    except TypeError:
        return False


def _listed(value: Any) -> list[Any] | None:
    """The items of a list, tuple, array or pandas index; None where `value` is no such thing."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return None
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        return None
    return list(value.tolist() if hasattr(value, "tolist") else value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def choose_columns(classifier: Any, frame: Any) -> TableSettings:
    """The columns that the parameters name; where they name none, by what the columns hold.

    Raises:
        ValueError: if a column has two kinds, or a cross has fewer than two parts or one that is no column.
    """
    p = classifier.get_params(deep=False)
    if all(p[kind] is None for kind in KINDS):
        chosen: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for name in frame.columns:
            chosen[_kind(frame[name])].append(name)
    else:
        chosen = {kind: _listed(p[kind]) or [] for kind in KINDS}
    names = [name for kind in KINDS for name in chosen[kind]]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{name}: got the column {names.count(name)} times, one kind for each is allowed"
            )
    if not names:
        raise ValueError("frame: got no column, at least one is needed")
    crosses = []
    for cross in _listed(p["crosses"]) or []:
        parts = tuple(_listed(cross) or ())
        if len(parts) < 2 or not all(part in names for part in parts):
            raise ValueError(f"crosses: got {cross!r}, two or more of the columns {names} are allowed")
        crosses.append(parts)
    return TableSettings(
        tuple(chosen["categorical"]),
        tuple(chosen["continuous"]),
        tuple(chosen["multivalent"]),
        tuple(crosses),
        int(p["min_count"]),
        int(p["num_quantiles"]),
        int(p["wide_quantiles"]),
        p["hash_buckets"],
    )


def _kind(column: Any) -> str:
    if column.dtype.kind in "iuf":
        return "continuous"
    cells = (cell for cell in column if not is_missing(cell))
    first = next(cells, None) if column.dtype == object else None
    return "multivalent" if isinstance(first, list | tuple | set | frozenset | np.ndarray) else "categorical"


def read_labels(y: ArrayLike, rows: int) -> tuple[Array, Array]:
    """The two classes, ascending, and the labels as 0.0 and 1.0.

    Raises:
        ValueError: if `y` does not hold one label for each row, of two classes in all.
    """
    if y is None:
        raise ValueError("y: got None, labels are needed; requires y to be passed, but the target y is None")
    labels = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) != 2:
        raise ValueError(
            f"y: got {len(classes)} class(es), 2 are needed. Only binary classification is supported. "
            f"The type of the target is {type_of_target(labels)}."
        )
    if len(labels) != rows:
        raise ValueError(f"y: got {len(labels)} labels, those of the frame's rows, {rows}, are needed")
    return classes, codes.astype(np.float64)
