"""The wide part as it serves: folded by app, crosses packed; only non-zero weights exist.

Letters in shapes: B requests, C candidates, A apps, V apps of the vocabulary, F user features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.catalogue import APP_FEATURES, DENSE_FEATURES, USER_FEATURES, Catalogue
from models.pairs import PackedPairs, maybe, place_of, spread
from models.wide_space import Layout
from simulator.schema import Requests

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def _add_crosses(pairs: Any, installed: Any, apps: Any, out: Any) -> None:
    """Adds the weights of the installed x app crosses to out [B, C]; a repeated installed app counts once."""
    B, C = apps.shape
    hashes, sums, near = np.empty(C, np.int64), np.empty(C, np.float64), np.empty(C + 1, np.int64)
    for b in range(B):
        for c in range(C):
            hashes[c] = spread(apps[b, c])
            sums[c] = 0.0
        for i in range(installed.shape[1]):
            left = installed[b, i]
            if left < 0:
                continue
            start = pairs.starts[left]
            mask = pairs.starts[left + 1] - start - 1
            fresh = mask >= 0
            for k in range(i):
                fresh = fresh and installed[b, k] != left
            if not fresh:
                continue
            n = 0
            for c in range(C):
                near[n] = c
                n += maybe(pairs, start, mask, hashes[c])
            for k in range(n):
                c = near[k]
                place = place_of(pairs, start, mask, apps[b, c], hashes[c])
                if place >= 0:
                    sums[c] += pairs.values[place]
        for c in range(C):
            out[b, c] += sums[c]


@njit(cache=True, nogil=True)
def _add_first_order(
    layout: Any,
    weights: Any,
    codes: Any,
    installed: Any,
    apps: Any,
    days: Any,
    own: Any,
    attributes: Any,
    app_codes: Any,
    app_rows: Any,
    release_day: Any,
    ages: Any,
    out: Any,
) -> None:
    """Adds everything but the installed x app crosses to out [B, C]; position 0."""
    B, C = apps.shape
    F = codes.shape[1]
    last = len(ages) - 1
    of_category = np.zeros(layout.categories, np.float64)
    inside = np.zeros(layout.categories, np.bool_)
    n_columns = 0
    for f in range(F):
        n_columns += layout.columns[f] >= 0
    columns = np.empty(n_columns, np.int64)
    for b in range(B):
        common = np.float64(weights[0]) + weights[layout.position]
        for k in range(layout.categories):
            of_category[k] = 0.0
            inside[k] = False
        n_columns = 0
        for f in range(F):
            common += weights[layout.user[f] + codes[b, f]]
            if layout.category[f] >= 0:
                start = layout.category[f] + codes[b, f] * layout.categories
                for k in range(layout.categories):
                    of_category[k] += weights[start + k]
            if layout.columns[f] >= 0:
                columns[n_columns] = layout.columns[f] - 1 + codes[b, f]
                n_columns += 1
        if layout.installed_category >= 0:
            for i in range(installed.shape[1]):
                if installed[b, i] >= 0:
                    own_category = app_codes[installed[b, i], 0]
                    if not inside[own_category]:
                        inside[own_category] = True
                        start = layout.installed_category + own_category * layout.categories
                        for k in range(layout.categories):
                            of_category[k] += weights[start + k]
        for c in range(C):
            a = apps[b, c]
            age = min(max(np.int64(days[b]) - np.int64(release_day[a]), 0), last)
            total = common + own[a] + weights[layout.age + ages[age]] + of_category[app_codes[a, 0]]
            if n_columns > 0 and app_rows[a] > 0:
                for k in range(n_columns):
                    total += attributes[app_rows[a], columns[k]]
            out[b, c] += total


class FoldedWide:
    """The wide part, ready to serve.

    Args:
        catalogue: the apps' features at publication.
        crosses: names of the crosses.
        arrays: `LinearPart.published`.
    """

    def __init__(self, catalogue: Catalogue, crosses: tuple[str, ...], arrays: Mapping[str, Array]) -> None:
        c = self.catalogue = catalogue
        self.layout = Layout.of(c.cardinalities, crosses, c.age.buckets, c.settings.positions)
        L, V = self.layout, len(c.app_ids)
        weights = np.zeros(L.rows + L.stride * V, np.float32)
        weights[arrays["ids"]] = arrays["weights"]
        self._first = weights[: L.rows]
        rows = weights[L.rows :].reshape(V, L.stride)
        own = c.dense @ self._first[L.dense : L.dense + len(DENSE_FEATURES)].astype(np.float64)
        for k, start in enumerate(L.app):
            own += self._first[start + c.codes[:, k]]
        own[c.app_ids] += rows[:, 0]
        self._own = own
        self._attributes = np.zeros((V + 1, L.stride - 1), np.float32)
        self._attributes[1:] = rows[:, 1:]
        self._app_weights = np.concatenate([np.zeros(1, np.float32), rows[:, 0]])
        none = np.zeros(0, np.int32)
        lefts, rights = arrays.get("lefts", none), arrays.get("rights", none)
        weights = arrays.get("cross_weights", none.astype(np.float32))
        self._pairs = PackedPairs.of(lefts, rights, weights, len(c.codes))

    def add(self, codes: Array, requests: Requests, out: Array) -> None:
        """Adds the part's log odds to `out` float32[B, C]; `codes` as of `features.user_codes`."""
        c = self.catalogue
        _add_first_order(
            self.layout,
            self._first,
            codes,
            requests.installed,
            requests.apps,
            requests.sim_day,
            self._own,
            self._attributes,
            c.codes,
            c.app_rows,
            c.age.release_day,
            c.age.table,
            out,
        )
        if len(self._pairs.rights):
            _add_crosses(self._pairs, requests.installed, requests.apps, out)

    def shares(self, codes: Array, requests: Requests, row: int, column: int) -> Iterator[tuple[str, float]]:
        """Each feature of one scored app by name, with its exact share of the log odds, zeros included."""
        L, w, c = self.layout, self._first, self.catalogue
        user = {n: int(code) for n, code in zip(USER_FEATURES, codes[row], strict=True)}
        a = int(requests.apps[row, column])
        own, vocabulary_row = c.codes[a], int(c.app_rows[a])
        category = int(own[0])
        yield "bias", float(w[0])
        yield "position=0", float(w[L.position])
        for f, (name, code) in enumerate(user.items()):
            yield f"{name}={code}", float(w[L.user[f] + code])
        yield f"app={a}", float(self._app_weights[vocabulary_row])
        for k, name in enumerate(APP_FEATURES):
            yield f"{name}={own[k]}", float(w[L.app[k] + own[k]])
        bucket = c.age.bucket(int(requests.sim_day[row]), a)
        yield f"age_bucket={bucket}", float(w[L.age + bucket])
        for d, name in enumerate(DENSE_FEATURES):
            yield f"{name}={c.dense[a, d]:.3g}", float(w[L.dense + d] * np.float64(c.dense[a, d]))
        for f, (name, code) in enumerate(user.items()):
            if L.category[f] >= 0:
                at = L.category[f] + code * L.categories + category
                yield f"{name}={code} x category={category}", float(w[at])
            if L.columns[f] >= 0:
                share = self._attributes[vocabulary_row, L.columns[f] - 1 + code]
                yield f"{name}={code} x app={a}", float(share)
        installed = [int(i) for i in dict.fromkeys(requests.installed[row].tolist()) if i >= 0]
        if L.installed_category >= 0:
            for k in sorted({int(c.codes[i, 0]) for i in installed}):
                at = L.installed_category + k * L.categories + category
                yield f"installed_category={k} x category={category}", float(w[at])
        for i in installed:
            start, stop = self._pairs.starts[i : i + 2]
            for place in np.flatnonzero(self._pairs.rights[start:stop] == a):
                yield f"installed={i} x app={a}", float(self._pairs.values[start + place])

    def counts(self) -> dict[str, int]:
        """Numbers of non-zero weights."""
        first = int(np.count_nonzero(self._first) + np.count_nonzero(self._app_weights))
        return {
            "wide": first + int(np.count_nonzero(self._attributes)),
            "crosses": int(np.count_nonzero(self._pairs.values)),
        }
