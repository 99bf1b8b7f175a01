"""Pictures of what is measured beside the experiment: quality, the gate, calibration, latency, studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dashboard.figures import Line, frame, whole_days
from experiment.palette import GREY, SERIES, Ink
from experiment.words import arm_name

RED = "#B3261E"


def measured(
    lines: Sequence[Line], inks: Mapping[str, Ink], *, y: str, level: float | None = None
) -> go.Figure:
    """A measure by day and arm with its intervals; `level` is drawn dashed."""
    figure = go.Figure()
    if level is not None:
        figure.add_hline(y=level, line_color=GREY, line_width=1.5, line_dash="dash")
    for line in lines:
        ink = inks[line.arm]
        known = [(x, b) for x, b in zip(line.x, line.bands, strict=False) if b is not None]
        if known:
            quiet = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
            shared = {**quiet, "x": [x for x, _ in known], "legendgroup": line.label}
            figure.add_trace(go.Scatter(y=[b[0] for _, b in known], name=f"{line.label} lower", **shared))
            figure.add_trace(
                go.Scatter(
                    y=[b[1] for _, b in known],
                    name=f"{line.label} upper",
                    fill="tonexty",
                    fillcolor=ink.band,
                    **shared,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=list(line.x),
                y=list(line.y),
                name=line.label,
                mode="lines+markers",
                line={"color": ink.colour, "width": 2},
                marker={"color": ink.colour, "symbol": ink.shape, "size": 7},
                legendgroup=line.label,
                hovertemplate="%{y:.4f}",
            )
        )
    frame(figure, x="Day of the experiment", y=y, height=320)
    return whole_days(figure, [x for line in lines for x in line.x])


@dataclass(frozen=True, slots=True)
class Spot:
    """An arm off line and on line. `theirs`: the paper's."""

    arm: str
    auc: float
    lift: float
    auc_ci: tuple[float, float] | None = None
    ci: tuple[float, float] | None = None
    theirs: bool = False


def off_and_on(spots: Sequence[Spot], inks: Mapping[str, Ink]) -> go.Figure:
    """Offline AUC against online lift: our arms filled with crosses of intervals, the paper's hollow."""
    figure = go.Figure()
    figure.add_hline(y=0, line_color=GREY, line_width=2, line_dash="dash")
    known = [end for spot in spots for end in (spot.auc, *(spot.auc_ci or ()))]
    for spot in spots:
        ink = inks[spot.arm]
        fill = "rgba(0,0,0,0)" if spot.theirs else ink.colour
        name = f"{arm_name(spot.arm)} (paper)" if spot.theirs else arm_name(spot.arm)
        figure.add_trace(
            go.Scatter(
                x=[spot.auc],
                y=[spot.lift],
                name=name,
                mode="markers",
                showlegend=not spot.theirs,
                marker={
                    "color": fill,
                    "symbol": ink.shape,
                    "size": 11,
                    "line": {"color": ink.colour, "width": 2},
                },
                error_x=_error(spot.auc, spot.auc_ci, ink.colour),
                error_y=_error(spot.lift, spot.ci, ink.colour),
                hovertemplate="AUC %{x:.3f}, lift %{y:+.1%}",
            )
        )
    frame(
        figure,
        x="Offline AUC, before the experiment",
        y="Lift, in the experiment",
        height=340,
        tickformat="+.2~%",
    )
    figure.update_layout(hovermode="closest")
    if known:
        room = 0.12 * max(max(known) - min(known), 0.01)
        figure.update_xaxes(range=[min(known) - room, max(known) + room])
    return figure


def _error(value: float, span: tuple[float, float] | None, colour: str) -> dict[str, Any] | None:
    if span is None:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [span[1] - value],
        "arrayminus": [value - span[0]],
        "color": colour,
        "thickness": 1.5,
        "width": 0,
    }


@dataclass(frozen=True, slots=True)
class Judgement:
    """The gate's verdict on a night: the candidate's AUC less the incumbent's."""

    arm: str
    day: int
    gain: float | None
    accepted: bool
    reasons: str


def gate(nights: Sequence[Judgement], inks: Mapping[str, Ink]) -> go.Figure:
    """What each night's model gained over the one before it; crosses in their arm's hue are refused."""
    figure = go.Figure()
    figure.add_hline(y=0, line_color=GREY, line_width=1.5, line_dash="dash")
    for arm in dict.fromkeys(one.arm for one in nights):
        ink = inks[arm]
        own = [one for one in nights if one.arm == arm and one.gain is not None and one.accepted]
        figure.add_trace(
            go.Scatter(
                x=[one.day for one in own],
                y=[one.gain for one in own],
                name=arm_name(arm),
                mode="lines+markers",
                line={"color": ink.colour, "width": 1.5},
                marker={"color": ink.colour, "symbol": ink.shape, "size": 7},
                hovertemplate="%{y:+.4f}",
            )
        )
    refused = [one for one in nights if not one.accepted]
    if refused:
        figure.add_trace(
            go.Scatter(
                x=[one.day for one in refused],
                y=[0.0 if one.gain is None else one.gain for one in refused],
                name="refused",
                text=[f"{arm_name(one.arm)}: {one.reasons}" for one in refused],
                mode="markers",
                marker={
                    "color": [inks[one.arm].colour for one in refused],
                    "symbol": "x",
                    "size": 12,
                    "line": {"width": 2, "color": RED},
                },
                hovertemplate="%{text}",
            )
        )
    frame(figure, x="Night after day", y="AUC gained on the holdout", height=300, tickformat="+.3f")
    return whole_days(figure, [one.day for one in nights if one.gain is not None or not one.accepted])


def calibration_curve(
    curves: Mapping[str, Sequence[tuple[float, float, int]]], inks: Mapping[str, Ink]
) -> go.Figure:
    """Predicted against observed acquisition rates by bins of the score, on logarithmic axes."""
    figure = go.Figure()
    values = [
        v
        for curve in curves.values()
        for predicted, observed, _ in curve
        for v in (predicted, observed)
        if v > 0
    ]
    if values:
        ends = [min(values), max(values)]
        figure.add_trace(
            go.Scatter(
                x=ends,
                y=ends,
                mode="lines",
                line={"color": GREY, "dash": "dash"},
                name="perfect",
                hoverinfo="skip",
            )
        )
    for arm, curve in curves.items():
        ink = inks[arm]
        shown = [one for one in curve if one[0] > 0 and one[1] > 0]
        figure.add_trace(
            go.Scatter(
                x=[predicted for predicted, _, _ in shown],
                y=[observed for _, observed, _ in shown],
                name=arm_name(arm),
                text=[f"{count:,} impressions" for _, _, count in shown],
                mode="lines+markers",
                line={"color": ink.colour, "width": 1.5},
                marker={"color": ink.colour, "symbol": ink.shape, "size": 8},
                hovertemplate="predicted %{x:.2%}, observed %{y:.2%}, %{text}",
            )
        )
    frame(figure, x="Predicted rate", y="Observed rate", height=340, tickformat=".2~%")
    figure.update_xaxes(type="log", tickformat=".2~%", dtick=1)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_layout(hovermode="closest")
    return figure


def rates(groups: Mapping[str, Sequence[tuple[str, float]]], level: float, *, x: str) -> go.Figure:
    """Shares by method, one marker each, against the level that they should have, a solid line."""
    figure = go.Figure()
    figure.add_vline(x=level, line_color=GREY, line_width=2)
    for number, (name, rows) in enumerate(groups.items()):
        figure.add_trace(
            go.Scatter(
                x=[value for _, value in rows],
                y=[label for label, _ in rows],
                name=name,
                mode="markers",
                marker={
                    "size": 10,
                    "color": SERIES[number % len(SERIES)],
                    "symbol": ("circle", "diamond-open", "square", "cross")[number % 4],
                },
                hovertemplate="%{x:.1%}<extra>%{y}</extra>",
            )
        )
    labels = list(dict.fromkeys(label for rows in groups.values() for label, _ in rows))
    frame(figure, x=x, y="", height=110 + 28 * max(2, len(labels)))
    figure.update_xaxes(tickformat=".1%", showgrid=True)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels[::-1], nticks=None)
    figure.update_layout(hovermode="closest")
    return figure


def histogram(
    groups: Mapping[str, Sequence[float]], *, x: str, y: str, flat: float | None = None
) -> go.Figure:
    """Counts in equal bins of [0, 1], as steps; `flat` is the height that they should have."""
    figure = go.Figure()
    if flat is not None:
        figure.add_hline(y=flat, line_color=GREY, line_width=1.5, line_dash="dash")
    for number, (name, counts) in enumerate(groups.items()):
        if not counts:
            continue
        edges = [i / len(counts) for i in range(len(counts) + 1)]
        figure.add_trace(
            go.Scatter(
                x=edges,
                y=[*counts, counts[-1]],
                name=name,
                mode="lines",
                line={
                    "shape": "hv",
                    "width": 2,
                    "color": SERIES[number % len(SERIES)],
                    "dash": ("solid", "dot")[number % 2],
                },
                hovertemplate="%{y:,}",
            )
        )
    frame(figure, x=x, y=y, height=300)
    figure.update_yaxes(rangemode="tozero")
    return figure
