"""What each user did in the window and before it: from day counts to the statistics of the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiment.stats.moments import Moments, stack
from simulator.schema import Array

DECILES = 10

MARGINS = {"impressions_per_user": 0.05, "new_release_share": 0.25}
"""Guardrails and the relative loss of each that is tolerated."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """One row per user and day with a visit in the window, ordered by user, then day. All arrays are [n].

    Attributes:
        user_id: int64. day: int32, simulated, from 1.
        country: int8.
        impressions, acquisitions: int64 of the day. expected: float64, the sum of true chances of the day.
        new_impressions: int64 of the day, apps that were new releases.
        pre_impressions, pre_acquisitions: int64 of the user in the whole pre-period, on each of its rows.
    """

    user_id: Array
    day: Array
    country: Array
    impressions: Array
    acquisitions: Array
    expected: Array
    new_impressions: Array
    pre_impressions: Array
    pre_acquisitions: Array

    @classmethod
    def of(cls, window: Mapping[str, Array], pre: Mapping[str, Array]) -> Outcomes:
        """From user-days of the window and of the pre-period.

        Args:
            window: columns `user_id`, `day`, `country`, `impressions`, `acquisitions`, `expected`,
                `new_impressions`, rows in any order.
            pre: columns `user_id`, `impressions`, `acquisitions` of the pre-period, any users.
        """
        order = np.lexsort((window["day"], window["user_id"]))
        users = window["user_id"][order].astype(np.int64)
        before = {name: _sums(pre["user_id"], pre[name], users) for name in ("impressions", "acquisitions")}
        return cls(
            user_id=users,
            day=window["day"][order].astype(np.int32),
            country=window["country"][order].astype(np.int8),
            impressions=window["impressions"][order].astype(np.int64),
            acquisitions=window["acquisitions"][order].astype(np.int64),
            expected=window["expected"][order].astype(np.float64),
            new_impressions=window["new_impressions"][order].astype(np.int64),
            pre_impressions=before["impressions"],
            pre_acquisitions=before["acquisitions"],
        )

    def __len__(self) -> int:
        return len(self.user_id)

    @property
    def first(self) -> Array:
        """bool[n]: each user's first row."""
        return np.append(True, self.user_id[1:] != self.user_id[:-1])[: len(self)]

    def looks(self, days: Sequence[int]) -> Moments:
        """Statistics [days] of the users seen up to each day: totals so far, and their pre-period."""
        index = np.cumsum(self.first) - 1
        first = self.first
        totals = np.zeros((2, int(first.sum())))
        looks = []
        for day in days:
            rows = self.day == day
            totals[0, index[rows]] += self.acquisitions[rows]
            totals[1, index[rows]] += self.impressions[rows]
            seen = totals[1] > 0
            before = (self.pre_acquisitions[first][seen], self.pre_impressions[first][seen])
            looks.append(Moments.from_users(totals[0, seen], totals[1, seen], *before))
        return stack(looks)


def pre_moments(pre: Mapping[str, Array]) -> Moments:
    """Statistics of the pre-period alone, of the users who visited in it; columns as in `Outcomes.of`."""
    users = np.unique(pre["user_id"])
    return Moments.from_users(
        _sums(pre["user_id"], pre["acquisitions"], users), _sums(pre["user_id"], pre["impressions"], users)
    )


def users_table(arms: Mapping[str, Outcomes]) -> Any:
    """`metrics/users.parquet`, a pyarrow table and an input of `storelift analyze`: one row per user and day.

    Pre-period counts are attributes of the user, the same on each of its rows.
    `activity` is the decile, 0 .. 9, of the user's pre-period impressions among all arms' users.
    """
    import pyarrow as pa

    rows = {name: np.concatenate([getattr(o, name) for o in arms.values()]) for name in Outcomes.__slots__}
    first = np.concatenate([o.first for o in arms.values()])
    lengths = [len(outcomes) for outcomes in arms.values()]
    names = pa.array(list(arms), pa.string())
    codes = pa.array(np.repeat(np.arange(len(arms), dtype=np.int16), lengths))
    return pa.table(
        {
            "user_id": rows["user_id"],
            "arm": pa.DictionaryArray.from_arrays(codes, names),
            "day": rows["day"],
            "impressions": rows["impressions"],
            "installs": rows["acquisitions"],
            "expected_installs": rows["expected"],
            "new_impressions": rows["new_impressions"],
            "pre_impressions": rows["pre_impressions"],
            "pre_installs": rows["pre_acquisitions"],
            "country": rows["country"],
            "activity": _deciles(rows["pre_impressions"], first),
        }
    )


def _deciles(values: Array, first: Array) -> Array:
    """int8[n]: the decile of each value among those of `first`, ties together."""
    ordered = np.sort(values[first])
    below: Array = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    decile: Array = np.minimum(below * DECILES // max(2 * len(ordered), 1), DECILES - 1)
    return decile.astype(np.int8)


def _sums(ids: Array, values: Array, users: Array) -> Array:
    """int64[len(users)]: the sum of `values` over the rows whose id is each of `users`."""
    known, inverse = np.unique(ids, return_inverse=True)
    if not len(known):
        return np.zeros(len(users), np.int64)
    sums = np.zeros(len(known), np.int64)
    np.add.at(sums, inverse, np.asarray(values, np.int64))
    at = np.minimum(np.searchsorted(known, users), len(known) - 1)
    return np.asarray(np.where(known[at] == users, sums[at], 0))
