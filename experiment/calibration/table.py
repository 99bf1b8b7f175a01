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
from experiment.words import DASH, arm_name, percent

VIEW_NAMES = {
    SUPER: "Super-population: groups drawn with replacement",
    FINITE: "Finite population: the same users, assigned anew",
}

METHOD_NAMES = {
    "z": "z, delta method",
    "welch_t": "Welch t",
    "fieller": "Fieller",
    "cuped": "CUPED",
    "always_valid": "always-valid, each look",
    "always_valid_running": "always-valid, running",
    "naive_impressions": "impressions as units",
    "naive_peeking": "peeking daily",
    "naive_scaled": "difference / control",
}
"""Names of the methods for people."""


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
    pair = (
        f"{arm_name(one['arm'])} against {arm_name(one['control'])}, true lift {percent(one['true_lift'], 2)}"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    for head in ("false\npositives", "coverage", "power", "mean", "sd", "width"):
        table.add_column(head, justify="right", no_wrap=True)
    for method in METHODS:
        found = one["methods"][method]
        cells = [_share(found[name]) for name in ("false_positive_rate", "coverage", "power")]
        shown = [
            Text(cell, "bold red" if (view, one["arm"], one["control"], method, name) in missed else "")
            for cell, name in zip(cells, ("false_positive_rate", "coverage", "power"), strict=True)
        ]
        size = [percent(found[name], 2) for name in ("estimate_mean", "estimate_sd", "interval_width")]
        style = "dim" if method in NAIVE else ""
        table.add_row(METHOD_NAMES[method], *shown, size[0], *(s.lstrip("+") for s in size[1:]), style=style)
    return Group(Text(pair), table, Text())


def _footer(document: Mapping[str, Any], missed: int) -> Text:
    judged = len(document["acceptance"])
    words = f"{document['replays']:,} experiments in each view, out of {document['users']:,} users. "
    if document["replays"] < ENOUGH:
        words += (
            f"{judged - missed} of {judged} figures in their bands, which are for {ENOUGH:,} experiments."
        )
        return Text(words, style="dim")
    words += f"{judged - missed} of {judged} figures in their bands."
    return Text(words, style="green" if missed == 0 else "bold red")


def _share(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f}%"
