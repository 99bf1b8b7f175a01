"""The primary effect in parts of the traffic: exploratory, so corrected within each dimension."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.measures import (
    Effect,
    Source,
    arms,
    effect,
    false_discovery,
    outcomes,
    source,
    totals,
    with_p,
)
from dashboard.reading import Run
from experiment.stats.moments import Moments

Array = NDArray[Any]

DIMENSIONS = {"country": "Country", "activity": "Activity before", "since": "Days since the first visit"}
"""Dimensions by key, as people read them."""

DECILES = 10

COUNTRIES = 12
"""The largest countries only: small ones decide nothing."""


def by_segment(run: Run, pair: tuple[str, str], dimension: str, alpha: float) -> list[Effect]:
    """The primary effect in each segment of `dimension`: country, activity or days since the first visit.

    Benjamini-Hochberg within the dimension. The fewest users first to go: at most 12 countries.
    """
    known = arms(run)
    if not set(pair) <= set(known):
        return []
    return _segments(source(run), pair, dimension, alpha)


@lru_cache(maxsize=32)
def _segments(of: Source, pair: tuple[str, str], dimension: str, alpha: float) -> list[Effect]:
    arm, base = pair
    keys = {name: _keys(of, name, dimension, pair) for name in pair}
    size = 1 + max((int(codes.max()) for codes, _, _ in keys.values() if len(codes)), default=-1)
    cells = {name: Moments.from_groups(codes, size, x, y) for name, (codes, x, y) in keys.items()}
    order = (
        np.argsort(-(cells[arm].n + cells[base].n), kind="stable")[:COUNTRIES]
        if dimension == "country"
        else range(size)
    )
    found = [
        effect(_segment_name(dimension, int(code)), arm, base, cells[base][code], cells[arm][code], alpha)
        for code in order
    ]
    return [with_p(one, p) for one, p in zip(found, false_discovery(found), strict=True)]


def _keys(of: Source, arm: str, dimension: str, pair: tuple[str, str]) -> tuple[Array, Array, Array]:
    if dimension == "since":
        seen = outcomes(of, arm)
        index = np.cumsum(seen.first) - 1
        codes = seen.day - seen.day[seen.first][index]
        return codes, seen.acquisitions, seen.impressions
    columns = totals(of, arm)
    codes = columns["country"]
    if dimension == "activity":
        everyone = np.sort(np.concatenate([totals(of, name)["pre_impressions"] for name in pair]))
        below = np.searchsorted(everyone, columns["pre_impressions"], "right") - 1
        codes = np.minimum(below * DECILES // max(len(everyone), 1), DECILES - 1)
        codes = np.searchsorted(np.unique(_activity(everyone)), codes)
    return codes.astype(np.int64), columns["acquisitions"], columns["impressions"]


def _activity(everyone: Array) -> Array:
    below = np.searchsorted(everyone, everyone, "right") - 1
    return np.minimum(below * DECILES // max(len(everyone), 1), DECILES - 1)


def _segment_name(dimension: str, code: int) -> str:
    if dimension == "since":
        return "first visit" if code == 0 else f"{code} days later" if code > 1 else "1 day later"
    if dimension == "activity":
        return f"activity {code + 1}"
    return f"country {code}"
