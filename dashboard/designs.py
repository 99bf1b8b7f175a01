"""Experiment designs under interference: `interference/*.json` beside the runs, as a figure and rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from dashboard.figures import frame
from experiment.interference.show import against, figure, named
from experiment.words import DASH, arm_name, interval, percent

HEAD = (
    "Design", "Global effect", "Bias", "95%", "Error of the estimate", "Standard error", "Holds the effect",
    "Data", "Does to the arm", "To the control",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Designs:
    """A comparison of designs as it stands; it may still be running.

    Attributes:
        name: of the file. words: what was compared. figure: bias by design. rows: a design each.
        takeaway: the figure in a sentence.
    """

    name: str
    words: str
    figure: go.Figure
    rows: list[list[str]]
    takeaway: str


def found(root: Path) -> dict[str, Designs]:
    """The comparisons of a folder of runs, by name; what is none, or has no seed yet, is left out."""
    known: dict[str, Designs] = {}
    for file in sorted((root / "interference").glob("*.json")):
        try:
            document = json.loads(file.read_bytes())
            if document["designs"]:
                known[file.stem] = read(file.stem, document)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return known


def read(name: str, document: dict[str, Any]) -> Designs:
    """A document, ready to be shown. Raises KeyError and the like for another kind of document."""
    drawn = figure(document)
    frame(drawn, x="Bias of the lift", y="", height=120 + 46 * len(document["designs"]))
    drawn.update_xaxes(tickformat="+.1%")
    drawn.update_yaxes(type="category", autorange="reversed", nticks=None)
    drawn.update_layout(title=None, template=None, hovermode="closest")
    words = " against ".join(arm_name(arm) for arm in against(document))
    seeds = f"{len(document['seeds'])} of {document['seeds_asked']} seeds"
    return Designs(
        name=name,
        words=f"{words}: {seeds}, {document['days']} days, "
        f"{document['users']:,} users of preset {document['preset']}.",
        figure=drawn,
        rows=[_row(document, one) for one in document["designs"]],
        takeaway="Bias: "
        + ", ".join(f"{named(document, one)} {percent(one['bias']['mean'])}" for one in document["designs"]),
    )


def _row(document: dict[str, Any], one: dict[str, Any]) -> list[str]:
    data = one["data"]["mean"]
    return [
        named(document, one),
        percent(one["global"]["mean"]),
        percent(one["bias"]["mean"], 2),
        interval(one["bias"]["ci"], 2),
        percent(one["error"]).lstrip("+"),
        percent(one["se"]["mean"]).lstrip("+"),
        f"{one['covered']} of {one['seeds']}",
        DASH if data is None else f"{data:.0%}",
        percent(one["gained"]["mean"]),
        percent(one["control_gained"]["mean"]),
    ]
