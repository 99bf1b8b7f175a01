"""Effects below each other on one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.figures import Interval, frame
from experiment.palette import GREY, Ink
from experiment.words import arm_name


@dataclass(frozen=True, slots=True)
class Leaf:
    """A row of a forest plot.

    Attributes:
        label: of the row. arm: whose ink. value: the effect. ci: thick. wings: thin. truth: a tick.
        sure: whether it is decided; else it is grey.
    """

    label: str
    arm: str
    value: float | None
    ci: Interval | None
    sure: bool = True
    truth: float | None = None


def forest(leaves: Sequence[Leaf], inks: Mapping[str, Ink], *, x: str = "Lift") -> go.Figure:
    """Effects below each other on one axis; what is not decided is hollow."""
    figure = go.Figure()
    figure.add_vline(x=0, line_color=GREY, line_width=2)
    for arm in dict.fromkeys(leaf.arm for leaf in leaves):
        ink, own = inks[arm], [leaf for leaf in leaves if leaf.arm == arm and leaf.value is not None]
        values = [leaf.value or 0.0 for leaf in own]
        spans = [leaf.ci or (value, value) for leaf, value in zip(own, values, strict=True)]
        fills = [ink.colour if leaf.sure else "rgba(0,0,0,0)" for leaf in own]
        figure.add_trace(
            go.Scatter(
                x=values,
                y=[leaf.label for leaf in own],
                name=arm_name(arm),
                orientation="h",
                offsetgroup=arm,
                mode="markers",
                marker={
                    "color": fills,
                    "symbol": ink.shape,
                    "size": 9,
                    "line": {"color": ink.colour, "width": 2},
                },
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [span[1] - value for span, value in zip(spans, values, strict=True)],
                    "arrayminus": [value - span[0] for span, value in zip(spans, values, strict=True)],
                    "color": ink.colour,
                    "thickness": 2,
                    "width": 0,
                },
                text=[f"{span[0]:+.1%} … {span[1]:+.1%}" for span in spans],
                hovertemplate="%{x:+.1%}  <i>%{text}</i><extra>%{y}</extra>",
            )
        )
        true = [leaf for leaf in own if leaf.truth is not None]
        if true:
            figure.add_trace(
                go.Scatter(
                    x=[leaf.truth for leaf in true],
                    y=[leaf.label for leaf in true],
                    name=f"{arm_name(arm)}, true",
                    orientation="h",
                    offsetgroup=arm,
                    mode="markers",
                    marker={"symbol": "line-ns-open", "size": 16, "color": ink.colour, "line": {"width": 2}},
                    hovertemplate="true %{x:+.1%}<extra>%{y}</extra>",
                )
            )
    rows = len({leaf.label for leaf in leaves})
    frame(figure, x=x, y="", height=110 + 30 * max(rows, 2))
    figure.update_xaxes(tickformat="+.2~%", showgrid=True)
    labels = list(dict.fromkeys(leaf.label for leaf in leaves))
    figure.update_yaxes(categoryorder="array", categoryarray=labels[::-1], nticks=None, type="category")
    figure.update_layout(
        hovermode="closest", scattermode="group" if len(labels) < len(leaves) else "overlay", scattergap=0.4
    )
    return figure
