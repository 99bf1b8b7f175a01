"""The slices of a run on the terminal: a table per cut, then exploration, then the two figures of trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiment.words import DASH, arm_name, big, interval, number, percent

WIDE = 124
"""Columns of a terminal from which on every column is shown."""


EXPLORED = (
    "Apps and pairs found: shown for the first time, by anybody. Pairs new: of all pairs shown, those that "
    "production had not shown. Rules: of the acquisitions, those with an exception in favour whose pair "
    "production, or the arm itself, had shown first."
)


def render(document: Mapping[str, Any], width: int, cut: str | None = None) -> RenderableType:
    """The whole document, or one cut of it, for a terminal of `width` columns."""
    parts: list[RenderableType] = []
    for name, found in document["cuts"].items():
        if cut in (None, name):
            parts += [Text(), Text.assemble((name, "bold"), f"  {found['meaning']}"), Text()]
            parts.append(_cut(document, name, everything=width >= WIDE))
    if cut is None:
        for name, words, body in (
            ("exploration", "What was shown, on the first and the last day", _exploration(document)),
            ("trust", "What is predicted too high", trust(document)),
        ):
            parts += [Text(), Text.assemble((name, "bold"), f"  {words}"), Text(), body]
    if document["pairs"] != "ok":
        parts += [Text(), Text("Pairs are not counted in a catalogue of this size.", "yellow")]
    parts += [
        Text(),
        Text(
            "Intervals are clustered by user, exploratory and not corrected for the number of parts. "
            "Each arm is measured on what it chose to show.",
            "dim",
        ),
    ]
    return Group(*parts)


def _cut(document: Mapping[str, Any], name: str, *, everything: bool) -> Table:
    level = f"{1 - document['alpha']:.0%}\ninterval"
    table = _table("share", "ac-\nquired", "true\nchance", "pre-\ndicted", "AUC", "lift", level)
    if everything:
        table.add_column("expected\nlift", justify="right", no_wrap=True)
        table.add_column("predicted less\ntrue, points", justify="right", no_wrap=True)
        table.add_column("AUC\ninterval", justify="right", no_wrap=True)
    for at, part in enumerate(document["cuts"][name]["parts"]):
        table.add_row(Text(part, "bold"))
        for arm, found in document["arms"].items():
            row = found["cuts"][name][at]
            cells = [share(row["share"]), *(rate(row[it]) for it in ("rate", "chance", "predicted"))]
            cells += [number(row["auc"]), percent(row["lift"]), interval(row["lift_ci"], 0)]
            if everything:
                cells += [percent(row["expected_lift"]), points(row["over"], row["over_ci"])]
                cells.append(span(row["auc_ci"]))
            table.add_row(f"  {arm_name(arm)}", *cells)
    return table


def _exploration(document: Mapping[str, Any]) -> RenderableType:
    table = _table(
        "day", "apps", "bits", "new re-\nleases", "apps\nfound", "pairs\nfound", "pairs\nnew",
        "rules\nknown", "rules\nfound",
    )  # fmt: skip
    for arm, found in document["arms"].items():
        ends = found["days"][:1] + found["days"][1:][-1:]
        for place, day in enumerate(ends):
            table.add_row(
                arm_name(arm) if place == 0 else "",
                str(day["day"]),
                f"{day['distinct_apps']:,.0f}",
                number(day["entropy"], 2),
                share(day["new_release_share"]),
                big(day["new_apps"]),
                DASH if day["new_pairs"] is None else big(day["new_pairs"]),
                share(day["new_pair_share"]),
                share(day["known_rules"]),
                share(day["found_rules"]),
            )
        table.add_section()
    return Group(table, Text(EXPLORED, "dim"))


def trust(document: Mapping[str, Any]) -> RenderableType:
    """Over-generalisation and over-memorisation of each arm, in percentage points."""
    table = _table("over-generalisation\nno exception, ever", "over-memorisation\nexception gone")
    for arm, found in document["arms"].items():
        cells = [found["over_generalisation"], found["over_memorisation"]]
        table.add_row(
            arm_name(arm), *(DASH if one is None else points(one["value"], one["ci"]) for one in cells)
        )
    note = Text(
        "Predicted less true chance, percentage points: where no exception is or was; where one in favour "
        "has gone whose pair was in the training log, over what it is where there never was one.",
        "dim",
    )
    return Group(table, note)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", min_width=16, overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def share(value: float | None) -> str:
    """A share, 12.3%; a dash for None."""
    return DASH if value is None else f"{value:.1%}"


def rate(value: float | None) -> str:
    """A rate, 1.23%; a dash for None."""
    return DASH if value is None else f"{value:.2%}"


def points(value: float | None, ends: list[float] | None) -> str:
    """A difference of two chances in percentage points, with its interval; a dash for None."""
    if value is None:
        return DASH
    text = percent(value, 2).removesuffix("%")
    return text if ends is None else f"{text} ({interval(ends, 2).removesuffix('%')})"


def span(ends: list[float] | None) -> str:
    """An interval of AUCs; a dash for None."""
    return DASH if ends is None else f"{ends[0]:.3f} … {ends[1]:.3f}"
