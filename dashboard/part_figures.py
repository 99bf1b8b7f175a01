"""Pictures of parts: of the traffic, of a score, of a table of latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from dashboard.figures import Line, frame
from experiment.palette import GREY, SERIES, Ink

THEIRS = "In the paper"
"""The name of the bars that are the paper's figures."""


def bars(groups: Mapping[str, Mapping[str, float]], *, y: str, tickformat: str | None = None) -> go.Figure:
    """Values by category, a bar per group side by side, each with its number."""
    figure = go.Figure()
    for number, (name, values) in enumerate(groups.items()):
        theirs = name == THEIRS
        figure.add_trace(
            go.Bar(
                x=list(values),
                y=list(values.values()),
                name=name,
                text=[f"{v:.2g}" if v < 10 else f"{v:.0f}" for v in values.values()],
                textposition="outside",
                cliponaxis=False,
                marker={
                    "color": GREY if theirs else SERIES[number % len(SERIES)],
                    "pattern": {"shape": "/" if theirs else ("", ".", "-")[number % 3]},
                },
                hovertemplate="%{y:.3g}",
            )
        )
    frame(figure, x="", y=y, height=320, tickformat=tickformat)
    figure.update_layout(barmode="group", hovermode="closest")
    figure.update_xaxes(type="category")
    figure.update_yaxes(rangemode="tozero")
    return figure


def parts(
    lines: Sequence[Line],
    inks: Mapping[str, Ink],
    *,
    y: str,
    tickformat: str | None = None,
    from_zero: bool = False,
) -> go.Figure:
    """A measure in parts that have an order, a marker per arm side by side, with its interval."""
    figure = go.Figure()
    known = [value for line in lines for value in line.y if value is not None]
    if known and min(known) < 0 < max(known):
        figure.add_hline(y=0, line_color=GREY, line_width=1.5, line_dash="dash")
    for line in lines:
        ink = inks[line.arm]
        figure.add_trace(
            go.Scatter(
                x=list(line.x),
                y=list(line.y),
                name=line.label,
                mode="markers",
                marker={"color": ink.colour, "symbol": ink.shape, "size": 10},
                error_y=_bars(line, ink.colour),
                cliponaxis=False,
                hovertemplate=f"%{{y:{tickformat or '.3f'}}}",
            )
        )
    frame(figure, x="", y=y, height=340, tickformat=tickformat)
    names = list(dict.fromkeys(x for line in lines for x in line.x))
    figure.update_xaxes(
        type="category", showgrid=True, tickvals=names, ticktext=["<br>".join(wrap(x, 16)) for x in names]
    )
    figure.update_layout(scattermode="group", scattergap=0.5)
    if known:  # grouped markers would start the axis at 0, and the widest intervals would be all there is
        low, high = (0.0 if from_zero else min(known)), max(known)
        room = 0.25 * max(high - low, 0.01)
        figure.update_yaxes(range=[low if from_zero else low - room, high + room])
    return figure


def _bars(line: Line, colour: str) -> dict[str, Any] | None:
    """Intervals of a line as bars around its markers; None where it has none."""
    ends = [
        (0.0, 0.0) if band is None or value is None else (value - band[0], band[1] - value)
        for value, band in zip(line.y, line.bands, strict=False)
    ]
    if not any(low or high for low, high in ends):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [high for _, high in ends],
        "arrayminus": [low for low, _ in ends],
        "color": colour,
        "thickness": 1.5,
        "width": 3,
    }


def made_of(parts_: Mapping[str, float], ink: Ink, *, title: str) -> go.Figure:
    """The parts of a score as bars from zero, hatched where they lower it."""
    labels = [f"{name}  {value:+.2f}" for name, value in parts_.items()]
    figure = go.Figure(
        go.Bar(
            x=list(parts_.values()),
            y=labels,
            orientation="h",
            name=title,
            marker={
                "color": ink.colour,
                "pattern": {"shape": ["" if v >= 0 else "/" for v in parts_.values()]},
            },
            hovertemplate="%{y}<extra></extra>",
        )
    )
    frame(figure, x="Log odds", y="", height=90 + 30 * len(parts_))
    figure.add_vline(x=0, line_color=GREY, line_width=1.5)
    figure.update_layout(title={"text": title, "font": {"size": 14}}, hovermode="closest", showlegend=False)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels[::-1], nticks=None)
    return figure
