"""The id space of the wide part, and the compiled loops that write features and learn their weights.

Letters in shapes: B requests, S shown apps, F user features, A apps.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.catalogue import APP_FEATURES, DENSE_FEATURES, USER_FEATURES, app_sizes, user_sizes
from models.ftrl import update, update_all
from models.pairs import place_of, spread
from simulator.schema import Cardinalities

Array = NDArray[Any]

W, G = 2, 3  # columns of FTRL.table


class Layout(NamedTuple):
    """Where the features lie in the id space. An absent block begins at -1.

    Attributes:
        user: int64[F], first id of each user feature.
        app: int64[4], first id of each app attribute.
        age: first id of the app-age buckets.
        position: first id of the positions.
        dense: first id of the dense values, one each.
        category: int64[F], first id of each user feature x category (feature-major).
        installed_category: first id of installed category x category.
        columns: int64[F], offset within an app's row of each user feature x app.
        rows: first id of the apps' rows.
        stride: ids of an app's row; the first is the app's own.
        categories: number of categories.
    """

    user: Array
    app: Array
    age: int
    position: int
    dense: int
    category: Array
    installed_category: int
    columns: Array
    rows: int
    stride: int
    categories: int

    @classmethod
    def of(cls, cardinalities: Cardinalities, crosses: tuple[str, ...], ages: int, positions: int) -> Self:
        """The layout for these attributes and crosses; id 0 is the bias."""
        sizes = user_sizes(cardinalities)
        categories = cardinalities.categories
        end = 1

        def block(size: int, wanted: bool = True) -> int:
            nonlocal end
            start = end if wanted else -1
            end += size if wanted else 0
            return start

        user = np.array([block(size) for size in sizes], np.int64)
        app = np.array([block(size) for size in app_sizes(cardinalities)], np.int64)
        age, position, dense = block(ages), block(positions), block(len(DENSE_FEATURES))
        category = np.array(
            [
                block(size * categories, f"{name}_x_category" in crosses)
                for name, size in zip(USER_FEATURES, sizes, strict=True)
            ],
            np.int64,
        )
        installed_category = block(categories * categories, "installed_category_x_category" in crosses)
        rows, end = end, 1
        columns = np.array(
            [
                block(size, f"{name}_x_app" in crosses)
                for name, size in zip(USER_FEATURES, sizes, strict=True)
            ],
            np.int64,
        )
        return cls(
            user, app, age, position, dense, category, installed_category, columns, rows, end, categories
        )

    @property
    def per_impression(self) -> int:
        """The most ids that one impression has, installed categories aside."""
        crosses = int((self.category >= 0).sum() + (self.columns >= 0).sum())
        return len(APP_FEATURES) + 3 + crosses


@njit(cache=True)
def forward(
    layout: Any,
    codes: Any,
    installed: Any,
    apps: Any,
    positions: Any,
    app_codes: Any,
    ages: Any,
    app_rows: Any,
    dense: Any,
    table: Any,
    ids: Any,
    offsets: Any,
    logits: Any,
) -> None:
    """Writes each impression's ids (request-level ones aside) and its logit without the app crosses."""
    user, app, category, columns = layout.user, layout.app, layout.category, layout.columns
    categories, installed_category = layout.categories, layout.installed_category
    B, S = apps.shape
    F, D = codes.shape[1], dense.shape[1]
    bases = np.empty(F + categories, np.int64)
    inside = np.zeros(categories, np.bool_)
    end = 0
    offsets[0] = 0
    for b in range(B):
        common = np.float64(table[0, W])
        n_bases = 0
        for f in range(F):
            common += table[user[f] + codes[b, f], W]
            if category[f] >= 0:
                bases[n_bases] = category[f] + codes[b, f] * categories
                n_bases += 1
        if installed_category >= 0:
            first = n_bases
            for i in range(installed.shape[1]):
                if installed[b, i] >= 0:
                    c = app_codes[installed[b, i], 0]
                    if not inside[c]:
                        inside[c] = True
                        bases[n_bases] = installed_category + c * categories
                        n_bases += 1
            for k in range(first, n_bases):
                inside[(bases[k] - installed_category) // categories] = False
        for s in range(S):
            a = apps[b, s]
            start = end
            for k in range(len(app)):
                ids[end + k] = app[k] + app_codes[a, k]
            end += len(app)
            ids[end] = layout.age + ages[a]
            ids[end + 1] = layout.position + positions[b, s]
            end += 2
            for k in range(n_bases):
                ids[end] = bases[k] + app_codes[a, 0]
                end += 1
            if app_rows[a] > 0:
                row = layout.rows + np.int64(app_rows[a] - 1) * layout.stride
                ids[end] = row
                end += 1
                for f in range(F):
                    if columns[f] >= 0:
                        ids[end] = row + columns[f] + codes[b, f]
                        end += 1
            total = common
            for k in range(start, end):
                total += table[ids[k], W]
            for d in range(D):
                total += table[layout.dense + d, W] * dense[a, d]
            offsets[b * S + s + 1] = end
            logits[b, s] = total


@njit(cache=True)
def backward(
    layout: Any,
    codes: Any,
    apps: Any,
    dense: Any,
    table: Any,
    ids: Any,
    offsets: Any,
    gradients: Any,
    rates: Any,
) -> None:
    """One FTRL step of the mini-batch: request-level ids get the summed gradient of the request."""
    user, dense_at = layout.user, layout.dense
    alpha, beta, l1, l2 = rates
    B, S = gradients.shape
    F, D = codes.shape[1], dense.shape[1]
    for b in range(B):
        common = 0.0
        for s in range(S):
            g = np.float64(gradients[b, s])
            common += g
            n = b * S + s
            for k in range(offsets[n], offsets[n + 1]):
                table[ids[k], G] += g
            for d in range(D):
                table[dense_at + d, G] += g * dense[apps[b, s], d]
        table[0, G] += common
        for f in range(F):
            table[user[f] + codes[b, f], G] += common
    update(table[0], alpha, beta, l1, l2)
    for b in range(B):
        for f in range(F):
            update(table[user[f] + codes[b, f]], alpha, beta, l1, l2)
    for d in range(D):
        update(table[dense_at + d], alpha, beta, l1, l2)
    update_all(table, ids[: offsets[-1]], alpha, beta, l1, l2)


@njit(cache=True)
def cross_forward(
    pairs: Any, installed: Any, apps: Any, table: Any, ids: Any, impressions: Any, logits: Any
) -> int:
    """Adds the weights of the installed x app crosses to the logits; writes and counts (id, impression).

    An app that is installed twice counts once (paper, equation 1).
    """
    B, S = apps.shape
    hashes, sums = np.empty(S, np.int64), np.empty(S, np.float64)
    end = 0
    for b in range(B):
        for s in range(S):
            hashes[s] = spread(apps[b, s])
            sums[s] = 0.0
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
            for s in range(S):
                place = place_of(pairs, start, mask, apps[b, s], hashes[s])
                if place >= 0:
                    found = pairs.values[place]
                    ids[end], impressions[end] = found, b * S + s
                    end += 1
                    sums[s] += table[found, W]
        for s in range(S):
            logits[b, s] += sums[s]
    return end


@njit(cache=True)
def cross_backward(table: Any, ids: Any, impressions: Any, gradients: Any, rates: Any) -> None:
    """One FTRL step of the pairs that `cross_forward` wrote; gradients are flat."""
    alpha, beta, l1, l2 = rates
    for k in range(len(ids)):
        table[ids[k], G] += gradients[impressions[k]]
    update_all(table, ids, alpha, beta, l1, l2)
