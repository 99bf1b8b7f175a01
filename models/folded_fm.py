"""The factorization machine as it serves (Rendle 2012): the app side folded into one row for each app.

Letters in shapes: B requests, C candidates, A apps, K = 1 + factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.catalogue import APP_FEATURES, DENSE_FEATURES, Catalogue
from models.deep import Blocks
from simulator.schema import Requests

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def add_feature(row: Any, value: Any, total: Any) -> Any:
    """Adds a feature to `total` [K] (linear sum, then factor sums); returns its sum of squares."""
    squares = np.float32(0.0)
    total[0] += row[0] * value
    for k in range(1, len(row)):
        x = row[k] * value
        total[k] += x
        squares += x * x
    return squares


@njit(cache=True, nogil=True)
def _add_scores(
    users: Any, own: Any, by_age: Any, codes: Any, starts: Any, fixed: Any, installed: Any, slots: Any,
    installed_rows: Any, apps: Any, days: Any, release_day: Any, ages: Any, out: Any,
) -> None:  # fmt: skip
    """Adds log odds to out [B, C]; rows of `own` and `by_age` hold linear - squares / 2, then factor sums."""
    K, last = fixed.shape[1], len(ages) - 1
    user = np.empty(K, np.float32)
    for b in range(len(codes)):
        for k in range(K):
            user[k] = users[k]
        squares = np.float32(0.0)
        for f in range(codes.shape[1]):
            squares += add_feature(fixed[starts[f] + codes[b, f]], np.float32(1.0), user)
        n = 0
        for i in range(slots.shape[1]):
            n += slots[b, i] >= 0 and installed_rows[slots[b, i]] > 0
        for i in range(slots.shape[1]):
            if slots[b, i] >= 0 and installed_rows[slots[b, i]] > 0:
                squares += add_feature(installed[installed_rows[slots[b, i]]], np.float32(1.0 / n), user)
        for c in range(apps.shape[1]):
            a = apps[b, c]
            bucket = ages[min(max(np.int64(days[b]) - np.int64(release_day[a]), 0), last)]
            y = np.float64(user[0]) + own[a, 0] + by_age[bucket, 0] - 0.5 * squares
            for k in range(1, K):
                x = user[k] + own[a, k] + by_age[bucket, k]
                y += 0.5 * x * x
            out[b, c] += y


class FoldedFM:
    """The factorization machine, ready to serve: the app side is folded into a row for each app.

    Args:
        catalogue: the apps' features at publication.
        arrays: `FactorPart.published`.
    """

    def __init__(self, catalogue: Catalogue, arrays: Mapping[str, Array]) -> None:
        c = self.catalogue = catalogue
        self._blocks = Blocks.of(c.cardinalities, c.age.buckets, c.settings.positions)
        self._fixed, self._installed = arrays["fixed"], arrays["installed"]
        K = len(APP_FEATURES)
        known = (c.app_rows > 0).astype(np.float32)[:, None]
        dense = self._fixed[self._blocks.size :]
        features = [
            *(self._fixed[c.codes[:, k] + self._blocks.app[k]] for k in range(K)),
            arrays["apps"][c.app_rows] * known,
            *(c.dense[:, d : d + 1] * dense[d] for d in range(len(DENSE_FEATURES))),
        ]
        self._own = _fold(features)
        self._by_age = _fold([self._fixed[self._blocks.app[K] : self._blocks.position]])
        self._start = _fold([self._fixed[self._blocks.position][None]])[0]
        self._start[0] += arrays["bias"][0, 0]

    def add(self, codes: Array, requests: Requests, out: Array) -> None:
        """Adds the part's log odds to `out` float32[B, C]; `codes` as of `features.user_codes`."""
        c, r = self.catalogue, requests
        user_side = (codes, self._blocks.user, self._fixed, self._installed, r.installed, c.installed_rows)
        app_side = (r.apps, r.sim_day, c.age.release_day, c.age.table)
        _add_scores(self._start, self._own, self._by_age, *user_side, *app_side, out)


def _fold(features: list[Array]) -> Array:
    """The sums of features [n, K], with half their squared factors taken off the linear column."""
    total: Array = np.add.reduce(features)
    total[:, 0] -= 0.5 * sum((x[:, 1:] ** 2).sum(1) for x in features)
    return np.ascontiguousarray(total)
