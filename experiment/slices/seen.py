"""What a training log has seen: pairs of an installed and a shown app, apps, and users' visits.

Pairs are counted up to 15 in half a byte each, so the pairs of 16,000 apps take 128 MB, and whether a pair
was ever shown is a bit. Nothing is kept of the log itself: a run of any length takes the same memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit

from simulator.schema import NO_APP, Array, Log

MOST_APPS = 30_000
"""Of larger catalogues pairs are not counted: their table would take more than 450 MB."""

NOT_YET = np.iinfo(np.int32).max
"""The day on which an app was first shown, where it has not been."""


@dataclass(slots=True)
class Seen:
    """Counts in the log that an arm has learned from so far, and what it has shown.

    Attributes:
        apps: A, of the catalogue. users: int64[n], the arm's, ascending.
        pairs: uint8, half a byte per pair of apps; empty where pairs are not counted.
        shown: uint8, a bit per pair that was shown to anybody. first: those that production had shown.
        app_counts: int64[A], impressions. first_day: int32[A], see `NOT_YET`; 0 is production's.
        visits: int64[n], of the arm's users.
    """

    apps: int
    users: Array
    pairs: Array
    shown: Array
    first: Array
    app_counts: Array
    first_day: Array
    visits: Array

    @classmethod
    def nothing(cls, apps: int, users: Array) -> Self:
        """No log yet."""
        cells = apps * apps if apps <= MOST_APPS else 0
        return cls(
            apps=apps,
            users=users,
            pairs=np.zeros((cells + 1) // 2, np.uint8),
            shown=np.zeros((cells + 7) // 8, np.uint8),
            first=np.zeros((cells + 7) // 8, np.uint8),
            app_counts=np.zeros(apps, np.int64),
            first_day=np.full(apps, NOT_YET, np.int32),
            visits=np.zeros(len(users), np.int64),
        )

    @property
    def counts_pairs(self) -> bool:
        """Whether the catalogue is small enough for it."""
        return self.apps <= MOST_APPS

    def learn(self, training: Log) -> None:
        """Counts the rows of a night's training log."""
        requests = training.requests
        self.app_counts += np.bincount(requests.apps.ravel(), minlength=self.apps)
        rows, ours = self.rows(requests.user_id)
        np.add.at(self.visits, rows[ours], 1)
        if self.counts_pairs:
            _count(self.pairs, requests.installed, requests.apps, self.apps, NO_APP)

    def show(self, log: Log, day: int) -> tuple[int, int, int, int]:
        """Notes what was shown on `day`; before day 1 it is production's.

        Returns:
            Apps and distinct pairs that nobody had shown, pairs that were shown (with repetitions), and those
            of them that production had not shown before the experiment.
        """
        apps = np.unique(log.requests.apps)
        fresh = apps[self.first_day[apps] == NOT_YET]
        self.first_day[fresh] = max(day, 0)
        new = met = unknown = 0
        if self.counts_pairs:
            from experiment.study.exploration import mark

            known = self.first if day > 0 else self.shown
            new, met, unknown = mark(
                self.shown, known, log.requests.installed, log.requests.apps, self.apps, NO_APP
            )
        return len(fresh), int(new), int(met), int(unknown)

    def begin(self) -> None:
        """The experiment begins: what has been shown until now is production's."""
        self.first = self.shown.copy()

    def rows(self, user_ids: Array) -> tuple[Array, Array]:
        """int64[B], the row of each user in `users`, and bool[B], whether it is one of them."""
        if len(self.users) == 0:
            return np.zeros(len(user_ids), np.int64), np.zeros(len(user_ids), bool)
        rows = np.minimum(np.searchsorted(self.users, user_ids), len(self.users) - 1)
        return rows, self.users[rows] == user_ids


@njit(cache=True)
def _count(pairs: Any, installed: Any, shown: Any, apps: Any, absent: Any) -> None:
    """Adds the pairs of requests to half-byte counts, which stop at 15."""
    for b in range(installed.shape[0]):
        for i in range(installed.shape[1]):
            if installed[b, i] == absent:
                break
            row = np.int64(installed[b, i]) * apps
            for s in range(shown.shape[1]):
                place = row + shown[b, s]
                shift = (place & 1) << 2
                if (pairs[place >> 1] >> shift) & 15 < 15:
                    pairs[place >> 1] += np.uint8(1 << shift)
