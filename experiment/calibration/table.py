"""The calibration on the terminal: a table per view, then the figures that miss their bands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiment.calibration.document import ENOUGH
from experiment.calibration.draws import FINITE, SUPER
from experiment.calibration.methods import METHODS, NAIVE
from experiment.calibration.names import METHOD_NAMES
from experiment.words import DASH, arm_name, percent

VIEW_NAMES = {
    SUPER: "Super-population: groups drawn with replacement",
    FINITE: "Finite population: the same users, assigned anew",
}

HEADS = ("", "false\npositives", "coverage", "power", "mean", "sd", "width")
SIZES = ("estimate_mean", "estimate_sd", "interval_width")
SHARES = ("false_positive_rate", "coverage", "power")


def render(document: Mapping[str, Any]) -> RenderableType:
    """The whole calibration for a terminal of at least 80 columns."""
    parts: list[RenderableType] = []
    missed = {
        (one["view"], one["arm"], one["control"], one["method"], one["figure"])
        for one in document["acceptance"]
        if not one["kept"]
    }
    for view, found in document["views"].items():
        parts += [Text(), Text(VIEW_NAMES[view], style="bold")]
        parts += [_table(view, one, missed) for one in found["comparisons"]]
    parts += [Text(), _footer(document, len(missed))]
    return Group(*parts)


def _table(view: str, one: Mapping[str, Any], missed: Collection[tuple[str, ...]]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    for head in HEADS[1:]:
        table.add_column(head, justify="right", no_wrap=True)
    for method, (name, *cells) in zip(METHODS, rows(one), strict=True):
        found = [(view, one["arm"], one["control"], method, share) in missed for share in SHARES]
        shares = [Text(cell, "bold red" if bad else "") for cell, bad in zip(cells, found, strict=False)]
        style = "dim" if method in NAIVE else ""
        table.add_row(name, *shares, *cells[len(SHARES) :], style=style)
    return Group(Text(about(one)), table, Text())


def rows(one: Mapping[str, Any]) -> list[list[str]]:
    """A row per method of one comparison, see `HEADS`."""
    lines = []
    for method in METHODS:
        found = one["methods"][method]
        shares = [_share(found[name]) for name in SHARES]
        mean, *sizes = (percent(found[name], 2) for name in SIZES)
        lines.append([METHOD_NAMES[method], *shares, mean, *(size.lstrip("+") for size in sizes)])
    return lines


def about(one: Mapping[str, Any]) -> str:
    """Which arms are compared, and what is true of them."""
    pair = f"{arm_name(one['arm'])} against {arm_name(one['control'])}"
    return f"{pair}, true lift {percent(one['true_lift'], 2)}"


def _footer(document: Mapping[str, Any], missed: int) -> Text:
    if document["replays"] < ENOUGH:
        return Text(judged(document), style="dim")
    return Text(judged(document), style="green" if missed == 0 else "bold red")


def judged(document: Mapping[str, Any]) -> str:
    """How many figures are in their bands."""
    kept, of = sum(one["kept"] for one in document["acceptance"]), len(document["acceptance"])
    words = f"{document['replays']:,} experiments in each view, out of {document['users']:,} users. "
    words += f"{kept} of {of} figures in their bands"
    return words + (f", which are for {ENOUGH:,} experiments." if document["replays"] < ENOUGH else ".")


def _share(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f}%"
