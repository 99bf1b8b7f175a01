"""Which part of each cut every impression of a day falls into."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from experiment.slices import cuts
from experiment.slices.cuts import CUTS
from experiment.slices.rules import Rules
from experiment.slices.seen import NOT_YET, Seen
from simulator.preferences import Exceptions
from simulator.schema import NO_APP, AppTable, Array, Log, Truth

PAIRED = ("pair", "exception", "stale", "learned")
"""Cuts that need the counts of pairs; they are left out of catalogues that are too large for them."""


def part(
    log: Log, truth: Truth, seen: Seen, rules: Rules, today: Exceptions, apps: AppTable, day: int
) -> dict[str, Array]:
    """uint8[B, S] per cut: the part of each impression, by what was known before the day.

    Args:
        log, truth: of the day, rows in the same order. seen: before it. apps: of the world.
        rules: up to the day before. today: the day's exceptions.
    """
    shown = log.requests.apps
    age = day - apps.release_day[shown].astype(np.int64)
    rows, ours = seen.rows(log.requests.user_id)
    visits = np.where(ours, seen.visits[rows] if len(seen.visits) else 0, 0)
    first = seen.first_day[shown].astype(np.int64)
    since = np.where(first == NOT_YET, 0, day - first)
    codes = {
        "age": np.where(age > cuts.BASE, 3, _graded(age, cuts.YOUNG, cuts.GROWN)),
        "popularity": _counted(seen.app_counts[shown], cuts.SHOWN_FEW, cuts.SHOWN_SOME),
        "history": np.broadcast_to(_counted(visits, cuts.FEW, cuts.SOME)[:, None], shown.shape),
        "found": np.where(first == 0, 0, 1 + _counted(since, cuts.FEW, cuts.SOME).clip(max=2)),
    }
    if seen.counts_pairs:
        best, own, first_pair, gone, against = _look(
            log.requests.installed, shown, seen.pairs, seen.first, seen.shown, seen.apps, today.companions,
            today.weights, rules.used, rules.companions, rules.weights, rules.last, day, NO_APP,
        )  # fmt: skip
        sign = truth.exceptions
        favour = 2 + _counted(own.astype(np.int64), cuts.FEW, cuts.SOME)
        stale = np.where(gone > 0, 1 + _counted(gone.astype(np.int64), cuts.FEW, cuts.SOME), 5 * against)
        codes |= {
            "pair": _counted(best.astype(np.int64), cuts.FEW, cuts.SOME),
            "exception": np.where(sign == 0, 0, np.where(sign < 0, 1, favour)),
            "stale": np.where(sign != 0, 1, stale),
            "learned": np.where(sign > 0, first_pair, 0),
        }
    return {name: codes[name].astype(np.uint8) for name in CUTS if name in codes}


def _graded(values: Array, low: int, high: int) -> Array:
    """0 up to `low`, 1 up to `high`, 2 above."""
    return np.asarray((values > low).astype(np.int64) + (values > high))


def _counted(values: Array, few: int, some: int) -> Array:
    """0 for 0, 1 up to `few`, 2 up to `some`, 3 above."""
    return np.asarray((values > 0).astype(np.int64) + (values > few) + (values > some))


@njit(cache=True)
def _look(
    installed: Any, shown: Any, pairs: Any, first: Any, ever: Any, apps: Any, companions: Any, weights: Any,
    used: Any, past: Any, past_weights: Any, last: Any, day: Any, absent: Any,
) -> Any:  # fmt: skip
    """What is known of the pairs of each impression.

    Args:
        installed: int32[B, I]. shown: int32[B, S]. pairs, first, ever: see `Seen`. apps: A.
        companions, weights: of today's exceptions, [A, slots]. used, past, past_weights, last: see `Rules`.
        day: today. absent: where no app is installed.

    Returns:
        All [B, S]: `best` int8, the largest count of its pairs; `own` int8, the largest count of the pairs
        that have an exception in favour; `origin` int8, who showed such a pair first (0 there is none, 1
        production, 2 the arm, 3 nobody); `gone` int32, days since the newest exception in favour went whose
        pair was in the log, or 0; `against` bool, whether one against has gone and none in favour.
    """
    B, S = shown.shape
    best = np.zeros((B, S), np.int8)
    own = np.zeros((B, S), np.int8)
    origin = np.zeros((B, S), np.int8)
    gone = np.zeros((B, S), np.int32)
    against = np.zeros((B, S), np.bool_)
    owner = np.full(apps, -1, np.int64)
    for b in range(B):
        for i in range(installed.shape[1]):
            if installed[b, i] == absent:
                break
            owner[installed[b, i]] = b
        for s in range(S):
            app = shown[b, s]
            most = 0
            for i in range(installed.shape[1]):
                if installed[b, i] == absent:
                    break
                place = np.int64(installed[b, i]) * apps + app
                count = (pairs[place >> 1] >> ((place & 1) << 2)) & 15
                most = max(most, count)
            best[b, s] = most
            for slot in range(companions.shape[1]):
                other = companions[app, slot]
                if owner[other] != b or weights[app, slot] <= 0.0:
                    continue
                place = np.int64(other) * apps + app
                bit = np.uint8(1 << (place & 7))
                own[b, s] = max(own[b, s], (pairs[place >> 1] >> ((place & 1) << 2)) & 15)
                who = 1 if first[place >> 3] & bit else 2 if ever[place >> 3] & bit else 3
                origin[b, s] = who if origin[b, s] == 0 else min(origin[b, s], who)
            newest = 0
            for r in range(used[app]):
                other = past[app, r]
                if owner[other] != b:
                    continue
                place = np.int64(other) * apps + app
                if (pairs[place >> 1] >> ((place & 1) << 2)) & 15 == 0:
                    continue
                still = False
                for slot in range(companions.shape[1]):
                    if companions[app, slot] == other and weights[app, slot] == past_weights[app, r]:
                        still = True
                if still:
                    continue
                since = day - last[app, r]
                if past_weights[app, r] > 0.0:
                    newest = since if newest == 0 else min(newest, since)
                else:
                    against[b, s] = True
            gone[b, s] = newest
            if newest > 0:
                against[b, s] = False
    return best, own, origin, gone, against
