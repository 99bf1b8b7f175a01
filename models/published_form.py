"""What the arrays of a published model must be, checked before anything is made of them.

Compiled loops read tables without looking at their lengths, so a file that says one thing in its `meta.json`
and holds another would read beside them. Letters in shapes: A apps, V apps with an id as candidates, I as
installed ones, D dimensions of an embedding, H units of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.catalogue import APP_FEATURES, DENSE_FEATURES, USER_FEATURES, app_codes, app_sizes
from models.deep import Blocks
from models.settings import Cross, FeatureSettings
from models.wide_space import Layout
from simulator.schema import AppTable, Cardinalities

Array = NDArray[Any]

MOST_VALUES = 1000
"""Most values of an attribute, as of a world."""

MOST_WEIGHTS = 2**30
"""Most weights of the wide part, the absent ones included: there is a table of them."""


def check(apps: AppTable, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Looks whether `meta` and `arrays` fit together and to the table of apps.

    Raises:
        ValueError: if they do not; the message names the field or the array.
    """
    cardinalities, features, crosses = _described(meta)
    codes = app_codes(apps)
    for name, column, size in zip(APP_FEATURES, codes.T, app_sizes(cardinalities), strict=True):
        if len(column) and not 0 <= column.min() <= column.max() < size:
            raise ValueError(f"cardinalities: got {size} for {name}, {column.max() + 1} are needed")
    known = ("features", "wide", "deep", "fm")
    for name in arrays:
        if name.split(".")[0] not in known:
            raise ValueError(f"{name}: got an array of no part, {', '.join(known)} are allowed")
    sizes = _features(arrays, len(apps))
    ages = len(features.age_boundaries) + 1
    if any(name.startswith("wide.") for name in arrays):
        layout = Layout.of(cardinalities, crosses, ages, features.positions)
        _wide(arrays, layout.rows + layout.stride * sizes["app"], len(apps))
    blocks = Blocks.of(cardinalities, ages, features.positions)
    if any(name.startswith("deep.") for name in arrays):
        _deep(arrays, blocks, sizes)
    if any(name.startswith("fm.") for name in arrays):
        _fm(arrays, blocks, sizes)


def _described(meta: Mapping[str, Any]) -> tuple[Cardinalities, FeatureSettings, tuple[str, ...]]:
    try:
        cardinalities = Cardinalities(**meta["cardinalities"])
        features = FeatureSettings.model_validate(meta["features"])
        crosses, scale = tuple(meta["crosses"]), meta["scale"]
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, ("features", *first["loc"])))
        words = first["msg"][:1].lower() + first["msg"][1:]
        raise ValueError(f"{name}: got {first['input']!r}, {words}") from error
    except (KeyError, TypeError) as error:
        raise ValueError(f"meta: got {str(error).splitlines()[0]}, a published model's is needed") from error
    for name in Cardinalities.__slots__:
        _whole(f"cardinalities.{name}", getattr(cardinalities, name), MOST_VALUES)
    if not set(crosses) <= set(get_args(Cross)) or len(set(crosses)) < len(crosses):
        raise ValueError(f"crosses: got {crosses}, distinct ones of {get_args(Cross)} are allowed")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise ValueError(f"scale: got {scale!r}, a finite number is allowed")
    return cardinalities, features, crosses


def _whole(name: str, value: Any, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name}: got {value!r}, whole numbers from 1 to {most} are allowed")


def _features(arrays: Mapping[str, Array], n_apps: int) -> dict[str, int]:
    """Numbers of apps with an id, by side."""
    counts = {}
    for name in ("app", "installed", "known"):
        ids = _shaped(arrays, f"features.{name}_ids", (None,), np.int64)
        _within(f"features.{name}_ids", ids, n_apps)
        counts[name] = len(ids)
    _shaped(arrays, "features.dense", (counts["known"], len(DENSE_FEATURES)))
    _shaped(arrays, "features.dense_default", (len(DENSE_FEATURES),))
    return counts


def _wide(arrays: Mapping[str, Array], weights: int, n_apps: int) -> None:
    if weights > MOST_WEIGHTS:
        raise ValueError(f"cardinalities: got a wide part of {weights} weights, {MOST_WEIGHTS} are allowed")
    ids = _shaped(arrays, "wide.ids", (None,), np.int64)
    _within("wide.ids", ids, weights)
    _shaped(arrays, "wide.weights", (len(ids),))
    if "wide.lefts" not in arrays:
        return
    lefts = _shaped(arrays, "wide.lefts", (None,), np.int32)
    rights = _shaped(arrays, "wide.rights", (len(lefts),), np.int32)
    for name, side in (("wide.lefts", lefts), ("wide.rights", rights)):
        _within(name, side, n_apps)
    _shaped(arrays, "wide.cross_weights", (len(lefts),))


def _deep(arrays: Mapping[str, Array], blocks: Blocks, sizes: Mapping[str, int]) -> None:
    D = _shaped(arrays, "deep.attributes", (blocks.size, None)).shape[1]
    _shaped(arrays, "deep.apps", (sizes["app"] + 1, D))
    _shaped(arrays, "deep.installed", (sizes["installed"] + 1, D))
    F, K = len(USER_FEATURES), len(APP_FEATURES)
    H = len(_shaped(arrays, "deep.user1", (None, (F + 1) * D)))
    _shaped(arrays, "deep.app1", (H, (K + 2) * D + len(DENSE_FEATURES)))
    _shaped(arrays, "deep.position1", (H, D))
    _shaped(arrays, "deep.bias1", (H,))
    layers = sum(name.startswith("deep.layer") for name in arrays)
    for k in range(2, 2 + layers):
        H = len(_shaped(arrays, f"deep.layer{k}", (None, H)))
        _shaped(arrays, f"deep.bias{k}", (H,))
    if min(D, H) < 1:
        raise ValueError(f"deep: got {D} dimensions and {H} last units, at least 1 is needed")
    _shaped(arrays, "deep.out", (1, H))
    _shaped(arrays, "deep.out_bias", (1,))


def _fm(arrays: Mapping[str, Array], blocks: Blocks, sizes: Mapping[str, int]) -> None:
    K = _shaped(arrays, "fm.fixed", (blocks.size + len(DENSE_FEATURES), None)).shape[1]
    if K < 1:
        raise ValueError("fm: got rows of no number, at least 1 is needed")
    _shaped(arrays, "fm.apps", (sizes["app"] + 1, K))
    _shaped(arrays, "fm.installed", (sizes["installed"] + 1, K))
    _shaped(arrays, "fm.bias", (1, 1))


def _shaped(
    arrays: Mapping[str, Array], name: str, shape: tuple[int | None, ...], kind: Any = np.float32
) -> Array:
    """The array of that name, if it is of this kind and shape (None for any length)."""
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"{name}: got no such array, one of shape {_words(shape)} is needed")
    fits = array.ndim == len(shape) and all(m in (None, n) for m, n in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != kind:
        raise ValueError(
            f"{name}: got {array.dtype} of shape {array.shape}, {np.dtype(kind)} of shape {_words(shape)} "
            "is needed"
        )
    return array


def _within(name: str, values: Array, stop: int) -> None:
    if len(values) and not 0 <= values.min() <= values.max() < stop:
        raise ValueError(f"{name}: got {values.min()} to {values.max()}, 0 to {stop - 1} are allowed")


def _words(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"
