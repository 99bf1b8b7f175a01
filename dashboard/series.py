"""The lift day by day, in the forms that the page of lifts can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dashboard import measures, results
from dashboard.measures import Effect, Source, effect, outcomes
from dashboard.reading import Document, Run
from experiment.stats.moments import Moments
from experiment.stats.power import days_left as still_needed
from experiment.stats.ratio import contrast

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class DayLine:
    """A comparison over days.

    Attributes:
        arm, control: names. days: simulated. values: lifts, or differences of rates.
        bands: their intervals, None where undefined.
    """

    arm: str
    control: str
    days: list[int]
    values: list[float | None]
    bands: list[Interval | None]


def lines(
    run: Run, found: Document, pairs: Sequence[tuple[str, str]], *, over: str, scale: str, kind: str
) -> list[DayLine]:
    """Comparisons over the finished days.

    Args:
        run: in any state. found: its results. pairs: (arm, control).
        over: "cumulative" or "daily". scale: "relative" or "absolute".
        kind: of interval, "fixed" or "always-valid"; daily ones are fixed.
    """
    alpha = float(found["run"]["alpha"])
    together = over == "cumulative"
    drawn = []
    for pair in pairs:
        effects = by_day(run, pair, alpha, together=together)
        if not effects:
            continue
        relative = scale == "relative"
        values = [one.lift if relative else one.difference for one in effects]
        bands = [one.ci if relative else one.difference_ci for one in effects]
        if together and kind == "always-valid":
            bands = _always_valid(run, found, pair, relative=relative)
        days = measures.days(run)
        drawn.append(DayLine(*pair, days, values, bands[: len(days)] or [None] * len(days)))
    return drawn or _of_report(found, pairs, scale, over)


def _always_valid(
    run: Run, found: Document, pair: tuple[str, str], *, relative: bool
) -> list[Interval | None]:
    control = found["run"]["control"]
    looks = results.looks(run, float(found["run"]["alpha"]), control)
    own = [look for look in looks if (look.arm, look.control) == pair]
    if not own and relative:
        return [band for line in _of_report(found, [pair], "relative", "cumulative") for band in line.bands]
    return [look.always_valid_look_lift_ci if relative else look.always_valid_look_ci for look in own]


def _of_report(found: Document, pairs: Sequence[tuple[str, str]], scale: str, over: str) -> list[DayLine]:
    """What the report alone says, for runs without users' counts."""
    if scale != "relative" or over != "cumulative":
        return []
    drawn = []
    for pair in pairs:
        own = [
            (day["day"], c)
            for day in found.get("days", [])
            for c in day["comparisons"]
            if (c["arm"], c["control"]) == pair
        ]
        bands = [results.always_valid_ci(c) for _, c in own]
        if own:
            drawn.append(DayLine(*pair, [day for day, _ in own], [c["lift"] for _, c in own], bands))
    return drawn


def by_day(run: Run, pair: tuple[str, str], alpha: float, *, together: bool) -> list[Effect]:
    """The primary effect of each day, or of all days up to it where `together`."""
    ahead = tuple(measures.days(run))
    if not ahead or not set(pair) <= set(measures.arms(run)):
        return []
    arm, base = pair
    treatment, control = (_cells(measures.source(run), name, ahead, together) for name in (arm, base))
    return [effect(str(day), arm, base, control[i], treatment[i], alpha) for i, day in enumerate(ahead)]


@lru_cache(maxsize=64)
def _cells(of: Source, arm: str, ahead: tuple[int, ...], together: bool) -> Moments:
    """Statistics [days] of the users of each day, or of all days up to it: one pass over the user-days."""
    seen = outcomes(of, arm)
    index, users = np.cumsum(seen.first) - 1, int(seen.first.sum())
    shape = (len(ahead), users)
    at = (seen.day - ahead[0]) * users + index
    x, y = (
        np.bincount(at, values, shape[0] * users).reshape(shape)
        for values in (seen.acquisitions, seen.impressions)
    )
    if together:
        x, y = np.cumsum(x, axis=0), np.cumsum(y, axis=0)
    both = np.stack([x, y], axis=1)
    return Moments.from_sums((y > 0).sum(axis=1), both.sum(axis=-1), both @ np.swapaxes(both, -1, -2))


def days_left(run: Run, pair: tuple[str, str], error: float, alpha: float) -> int | None:
    """Further days until the lift's standard error is down to `error`; None where days alone do not do it."""
    ahead = tuple(measures.days(run))
    if not ahead or not set(pair) <= set(measures.arms(run)):
        return None
    treatment, control = (_cells(measures.source(run), name, ahead, True) for name in pair)
    variances = contrast(control, treatment, alpha=alpha).log_variance
    return still_needed(np.asarray(ahead), variances, error**2)
