"""Experiment designs under interference: `interference/*.json` beside the runs, as a figure and rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from dashboard.figures import frame
from experiment.interference.show import HEADS, effects, figure, named, pair, rows
from experiment.words import percent

HEAD = ("Design", *(head[:1].upper() + head[1:] for head in HEADS[1:]))


@dataclass(frozen=True, slots=True)
class Designs:
    """A comparison of designs as it stands; it may still be running.

    Attributes:
        name: of the file. words: what was compared, and the global effects. figure: bias by design.
        rows: a design each. takeaway: the figure in a sentence.
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
    seeds = f"{len(document['seeds'])} of {document['seeds_asked']} seeds"
    return Designs(
        name=name,
        words=f"{pair(document)}: {seeds}, {document['days']} days, "
        f"{document['users']:,} users of preset {document['preset']}. {effects(document)}",
        figure=drawn,
        rows=rows(document),
        takeaway="Bias: "
        + ", ".join(f"{named(document, one)} {percent(one['bias']['mean'])}" for one in document["designs"]),
    )
