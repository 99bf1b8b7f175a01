"""Figures of slices and their intervals as people read them, on the terminal and in the browser."""

from __future__ import annotations

from collections.abc import Sequence

from experiment.words import DASH, interval, percent

Ends = Sequence[float] | None


def share(value: float | None, digits: int = 1) -> str:
    """A share, 12.3%; a dash for None."""
    return DASH if value is None else f"{value:.{digits}%}"


def rate(value: float | None) -> str:
    """A rate, 1.23%; a dash for None."""
    return share(value, 2)


def between(ends: Ends, digits: int = 1, scale: float = 100.0) -> str:
    """An interval without signs and unit, 12.1 … 12.5; a dash for None. `scale` is 1 for plain numbers."""
    return DASH if ends is None else " … ".join(f"{scale * end:.{digits}f}" for end in ends)


def change(ends: Ends, digits: int = 1) -> str:
    """An interval of differences or lifts without its unit, +1.2 … +6.6; a dash for None."""
    return DASH if ends is None else interval(list(ends), digits).removesuffix("%")


def with_interval(value: str, ends: str) -> str:
    """A figure with its interval in brackets, where it has one."""
    return value if ends == DASH else f"{value} ({ends})"


def point(value: float | None) -> str:
    """A difference of two chances in percentage points, +1.23; a dash for None."""
    return percent(value, 2).removesuffix("%")


def points(value: float | None, ends: Ends) -> str:
    """A difference of two chances in percentage points, with its interval; a dash for None."""
    return with_interval(point(value), change(ends, 2))
