"""The exceptions of past days: which rules a training log could have taught, and which of them have gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from simulator.preferences import Exceptions
from simulator.schema import Array

_NO_DAY = np.iinfo(np.int32).min


@dataclass(slots=True)
class Rules:
    """Every exception that has held on a day so far, by shown app; all arrays are [A, R], R grows.

    Attributes:
        used: int32[A], how many of an app's R places are taken.
        companions: int32, the installed app. weights: float64, log odds. last: int32, last day it held.
        places: int64[A, slots], where the exceptions of the last day are.
    """

    used: Array
    companions: Array
    weights: Array
    last: Array
    places: Array

    @classmethod
    def none(cls, apps: int, slots: int) -> Self:
        """No day yet."""
        width = max(1, 2 * slots)
        return cls(
            used=np.zeros(apps, np.int32),
            companions=np.full((apps, width), -1, np.int32),
            weights=np.zeros((apps, width)),
            last=np.full((apps, width), _NO_DAY, np.int32),
            places=np.full((apps, slots), -1, np.int64),
        )

    def note(self, today: Exceptions, day: int) -> None:
        """Adds the exceptions of the day after the last: a slot goes on, or has been drawn anew."""
        apps = np.arange(len(self.used))
        for slot in range(self.places.shape[1]):
            companion, weight = today.companions[:, slot], today.weights[:, slot]
            at = np.maximum(self.places[:, slot], 0)
            same = (self.places[:, slot] >= 0) & (self.companions[apps, at] == companion)
            same &= self.weights[apps, at] == weight
            self.last[apps[same], at[same]] = day
            new = apps[~same]
            place = self.used[new]
            self._make_room(int(place.max(initial=-1)) + 1)
            self.companions[new, place], self.weights[new, place] = companion[new], weight[new]
            self.last[new, place] = day
            self.places[new, slot] = place
            self.used[new] += 1

    def _make_room(self, width: int) -> None:
        more = width - self.companions.shape[1]
        if more > 0:
            room = ((0, 0), (0, max(more, self.companions.shape[1] // 2)))
            self.companions = np.pad(self.companions, room, constant_values=-1)
            self.weights = np.pad(self.weights, room)
            self.last = np.pad(self.last, room, constant_values=_NO_DAY)
