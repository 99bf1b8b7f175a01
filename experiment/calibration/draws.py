"""Thousands of experiments drawn out of the potential outcomes: who is in which arm, and the sums of it.

A drawn experiment is a weight per user and group, and all that the statistics need of it are weighted sums of
a few columns per user: counts, totals and products. The columns are whole numbers, so the sums are exact, and
no result depends on blocks, tiles or workers. A tile of users stays in the processor's cache while all
experiments of a block take their sums from it.

Randomness is keyed by experiment, group and draw (`simulator.keys`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from experiment.stats.moments import Moments
from experiment.truth.potential import Potential
from simulator.keys import Stream, fold, root, unit
from simulator.schema import Array

SUPER, FINITE = "super_population", "finite_population"

VIEWS = (SUPER, FINITE)
"""Groups drawn with replacement from all users; or all users, assigned to the groups anew."""

BLOCK = 64
"""Experiments drawn at a time."""

_TILE = 256
_MOST = 8
"""Draws of the users of a tile are in the mean at most one each; so many each are beyond all chance."""

_SHARED_LOOK, _SHARED_LAST = 3, 10
_OUTCOME_LOOK, _OUTCOME_LAST = 3, 5


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """The N users who came at least once, as columns of whole numbers.

    Attributes:
        arms: names. sizes: int64[A], users in each arm's group. days: D looks.
        columns: int32 or int64[N, C]. First what is the same under every arm: for each look but the last
            n, y, yy, for the last n, y, yy, p, q, pp, pq, qq, yp, yq; then for each arm the x, xx, xy of each
            look but the last, and x, xx, xy, xp, xq. Here x are acquisitions and y impressions so far, n
            whether there were any, p and q acquisitions and impressions of the pre-period.
        totals: int64[C], of the columns.
    """

    arms: tuple[str, ...]
    sizes: Array
    days: tuple[int, ...]
    columns: Array
    totals: Array

    @classmethod
    def of(cls, potential: Potential) -> Population:
        """The population of a run. Raises ValueError where an arm changes who comes, or nobody does."""
        shown = potential.impressions[0]
        if not (potential.impressions == shown).all():
            raise ValueError("impressions: got users who come more often under some arm, allowed: all alike")
        came = shown.any(axis=1)
        if not came.any():
            raise ValueError("impressions: got none in the whole run, allowed: at least one")
        y = np.cumsum(shown[came], axis=1, dtype=np.int64)
        p, q = potential.pre_acquisitions[came], potential.pre_impressions[came]
        columns = [c for at in range(y.shape[1] - 1) for c in (y[:, at] > 0, y[:, at], y[:, at] ** 2)]
        last = y[:, -1]
        columns += [np.ones_like(last), last, last**2, p, q, p * p, p * q, q * q, last * p, last * q]
        for at in range(len(potential.arms)):
            x = np.cumsum(potential.acquisitions[at][came], axis=1, dtype=np.int64)
            for look in range(y.shape[1] - 1):
                columns += [x[:, look], x[:, look] ** 2, x[:, look] * y[:, look]]
            columns += [x[:, -1], x[:, -1] ** 2, x[:, -1] * last, x[:, -1] * p, x[:, -1] * q]
        small = max(int(column.max()) for column in columns) * _MOST * _TILE < 2**31
        table = np.stack(columns, axis=1, dtype=np.int32 if small else np.int64, casting="unsafe")
        sizes = np.bincount(potential.group[came], minlength=len(potential.arms))
        totals = table.sum(axis=0, dtype=np.int64)
        return cls(potential.arms, sizes, potential.days, table, totals)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def looks(self) -> int:
        """D."""
        return len(self.days)

    @property
    def _shared(self) -> int:
        return _SHARED_LOOK * (self.looks - 1) + _SHARED_LAST

    def _start(self, arm: int) -> int:
        return self._shared + arm * (_OUTCOME_LOOK * (self.looks - 1) + _OUTCOME_LAST)

    def slices(self, arms: tuple[int, ...]) -> Array:
        """int64[s, 2]: the columns needed for the outcomes under `arms`, from and up to."""
        spans = [(0, self._shared), *((self._start(arm), self._start(arm + 1)) for arm in sorted(arms))]
        joined = [spans[0]]
        for start, stop in spans[1:]:
            if start == joined[-1][1]:
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((start, stop))
        return np.array(joined, np.int64)

    def looks_of(self, sums: Array, arm: int) -> Moments:
        """Statistics [R, D] under `arm` of groups with `sums` [R, C], looks accumulating."""
        R, D = len(sums), self.looks
        shared = sums[:, : self._shared].astype(np.float64)
        own = sums[:, self._start(arm) : self._start(arm + 1)].astype(np.float64)
        early, at = _SHARED_LOOK * (D - 1), _OUTCOME_LOOK * (D - 1)
        n, y, yy = np.moveaxis(
            np.concatenate([shared[:, :early], shared[:, early : early + 3]], 1).reshape(R, D, 3), 2, 0
        )
        x, xx, xy = np.moveaxis(np.concatenate([own[:, :at], own[:, at : at + 3]], 1).reshape(R, D, 3), 2, 0)
        products = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
        return Moments.from_sums(n, np.stack([x, y], -1), products)

    def last_of(self, sums: Array, arm: int) -> Moments:
        """Statistics [R] of the whole window with the pre-period, under `arm`."""
        n, y, yy, p, q, pp, pq, qq, yp, yq = (
            sums[:, self._shared - _SHARED_LAST : self._shared].astype(np.float64).T
        )
        stop = self._start(arm + 1)
        x, xx, xy, xp, xq = sums[:, stop - _OUTCOME_LAST : stop].astype(np.float64).T
        products = np.array([[xx, xy, xp, xq], [xy, yy, yp, yq], [xp, yp, pp, pq], [xq, yq, pq, qq]])
        return Moments.from_sums(n, np.stack([x, y, p, q], -1), np.moveaxis(products, 2, 0))

    def true_rates(self, arm: int) -> Array:
        """float64[D]: the acquisition rate of all users under `arm`, up to each look."""
        moments = self.looks_of(self.totals[None], arm)
        return np.asarray(moments.total[0, :, 0] / moments.total[0, :, 1])


def draw(population: Population, view: str, seed: int, replays: range) -> Array:
    """uint8[R, A, N]: how often each user is in each group of the experiments `replays`."""
    weights = np.zeros((len(replays), len(population.arms), len(population)), np.uint8)
    key = root(seed, Stream.CALIBRATION_SAMPLE, _DRAWS, VIEWS.index(view))
    kernel = _with_replacement if view == SUPER else _assign
    kernel(weights, key, replays.start, population.sizes)
    return weights


def group_sums(population: Population, weights: Array, group: int, arms: tuple[int, ...]) -> Array:
    """int64[R, C]: the group's weighted sums of the columns for the outcomes under `arms`; others are 0."""
    sums = np.zeros((len(weights), population.columns.shape[1]), np.int64)
    _accumulate(sums, weights, group, population.columns, population.slices(arms))
    return sums


_DRAWS = 1000
"""Sets these draws apart from the world's own use of the stream."""


@njit(cache=True)
def _with_replacement(weights: Any, key: Any, first: Any, sizes: Any) -> None:
    R, A, N = weights.shape
    for r in range(R):
        replay = fold(key, first + r)
        for a in range(A):
            state = fold(replay, a)
            for i in range(sizes[a]):
                weights[r, a, int(unit(fold(state, i)) * N)] += 1


@njit(cache=True)
def _assign(weights: Any, key: Any, first: Any, sizes: Any) -> None:
    """Each user to one group, of exactly the given sizes (selection sampling, Knuth vol. 2, algorithm S)."""
    R, A, N = weights.shape
    left = np.empty(A, np.float64)
    for r in range(R):
        state = fold(key, first + r)
        left[:] = sizes
        for u in range(N):
            place = unit(fold(state, u)) * (N - u)
            upto = 0.0
            group = 0
            for a in range(A - 1):
                upto += left[a]
                group += place >= upto
            left[group] -= 1.0
            weights[r, group, u] = 1


@njit(cache=True)
def _accumulate(sums: Any, weights: Any, group: Any, columns: Any, slices: Any) -> None:
    R, N, C = weights.shape[0], weights.shape[2], columns.shape[1]
    tile_sums = np.empty(C, columns.dtype)
    chosen = np.empty(_MOST * _TILE, np.uint32)
    for start in range(0, N, _TILE):
        tile = columns[start : start + _TILE]
        for r in range(R):
            m = _list_chosen(chosen, weights[r, group, start : start + _TILE])
            fours = m - m % 4
            tile_sums[:] = 0
            for s in range(slices.shape[0]):
                a, b = slices[s, 0], slices[s, 1]
                into = tile_sums[a:b]
                for i in range(0, fours, 4):  # four rows at a time: one pass over `into` for all of them
                    row_0, row_1 = tile[chosen[i], a:b], tile[chosen[i + 1], a:b]
                    row_2, row_3 = tile[chosen[i + 2], a:b], tile[chosen[i + 3], a:b]
                    for c in range(len(into)):
                        into[c] += row_0[c] + row_1[c] + row_2[c] + row_3[c]
                for i in range(fours, m):
                    row = tile[chosen[i], a:b]
                    for c in range(len(into)):
                        into[c] += row[c]
            for c in range(C):
                sums[r, c] += tile_sums[c]


@njit(cache=True, inline="always")
def _list_chosen(chosen: Any, times: Any) -> Any:
    """Writes each user as often as it was drawn; the number of entries. Hardly a branch: few are thrice."""
    m = 0
    for u in range(len(times)):
        chosen[m] = u
        chosen[m + 1] = u
        m += times[u]
        if times[u] > 2:
            for i in range(m - times[u], m):
                chosen[i] = u
    return m
