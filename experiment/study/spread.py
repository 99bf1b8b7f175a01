"""How much of a lift is luck of training: its spread over what ought not to matter.

Over variants: the same world, users and coins, and models that differ in the key of their training alone.
Over arms: an own-log A/A, arms of one kind and settings, each trained on its own log; their lifts are luck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95


def over_variants(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The spread of each arm's expected lift over the variants of a seed, pooled over seeds.

    Args:
        cells: documents of a study's cells.

    Returns:
        Per arm but the control: `arm`, `mean` lift, `sd`, `ci` of the sd, `df`; see `pooled`.
    """
    found = []
    for arm in dict.fromkeys(arm for cell in cells for arm in cell["arms"] if arm != cell["control"]):
        lifts = _by_seed(cells, lambda cell, arm=arm: [cell["arms"].get(arm, {}).get("expected_lift")])
        known = [lift for values in lifts for lift in values]
        found.append({"arm": arm, "mean": float(np.mean(known)) if known else None, **pooled(lifts)})
    return found


def over_arms(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The spread of the lift of two arms that differ in their log alone, pooled over seeds.

    The arms' log expected rates of a seed are the sample, so no arm counts for more; the lift of one over
    another has sqrt(2) times their standard deviation.

    Returns:
        `sd`, `ci`, `df`; see `pooled`.
    """

    def rates(cell: Mapping[str, Any]) -> list[float | None]:
        values = [figures.get("expected_rate") for figures in cell["arms"].values()]
        return [math.log(value) if value else None for value in values]

    found = pooled(_by_seed(cells, rates))
    for name in ("sd", "ci"):
        if found[name] is not None:
            found[name] = (np.array(found[name]) * math.sqrt(2)).tolist()
    return found


def pooled(groups: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The standard deviation within groups, with the 95% interval of chi-square; None without two of a group.

    Returns:
        `{"sd", "ci", "df"}`.
    """
    from scipy.special import chdtri

    df = sum(len(group) - 1 for group in groups if group)
    if df < 1:
        return {"sd": None, "ci": None, "df": 0}
    squares = sum(float(np.sum((np.array(group) - np.mean(group)) ** 2)) for group in groups if group)
    ends = [math.sqrt(squares / float(chdtri(df, tail))) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    return {"sd": math.sqrt(squares / df), "ci": ends, "df": df}


def _by_seed(cells: Sequence[Mapping[str, Any]], values: Any) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    for cell in cells:
        found.setdefault(cell["seed"], []).extend(value for value in values(cell) if value is not None)
    return list(found.values())
