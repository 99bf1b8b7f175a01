"""The cuts of an arm's impressions: what each looks at, and the parts that it falls into."""

from __future__ import annotations

from dataclasses import dataclass

NEVER_SEEN, FEW, SOME = 0, 3, 10
"""Counts in the training log: 0, 1-3, 4-10, more."""

SHOWN_FEW, SHOWN_SOME = 10, 100
"""Counts of an app in the training log, which are larger: 0, 1-10, 11-100, more."""

YOUNG, GROWN = 2, 9
"""Ages in days, inclusive: 0-2, 3-9, more."""

BASE = 10_000
"""An app older than this was in the store before anything happened."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A way to part impressions.

    Attributes:
        meaning: what the parts are about, as people read it.
        parts: names, in the order of their codes 0 .. n-1.
    """

    meaning: str
    parts: tuple[str, ...]


CUTS = {
    "pair": Cut(
        "How often the best-known pair of an installed app and the shown one was in the training log",
        ("never", "1-3 times", "4-10 times", "more often"),
    ),
    "exception": Cut(
        "Whether an exception holds, and how often its own pair was in the training log",
        (
            "none",
            "against the app",
            "in favour, pair never seen",
            "in favour, seen 1-3 times",
            "in favour, seen 4-10 times",
            "in favour, seen more often",
        ),
    ),
    "stale": Cut(
        "Exceptions that have gone since the training log had their pair",
        (
            "no exception, now or then",
            "an exception holds",
            "in favour, gone 1-3 days",
            "in favour, gone 4-10 days",
            "in favour, gone longer",
            "against, gone",
        ),
    ),
    "age": Cut(
        "Days since the app was released",
        ("0-2 days", "3-9 days", "10 days or more", "from the beginning"),
    ),
    "popularity": Cut(
        "How often the app was shown in the training log",
        ("never", "1-10 times", "11-100 times", "more often"),
    ),
    "history": Cut(
        "How many visits of the user were in the training log",
        ("none", "1-3 visits", "4-10 visits", "more visits"),
    ),
    "found": Cut(
        "Who showed the app first: production before the experiment, or the arm itself",
        ("production", "the arm, that day", "the arm, 1-3 days before", "the arm, earlier"),
    ),
    "learned": Cut(
        "Exceptions in favour, by who first showed their pair",
        ("no exception in favour", "production", "the arm itself", "nobody yet"),
    ),
}
"""By name, in the order in which they are shown."""

STALE = ("in favour, gone 1-3 days", "in favour, gone 4-10 days", "in favour, gone longer")
"""Parts of the cut `stale` whose rule was worth memorising and no longer holds."""
