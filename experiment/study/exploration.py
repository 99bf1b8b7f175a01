"""What an arm's ranker explored: distinct apps, and (installed, shown) pairs that the first log did not have.

A wide ranker can only recommend what its crosses have seen together; the paper's case for embeddings is that
they generalise to feature combinations that the log does not have. So the pairs of every impression (each app
that the user has, with the app shown) are held against those of the pre-period's log, from which all arms
learned first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from experiment.assignment import PRODUCTION
from simulator.schema import NO_APP, Array, Log

if TYPE_CHECKING:
    from experiment.folder.rundir import RunFolder

MOST_APPS = 50_000
"""Of larger catalogues pairs are not counted: a bit for each would take more than 300 MB."""


@njit(cache=True)
def mark(bits: Any, known: Any, installed: Any, shown: Any, apps: Any, absent: Any) -> Any:
    """Marks the pairs of requests in `bits`; how many were not marked, how many met, how many not in `known`.

    Args:
        bits, known: uint8, a bit per pair of apps. installed: int[B, I], `absent` where there is none.
        shown: int[B, S]. apps: of the catalogue.
    """
    fresh = 0
    met = 0
    unknown = 0
    for b in range(installed.shape[0]):
        for i in range(installed.shape[1]):
            if installed[b, i] == absent:
                continue
            row = np.int64(installed[b, i]) * apps
            for s in range(shown.shape[1]):
                place = row + shown[b, s]
                byte = place >> 3
                bit = np.uint8(1 << (place & 7))
                met += 1
                if not known[byte] & bit:
                    unknown += 1
                    if not bits[byte] & bit:
                        fresh += 1
                bits[byte] |= bit
    return fresh, met, unknown


def explored(folder: RunFolder) -> dict[str, dict[str, float | None]]:
    """By arm: `distinct_apps`, `new_pairs` (distinct) and `new_pair_share` (of all pairs that were shown)."""
    from experiment.truth.command import days_run

    config = folder.config
    apps, counted = config.world.apps, config.world.apps <= MOST_APPS
    known = np.zeros(apps * apps // 8 + 1 if counted else 0, np.uint8)
    if counted:
        for log in _logs(folder, PRODUCTION, config.pre_days()):
            mark(known, known, log.requests.installed, log.requests.apps, apps, NO_APP)
    found: dict[str, dict[str, float | None]] = {}
    for arm in config.arms:
        seen, shown = known.copy(), np.zeros(apps, bool)
        new = met = unknown = 0
        for log in _logs(folder, arm, days_run(folder)):
            shown[log.requests.apps.ravel()] = True
            if counted:
                counts = mark(seen, known, log.requests.installed, log.requests.apps, apps, NO_APP)
                new, met, unknown = new + counts[0], met + counts[1], unknown + counts[2]
        found[arm] = {
            "distinct_apps": float(shown.sum()),
            "new_pairs": float(new) if counted else None,
            "new_pair_share": unknown / met if met else None,
        }
    return found


def pairs_of(installed: Array, shown: Array) -> set[tuple[int, int]]:
    """The same pairs, slowly: what `mark` is held against."""
    return {
        (int(i), int(a))
        for row, apps in zip(installed, shown, strict=True)
        for i in row
        if i != NO_APP
        for a in apps
    }


def _logs(folder: RunFolder, arm: str, days: Any) -> Iterator[Log]:
    from experiment.daily import day_log

    for day in days:
        yield day_log(folder.path, folder.config, (arm,), day)
