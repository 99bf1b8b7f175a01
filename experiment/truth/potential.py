"""Potential outcomes: what each user of the buckets did, or would have done, under each arm.

On the disk they are two tables, so that dashboards and notebooks read them as they are:
`metrics/potential.parquet`, a row per user, and `metrics/potential_days.parquet`, a row per user and day with
a visit. A column `acquisitions_deep` is the count under the arm `deep`, whatever arm the user was in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from simulator.schema import Array

MEASURES = ("impressions", "acquisitions", "expected")
"""What is kept per user, arm and day; `expected` is the sum of the true chances of acquisition."""


def users_path(root: Path) -> Path:
    """Where a run keeps its potential outcomes, a row per user."""
    return root / "metrics" / "potential.parquet"


def days_path(root: Path) -> Path:
    """Where a run keeps its potential outcomes, a row per user and day."""
    return root / "metrics" / "potential_days.parquet"


@dataclass(frozen=True, slots=True, eq=False)
class Potential:
    """All users of the arms' buckets, n of them ordered by id, under each of A arms over D days.

    Attributes:
        arms: names, in canonical order. days: simulated, from 1.
        user_id: int64[n]. group: int16[n], index into `arms` of the bucket that the user was in.
        country: int8[n]. pre_impressions, pre_acquisitions: int64[n], of the whole pre-period.
        impressions, acquisitions: int32[A, n, D]. expected: float64[A, n, D].
    """

    arms: tuple[str, ...]
    days: tuple[int, ...]
    user_id: Array
    group: Array
    country: Array
    pre_impressions: Array
    pre_acquisitions: Array
    impressions: Array
    acquisitions: Array
    expected: Array

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, users: Array) -> Potential:
        """The users at `users`, bool[n] or int[m]."""
        rows = {name: getattr(self, name)[users] for name in _USER_COLUMNS}
        cubes = {name: getattr(self, name)[:, users] for name in MEASURES}
        return Potential(self.arms, self.days, **rows, **cubes)

    @property
    def visited(self) -> Array:
        """bool[n]: users with at least one impression under any arm."""
        return np.asarray(self.impressions.any(axis=(0, 2)))

    def daily(self, measure: str, arm: str, users: Array | slice = slice(None)) -> Array:
        """[D]: the totals of a measure under `arm` on each day, over `users`."""
        return np.asarray(getattr(self, measure)[self.arms.index(arm)][users].sum(axis=0))

    def lift(self, arm: str, control: str, users: Array | slice = slice(None)) -> float | None:
        """The true lift over `users`: realised acquisitions per impression under `arm` and under `control`.

        None where it is undefined.
        """
        return self._lift("acquisitions", arm, control, users)

    def expected_lift(self, arm: str, control: str, users: Array | slice = slice(None)) -> float | None:
        """The same with the true chances in place of the acquisitions."""
        return self._lift("expected", arm, control, users)

    def _lift(self, measure: str, arm: str, control: str, users: Array | slice) -> float | None:
        totals = [
            (float(self.daily(measure, one, users).sum()), int(self.daily("impressions", one, users).sum()))
            for one in (arm, control)
        ]
        return lift_between(*totals)

    def tables(self) -> tuple[Any, Any]:
        """The two tables (pyarrow): by user, and by user and day."""
        import pyarrow as pa

        columns: dict[str, Any] = {name: getattr(self, name) for name in _USER_COLUMNS}
        columns["group"] = pa.DictionaryArray.from_arrays(pa.array(self.group), pa.array(list(self.arms)))
        row, day = np.nonzero(self.impressions.any(axis=0))
        by_day: dict[str, Any] = {
            "user_id": self.user_id[row],
            "day": np.array(self.days, np.int32)[day],
        }
        for measure in MEASURES:
            cube = getattr(self, measure)
            for at, arm in enumerate(self.arms):
                columns[f"{measure}_{arm}"] = cube[at].sum(axis=1)
                by_day[f"{measure}_{arm}"] = cube[at][row, day]
        return pa.table(columns), pa.table(by_day)

    @classmethod
    def read(cls, root: Path) -> Self:
        """The potential outcomes of the run at `root`, as `tables` wrote them. Raises OSError."""
        import pyarrow.parquet as pq

        users = pq.read_table(users_path(root), partitioning=None)
        rows = pq.read_table(days_path(root), partitioning=None)
        group = users.column("group").combine_chunks()
        arms = tuple(
            name.removeprefix("impressions_")
            for name in users.column_names
            if name.startswith("impressions_")
        )
        by_name = group.dictionary.to_pylist()
        codes = np.array([arms.index(name) for name in by_name], np.int16)[group.indices.to_numpy()]
        columns = {name: users.column(name).to_numpy() for name in _USER_COLUMNS if name != "group"}
        by_day = {name: rows.column(name).to_numpy() for name in rows.column_names}
        return cls.of_rows(arms, columns | {"group": codes}, by_day)

    @classmethod
    def of_rows(
        cls,
        arms: tuple[str, ...],
        users: Mapping[str, Array],
        rows: Mapping[str, Array],
        days: tuple[int, ...] | None = None,
    ) -> Self:
        """From a row per user, ids ascending, and a row per user and day, as in the two tables.

        Args:
            arms: names. users: columns of the first table without the totals, `group` as codes.
            rows: columns of the second; users that are not in `users` raise ValueError.
            days: of the experiment; those of `rows` by default.
        """
        days = tuple(int(day) for day in np.unique(rows["day"])) if days is None else days
        row = np.searchsorted(users["user_id"], rows["user_id"])
        if not np.array_equal(users["user_id"][np.minimum(row, len(users["user_id"]) - 1)], rows["user_id"]):
            raise ValueError("rows: got users that are not among the users, none are allowed")
        day = np.searchsorted(np.array(days), rows["day"])
        shape = (len(arms), len(users["user_id"]), len(days))
        cubes = {
            measure: np.zeros(shape, np.float64 if measure == "expected" else np.int32)
            for measure in MEASURES
        }
        for measure, cube in cubes.items():
            for at, arm in enumerate(arms):
                cube[at][row, day] = rows[f"{measure}_{arm}"]
        return cls(arms, days, **{name: users[name] for name in _USER_COLUMNS}, **cubes)


_USER_COLUMNS = ("user_id", "group", "country", "pre_impressions", "pre_acquisitions")


def lift_between(treatment: tuple[float, float], control: tuple[float, float]) -> float | None:
    """The lift of (acquisitions, impressions) over the control's; None where it is undefined."""
    if not (treatment[1] and control[1] and control[0]):
        return None
    return (treatment[0] / treatment[1]) / (control[0] / control[1]) - 1.0
