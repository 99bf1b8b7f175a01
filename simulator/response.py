"""How users respond: examination by position, the chance of acquisition, and the keyed coin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from simulator.keys import fold, unit
from simulator.schema import NO_APP


@njit(cache=True)
def log_odds(
    rows: Any, hours: Any, installed: Any, apps: Any, taste: Any, user_value: Any, app_vectors: Any,
    taste_centre: Any, app_value: Any, category: Any, hour_category: Any, companions: Any, weights: Any,
) -> Any:  # fmt: skip
    """The true log odds of B requests for C apps each, and the share of the exceptions in them.

    Args:
        rows: int64[B], the row of each request's user in `taste` float64[n, k] and `user_value` float64[n].
        hours: int8[B]. installed: int32[B, I]. apps: int32[B, C].
        app_vectors, taste_centre, app_value, hour_category: see `Preferences`.
        category: int16[A]. companions, weights: see `Exceptions`.

    Returns:
        float64[B, C] log odds at the top position (without examination) and float64[B, C] exceptions.
    """
    B, C = apps.shape
    k = taste.shape[1]
    slots = companions.shape[1]
    odds = np.empty((B, C), np.float64)
    exceptions = np.zeros((B, C), np.float64)
    filters = np.zeros(64, np.uint64)
    for b in range(B):
        filters[:] = 0
        n_installed = 0
        while n_installed < installed.shape[1] and installed[b, n_installed] != NO_APP:
            app = installed[b, n_installed]
            filters[(app >> 6) & 63] |= np.uint64(1) << np.uint64(app & 63)
            n_installed += 1
        row = rows[b]
        for c in range(C):
            app = apps[b, c]
            value = user_value[row] + app_value[app] + hour_category[hours[b], category[app]] - taste_centre
            for d in range(k):
                value += taste[row, d] * app_vectors[app, d]
            extra = 0.0
            for s in range(slots):
                companion = companions[app, s]
                if (filters[(companion >> 6) & 63] >> np.uint64(companion & 63)) & np.uint64(1):
                    for i in range(n_installed):
                        if installed[b, i] == companion:
                            extra += weights[app, s]
                            break
            exceptions[b, c] = extra
            odds[b, c] = value + extra
    return odds, exceptions


@njit(cache=True)
def respond(odds: Any, users: Any, days: Any, apps: Any, decay: Any, key: Any) -> Any:
    """Chances float64[B, S] and labels int8[B, S] of the shown apps, in order of position.

    The coin of a user, an app and a day is the same wherever and by whomever the app is shown.
    """
    B, S = odds.shape
    chances = np.empty((B, S), np.float64)
    labels = np.empty((B, S), np.int8)
    for b in range(B):
        user = fold(key, users[b])
        for s in range(S):
            chances[b, s] = math.exp(-decay * s) / (1.0 + math.exp(-odds[b, s]))
            coin = unit(fold(fold(user, apps[b, s]), days[b]))
            labels[b, s] = 1 if coin < chances[b, s] else 0
    return chances, labels


@njit(cache=True)
def install(installed: Any, rows: Any, apps: Any, labels: Any) -> None:
    """Adds the acquired apps of B requests to `installed` int32[n, I] at `rows` int64[B], in place.

    A full row loses its oldest app. Rows must be distinct.
    """
    B, S = apps.shape
    capacity = installed.shape[1]
    for b in range(B):
        row = rows[b]
        count = 0
        while count < capacity and installed[row, count] != NO_APP:
            count += 1
        for s in range(S):
            if labels[b, s] == 0:
                continue
            if count == capacity:
                for i in range(capacity - 1):
                    installed[row, i] = installed[row, i + 1]
                count -= 1
            installed[row, count] = apps[b, s]
            count += 1
