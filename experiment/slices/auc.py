"""AUC within parts, with user-clustered variance, in time and memory linear in the impressions.

Obuchowski (1997), as `models.evaluation.clustered_auc`; scores are rounded to 1/2048 of a log odd first, so
that placements come from counts and nothing is sorted. Scores closer than that tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from simulator.schema import Array

LEVELS = 1 << 16
RANGE = 16.0
"""Log odds beyond this count as this."""

ENOUGH = 20
"""Fewer labels of either kind than this give no AUC."""


@dataclass(frozen=True, slots=True)
class PartAucs:
    """AUCs of parts; all arrays are [parts], NaN where undefined.

    Attributes:
        auc: of the labels. variance: of its estimate. expected: of the true chances.
    """

    auc: Array
    variance: Array
    expected: Array


def levels(scores: Array) -> Array:
    """uint16: log odds float[...] as whole numbers of equal steps."""
    step = np.rint((np.clip(scores, -RANGE, RANGE) + RANGE) * ((LEVELS - 1) / (2 * RANGE)))
    return np.asarray(step.astype(np.uint16))


def by_part(score: Array, label: Array, chance: Array, user: Array, part: Array, parts: int) -> PartAucs:
    """The AUC of each part.

    Args:
        score: uint16[n], see `levels`. label: int8[n]. chance: float32[n], true.
        user: int32[n], rows from 0. part: uint8[n], below `parts`.
    """
    users = int(user.max(initial=-1)) + 1
    area, variance, expected = _aucs(score, label, chance, user, part, parts, users, LEVELS, ENOUGH)
    return PartAucs(area, variance, expected)


@njit(cache=True)
def _aucs(
    score: Any, label: Any, chance: Any, user: Any, part: Any, parts: Any, users: Any, all_levels: Any,
    enough: Any,
) -> Any:  # fmt: skip
    counts = np.zeros((parts, all_levels, 2))
    chances = np.zeros((parts, all_levels, 2))
    for n in range(len(score)):
        counts[part[n], score[n], label[n]] += 1.0
        chances[part[n], score[n], 1] += chance[n]
        chances[part[n], score[n], 0] += 1.0 - chance[n]
    whole = np.zeros((parts, 2))
    area = np.full(parts, np.nan)
    expected = np.full(parts, np.nan)
    placed = np.zeros((parts, all_levels, 2))
    for p in range(parts):
        whole[p, 0], whole[p, 1] = counts[p, :, 0].sum(), counts[p, :, 1].sum()
        if min(whole[p, 0], whole[p, 1]) < enough:
            continue
        low = np.zeros(2)
        wins = 0.0
        hoped = 0.0
        low_chance = 0.0
        for level in range(all_levels):
            negative, positive = counts[p, level, 0], counts[p, level, 1]
            placed[p, level, 1] = (low[0] + 0.5 * negative) / whole[p, 0]
            placed[p, level, 0] = 1.0 - (low[1] + 0.5 * positive) / whole[p, 1]
            wins += positive * placed[p, level, 1]
            hoped += chances[p, level, 1] * (low_chance + 0.5 * chances[p, level, 0])
            low[0] += negative
            low[1] += positive
            low_chance += chances[p, level, 0]
        area[p] = wins / whole[p, 1]
        expected[p] = hoped / (chances[p, :, 0].sum() * chances[p, :, 1].sum())
    sums = np.zeros((parts, users, 2))
    present = np.zeros((parts, users, 2), np.bool_)
    for n in range(len(score)):
        p = part[n]
        sums[p, user[n], label[n]] += placed[p, score[n], label[n]] - area[p]
        present[p, user[n], label[n]] = True
    variance = np.full(parts, np.nan)
    for p in range(parts):
        if np.isnan(area[p]):
            continue
        with_each = np.zeros(2)
        clusters = 0.0
        squares = np.zeros(2)
        both = 0.0
        for u in range(users):
            for kind in range(2):
                with_each[kind] += present[p, u, kind]
                squares[kind] += sums[p, u, kind] ** 2
            clusters += present[p, u, 0] or present[p, u, 1]
            both += sums[p, u, 0] * sums[p, u, 1]
        if min(with_each[0], with_each[1]) < 2:
            continue
        variance[p] = 2.0 * both * (clusters / (clusters - 1.0)) / (whole[p, 0] * whole[p, 1])
        for kind in range(2):
            variance[p] += squares[kind] * (with_each[kind] / (with_each[kind] - 1.0)) / whole[p, kind] ** 2
    return area, np.maximum(variance, 0.0), expected
