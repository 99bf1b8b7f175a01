"""Pictures of lifts: pure functions from series to figures; the pages and `report.html` draw the same ones.

No template, no smoothing, no colour of its own but the arms': the page's theme gives the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from experiment.palette import GREY, SERIES, Ink
from experiment.words import arm_name

POINTS = 2000
"""At most so many points of a trace reach the browser."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A series with intervals.

    Attributes:
        arm: whose it is. name: in the legend, by default the arm's. x: where. y: values, None for gaps.
        bands: an interval for each, None where there is none.
        dotted: a level drawn as a thin dotted line, such as the true lift.
    """

    arm: str
    x: Sequence[Any]
    y: Sequence[float | None]
    bands: Sequence[Interval | None] = ()
    dotted: float | None = None
    name: str = ""
    size: Sequence[int] = field(default=())

    @property
    def label(self) -> str:
        """What the legend says."""
        return self.name or arm_name(self.arm)


def frame(
    figure: go.Figure, *, x: str, y: str, height: int = 360, tickformat: str | None = None
) -> go.Figure:
    """What all pictures share: quiet axes with titles, a legend on top, room for the labels."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 14, "t": 34, "b": 10},
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "xanchor": "left",
            "x": 0,
            "title": None,
            "traceorder": "normal",
        },
        hovermode="x unified",
        bargap=0.25,
    )
    figure.update_xaxes(title_text=x, showgrid=False, zeroline=False, automargin=True)
    figure.update_yaxes(title_text=y, tickformat=tickformat, zeroline=False, automargin=True, nticks=7)
    figure.for_each_xaxis(_unsigned_zero)
    figure.for_each_yaxis(_unsigned_zero)
    return figure


def _unsigned_zero(axis: Any) -> None:
    """Formats with a sign write +0%, which is neither more nor less."""
    axis.labelalias = {f"+{zero}": zero for zero in ("0%", "0", "0.00", "0.000")}


def lifts(
    lines: Sequence[Line],
    inks: Mapping[str, Ink],
    *,
    relative: bool = True,
    band: str = "95% interval",
    refused: Sequence[int] = (),
    connected: bool = True,
    x: str = "Day of the experiment",
) -> go.Figure:
    """Lifts over days: line, dots and band per arm around a dashed zero.

    Args:
        lines: one per comparison. inks: of the arms.
        relative: as lifts, else in percentage points. band: what the bands are, for the axis title.
        refused: days on whose night the gate refused a model.
        connected: as lines with bands, else as dots with error bars.
        x: title of the axis.
    """
    figure = go.Figure()
    scale, unit, pattern = (1.0, "Lift", "+.1%") if relative else (100.0, "Difference, pp", "+.2f")
    figure.add_hline(y=0, line_color=GREY, line_width=2, line_dash="dash")
    for line in lines:
        ink = inks[line.arm]
        if connected:
            _band(figure, line, ink, scale)
        figure.add_trace(_points(line, ink, scale, pattern, connected=connected))
        if line.dotted is not None and len(line.x):
            _dotted(figure, line, ink, scale, pattern)
    for day in refused:
        figure.add_vline(x=day, line_color="#B3261E", line_width=1, line_dash="dot")
    if refused:
        ends = [x for line in lines for x in line.x if isinstance(x, int)]
        late = bool(ends) and refused[0] > (min(ends) + max(ends)) / 2
        figure.add_annotation(
            x=refused[0],
            y=1,
            yref="paper",
            text="gate refused a model",
            showarrow=False,
            xanchor="right" if late else "left",
            yanchor="top",
        )
    frame(figure, x=x, y=f"{unit} ({band})", tickformat="+.2~%" if relative else "+.2~f")
    return whole_days(figure, [x for line in lines for x in line.x])


def whole_days(figure: go.Figure, xs: Sequence[Any]) -> go.Figure:
    """The figure with ticks on whole days only, a dozen at most, where `xs` are days."""
    if xs and all(isinstance(x, int) for x in xs):
        span = max(xs) - min(xs)
        figure.update_xaxes(dtick=max(1, -(-span // 12)), range=[min(xs) - 0.4, max(xs) + 0.4])
    return figure


def _points(line: Line, ink: Ink, scale: float, pattern: str, *, connected: bool) -> go.Scatter:
    y = [None if v is None else v * scale for v in line.y]
    ends = [("", "") if b is None else (b[0] * scale, b[1] * scale) for b in line.bands or [None] * len(y)]
    text = [
        "" if low == "" or v is None else f"{low:{pattern}} … {high:{pattern}}"
        for v, (low, high) in zip(y, ends, strict=True)
    ]
    errors = None
    if not connected:
        errors = {
            "type": "data",
            "symmetric": False,
            "array": [
                0 if v is None or b is None else b[1] * scale - v for v, b in zip(y, line.bands, strict=True)
            ],
            "arrayminus": [
                0 if v is None or b is None else v - b[0] * scale for v, b in zip(y, line.bands, strict=True)
            ],
            "thickness": 1.5,
            "width": 3,
        }
    return go.Scatter(
        x=list(line.x),
        y=y,
        name=line.label,
        mode="lines+markers" if connected else "markers",
        line={"color": ink.colour, "width": 2},
        marker={"color": ink.colour, "symbol": ink.shape, "size": 8},
        error_y=errors,
        text=text,
        hovertemplate=f"%{{y:{pattern}}}  <i>%{{text}}</i>",
        legendgroup=line.label,
    )


def _band(figure: go.Figure, line: Line, ink: Ink, scale: float) -> None:
    known = [
        (x, b[0] * scale, b[1] * scale) for x, b in zip(line.x, line.bands, strict=False) if b is not None
    ]
    if not known:
        return
    x = [one[0] for one in known]
    quiet = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    shared = {**quiet, "x": x, "legendgroup": line.label}
    figure.add_trace(go.Scatter(y=[one[1] for one in known], name=f"{line.label} lower", **shared))
    figure.add_trace(
        go.Scatter(
            y=[one[2] for one in known],
            name=f"{line.label} upper",
            fill="tonexty",
            fillcolor=ink.band,
            **shared,
        )
    )


def _dotted(figure: go.Figure, line: Line, ink: Ink, scale: float, pattern: str) -> None:
    level = (line.dotted or 0.0) * scale
    first, last = line.x[0], line.x[-1]
    ends = [first - 0.4, last + 0.4] if isinstance(first, int) and isinstance(last, int) else [first, last]
    figure.add_trace(
        go.Scatter(
            x=ends,
            y=[level, level],
            name=f"{line.label}, true",
            mode="lines",
            line={"color": ink.colour, "width": 1.4, "dash": "dot"},
            hovertemplate=f"%{{y:{pattern}}}",
            legendgroup=line.label,
            showlegend=False,
        )
    )


def counts(lines: Sequence[Line], inks: Mapping[str, Ink], *, y: str, height: int = 280) -> go.Figure:
    """Totals over days, such as the users seen so far.

    The first lie under the others, wider: equal ones would hide each other.
    """
    figure = go.Figure()
    for number, line in enumerate(lines):
        ink, under = inks[line.arm], 3 * (len(lines) - 1 - number)
        figure.add_trace(
            go.Scatter(
                x=list(line.x),
                y=list(line.y),
                name=line.label,
                mode="lines+markers",
                line={"color": ink.colour, "width": 2 + under},
                marker={"color": ink.colour, "symbol": ink.shape, "size": 7 + under},
                hovertemplate="%{y:,}",
            )
        )
    frame(figure, x="Day of the experiment", y=y, height=height, tickformat=",")
    figure.update_yaxes(rangemode="tozero")
    return whole_days(figure, [x for line in lines for x in line.x])


def power_curve(
    lifts_at: Sequence[float], powers: Mapping[str, Sequence[float]], found: float | None
) -> go.Figure:
    """The chance to find a lift of each size; dashes at 80% and at the run's detectable lift."""
    figure = go.Figure()
    figure.add_hline(y=0.8, line_color=GREY, line_width=1, line_dash="dash")
    if found is not None:
        figure.add_vline(x=found, line_color=GREY, line_width=1, line_dash="dash")
    for number, (name, values) in enumerate(powers.items()):
        figure.add_trace(
            go.Scatter(
                x=list(lifts_at),
                y=list(values),
                name=name,
                mode="lines",
                line={
                    "width": 2,
                    "color": SERIES[number % len(SERIES)],
                    "dash": ("solid", "dash")[number % 2],
                },
                hovertemplate="%{y:.0%}",
            )
        )
    frame(figure, x="True lift, of either sign", y="Chance to find it", height=280, tickformat=".0%")
    figure.update_xaxes(tickformat=".2~%")
    figure.update_yaxes(range=[0, 1.02])
    return figure
