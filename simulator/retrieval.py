"""Retrieval: about a hundred candidates out of the whole catalogue, by several sources, blind to the arm.

Sources (Cheng et al. 2016, section 2, retrieval "using a combination of machine-learned models and
human-defined rules"): top charts by country, the category of something installed, new releases, and a learned
item-to-item source. Charts and the learned source are fitted on production's log alone: fitted on the arms'
logs they would let the arms interfere. No step visits the whole catalogue for a request.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from simulator.catalogue import Catalogue
from simulator.keys import Stream, fold, root, unit
from simulator.sampling import draw, segmented_alias
from simulator.schema import NO_APP, Array, Log, Requests, Source
from simulator.settings import RetrievalSettings

_NEW_APP_INSTALLS = 0.5
"""What an app without any installation counts as, in charts and categories."""
_FORGET_BELOW = 0.2
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Counts:
    """What retrieval has learned from production's log, decayed daily; its size is the log's.

    Attributes:
        places: uint64[n], sorted keys (country << 32 | app) of what was ever acquired where.
        installs: float32[n], decayed acquisitions at each place.
        pairs: uint64[p], sorted keys (installed app << 32 | acquired app).
        weights: float32[p].
    """

    places: Array
    installs: Array
    pairs: Array
    weights: Array

    @classmethod
    def empty(cls) -> Counts:
        """Nothing learned yet."""
        none, zero = np.zeros(0, np.uint64), np.zeros(0, np.float32)
        return cls(none, zero, none, zero)

    def updated(self, log: Log, decay: float) -> Counts:
        """These counts after one more day of production's log; rows of `log` may come in any order."""
        request, slot = np.nonzero(log.labels)
        acquired = log.requests.apps[request, slot]
        where = _keys(log.requests.country[request], acquired)
        places = np.union1d(self.places, where)
        installs = np.zeros(len(places), np.float32)
        installs[np.searchsorted(places, self.places)] = self.installs * np.float32(decay)
        np.add.at(installs, np.searchsorted(places, where), np.float32(1.0))

        owned = log.requests.installed[request]
        keys = _keys(owned, acquired[:, None])
        fresh, times = np.unique(keys[owned != NO_APP], return_counts=True)
        every = np.concatenate([self.pairs, fresh])
        weight = np.concatenate([self.weights * np.float32(decay), times.astype(np.float32)])
        pairs, place = np.unique(every, return_inverse=True)
        weights = np.bincount(place, weight, len(pairs)).astype(np.float32)
        keep = weights >= _FORGET_BELOW
        return Counts(places, installs, pairs[keep], weights[keep])


def _keys(left: Array, right: Array) -> Array:
    return (left.astype(np.uint64) << np.uint64(32)) | right.astype(np.uint64)


def _sides(keys: Array) -> tuple[Array, Array]:
    """The left and the right numbers, int64, of keys left << 32 | right."""
    return (keys >> np.uint64(32)).astype(np.int64), (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Index:
    """What retrieval serves from on one day; see `build_index`.

    Attributes:
        chart_apps, chart_accept, chart_alias: [countries, L] alias tables over each country's chart.
        category_apps, category_accept, category_alias: [R] released apps grouped by category, alias tables.
        category_offsets: int64[categories + 1].
        releases: int32[n] apps released in the last days.
        related: int32[1 + n, M] neighbours by co-acquisition, then `NO_APP`; row 0 has none.
        related_row: int32[A], each app's row of `related`.
    """

    chart_apps: Array
    chart_accept: Array
    chart_alias: Array
    category_apps: Array
    category_accept: Array
    category_alias: Array
    category_offsets: Array
    releases: Array
    related: Array
    related_row: Array


def build_index(
    settings: RetrievalSettings, countries: int, catalogue: Catalogue, counts: Counts, day: int
) -> Index:
    """The index that serves on `day`: only apps released by then, with what production's log taught.

    The catalogue is passed over a few times; it is sorted only where a chart needs it.
    """
    table = catalogue.table
    released = np.flatnonzero(table.release_day <= day).astype(np.int32)
    prior = table.store_installs / max(int(table.store_installs.sum()), 1) * settings.prior_installs
    _, acquired = _sides(counts.places)
    everywhere = np.bincount(acquired, counts.installs, len(table)) + prior + _NEW_APP_INSTALLS
    charts, strength = _charts(settings, countries, released, (prior + _NEW_APP_INSTALLS) / countries, counts)
    edges = np.arange(countries + 1) * charts.shape[1]
    chart_accept, chart_alias = segmented_alias(strength.ravel(), edges)

    category = table.category[released]
    order = np.argsort(category, kind="stable")
    category_apps = released[order]
    offsets = np.searchsorted(category[order], np.arange(int(table.category.max()) + 2))
    category_accept, category_alias = segmented_alias(
        everywhere[category_apps] ** settings.popularity_exponent, offsets
    )
    age = day - table.release_day[released].astype(np.int64)
    return Index(
        charts, chart_accept.reshape(charts.shape), chart_alias.reshape(charts.shape),
        category_apps, category_accept, category_alias, offsets.astype(np.int64),
        released[age < settings.release_days],
        *_related(counts, everywhere, settings.related_length),
    )  # fmt: skip


def _charts(
    settings: RetrievalSettings, countries: int, released: Array, base: Array, counts: Counts
) -> tuple[Array, Array]:
    """Each country's top apps int32[countries, L] and how strongly they draw, float64[countries, L].

    Without a log all charts are alike: those on it, and those that the country acquired, are all that counts.

    Args:
        settings: of retrieval. countries: their number. released: int32[R], ascending.
        base: float64[A], what an app weighs without a log. counts: of the log.
    """
    length = min(settings.chart_length, len(released))
    country, acquired = _sides(counts.places)
    edges = np.searchsorted(country, np.arange(countries + 1))
    common = _first(base[released], length)
    charts = np.empty((countries, length), np.int32)
    strength = np.empty((countries, length), np.float64)
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        at = np.searchsorted(released, acquired[low:high])
        known = (at < len(released)) & (released[np.minimum(at, len(released) - 1)] == acquired[low:high])
        rows = np.union1d(common, at[known])
        weight = base[released[rows]]
        weight[np.searchsorted(rows, at[known])] += counts.installs[low:high][known]
        top = np.argsort(-weight, kind="stable")[:length]
        charts[place] = released[rows[top]]
        strength[place] = weight[top] ** settings.popularity_exponent
    return charts, strength


def _first(weight: Array, length: int) -> Array:
    """The places of the `length` largest weights, the earlier of equal ones, in no order."""
    if length == len(weight):
        return np.arange(length)
    least = np.partition(weight, len(weight) - length)[len(weight) - length]
    above, equal = np.flatnonzero(weight > least), np.flatnonzero(weight == least)
    return np.concatenate([above, equal[: length - len(above)]])


def _related(counts: Counts, everywhere: Array, length: int) -> tuple[Array, Array]:
    """`Index.related` and its rows: the apps acquired beside an app more often than their size explains."""
    left, right = _sides(counts.pairs)
    owners, first = np.unique(left, return_index=True)
    related = np.full((1 + len(owners), length), NO_APP, np.int32)
    _nearest(np.append(first, len(left)), right, counts.weights / np.sqrt(everywhere[right]), related)
    rows = np.zeros(len(everywhere), np.int32)
    rows[owners] = np.arange(1, 1 + len(owners))
    return related, rows


@njit(cache=True)
def _nearest(edges: Any, right: Any, score: Any, related: Any) -> None:
    """Fills related[1 + n] with the best of right[edges[n]:edges[n + 1]]; the earlier of equal scores."""
    length = related.shape[1]
    kept = np.empty(length, np.float64)
    for n in range(len(edges) - 1):
        best = related[1 + n]
        count = 0
        for j in range(edges[n], edges[n + 1]):
            if count == length and score[j] <= kept[length - 1]:
                continue
            place = count if count < length else length - 1
            while place > 0 and kept[place - 1] < score[j]:
                kept[place], best[place] = kept[place - 1], best[place - 1]
                place -= 1
            kept[place], best[place] = score[j], right[j]
            if count < length:
                count += 1


def quotas(settings: RetrievalSettings) -> Array:
    """int8[C]: the `Source` tried first for each candidate slot, in proportion to the configured shares."""
    shares = (
        (Source.CHARTS, settings.charts_share),
        (Source.CATEGORY, settings.category_share),
        (Source.RELEASES, settings.releases_share),
        (Source.RELATED, settings.related_share),
    )
    edges = np.rint(np.cumsum([share for _, share in shares]) * settings.candidates).astype(np.int64)
    slots = np.empty(settings.candidates, np.int8)
    start = 0
    for (source, _), end in zip(shares, edges, strict=True):
        slots[start:end] = source
        start = int(end)
    return slots


def candidates(
    settings: RetrievalSettings, seed: int, index: Index, category: Array, requests: Requests
) -> tuple[Array, Array]:
    """Candidates int32[B, C] and their sources int8[B, C] for B requests (whose `apps` are ignored).

    No app stands twice in a row, none is installed by the request's user. A function of user and day.

    Raises:
        ValueError: when the catalogue has too few released apps to fill a request.
    """
    released = len(index.category_apps)
    needed = settings.candidates + requests.installed.shape[1]
    if released < needed:
        raise ValueError(f"world.apps: {released} apps are released, at least {needed} are needed")
    apps = np.empty((len(requests), settings.candidates), np.int32)
    sources = np.empty((len(requests), settings.candidates), np.int8)
    _candidates(
        apps, sources, quotas(settings), root(seed, Stream.RETRIEVAL), requests.user_id, requests.sim_day,
        requests.country, requests.installed, category, np.zeros(_slots(needed), np.int64),
        index.chart_apps, index.chart_accept, index.chart_alias, index.category_apps, index.category_accept,
        index.category_alias, index.category_offsets, index.releases, index.related, index.related_row,
    )  # fmt: skip
    return apps, sources


def _slots(apps: int) -> int:
    """Slots of a table that holds a request's apps with room to spare, a power of 2."""
    return 1 << int(4 * apps - 1).bit_length()


@njit(cache=True, inline="always")
def _take(taken: Any, request: Any, app: Any) -> Any:
    """Whether `app` is new to the request, in whose table of its own apps it is from now on.

    A slot holds request << 32 | app, so the table int64[a power of 2] is never cleared between requests.
    """
    mask = len(taken) - 1
    entry = (np.int64(request) << 32) | np.int64(app)
    slot = ((np.int64(app) * 0x9E3779B1) >> 12) & mask
    while taken[slot] >> 32 == request:
        if taken[slot] == entry:
            return False
        slot = (slot + 1) & mask
    taken[slot] = entry
    return True


_CHARTS, _CATEGORY, _RELEASES = int(Source.CHARTS), int(Source.CATEGORY), int(Source.RELEASES)
_RELATED, _FILL = int(Source.RELATED), int(Source.FILL)


@njit(cache=True)
def _candidates(
    out: Any, sources: Any, slots: Any, key: Any, users: Any, days: Any, countries: Any, installed: Any,
    category: Any, taken: Any, chart_apps: Any, chart_accept: Any, chart_alias: Any, category_apps: Any,
    category_accept: Any, category_alias: Any, category_offsets: Any, releases: Any, related: Any,
    related_row: Any,
) -> None:  # fmt: skip
    B, C = out.shape
    length = chart_apps.shape[1]
    for b in range(B):
        state = fold(fold(key, users[b]), days[b])
        n_installed = 0
        while n_installed < installed.shape[1] and installed[b, n_installed] != -1:
            _take(taken, b + 1, installed[b, n_installed])
            n_installed += 1
        country = countries[b]
        for c in range(C):
            source = slots[c]
            place = fold(state, c)
            attempt = 0
            while True:
                luck = fold(place, attempt)
                if attempt >= _ATTEMPTS:
                    source = _FILL
                if n_installed == 0 and source in (_RELATED, _CATEGORY):
                    source = _CHARTS
                app = -1
                if source == _CHARTS:
                    app = chart_apps[
                        country, draw(chart_accept[country], chart_alias[country], 0, length, luck)
                    ]
                elif source == _RELEASES:
                    if len(releases) > 0:
                        app = releases[int(unit(luck) * len(releases))]
                elif source == _FILL:
                    app = category_apps[int(unit(luck) * len(category_apps))]
                else:
                    owned = installed[b, int(unit(fold(luck, 2)) * n_installed)]
                    if source == _CATEGORY:
                        start = category_offsets[category[owned]]
                        size = category_offsets[category[owned] + 1] - start
                        app = category_apps[start + draw(category_accept, category_alias, start, size, luck)]
                    else:
                        row = related_row[owned]
                        known = 0
                        while known < related.shape[1] and related[row, known] != -1:
                            known += 1
                        if known > 0:
                            app = related[row, int(unit(luck) * known)]
                if app >= 0 and _take(taken, b + 1, app):
                    out[b, c] = app
                    sources[b, c] = source
                    break
                attempt += 1
