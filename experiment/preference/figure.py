"""The spectra of the true preferences as a figure; a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment import webpage
from experiment.preference.phrases import HEADS, NAMES, findings, of, rows

LINES = {"smooth": ("#0072B2", "solid"), "whole": ("#D55E00", "dash"), "exceptions": ("#6B7280", "dot")}
"""Colour and dash of each spectrum."""


def figure(document: Mapping[str, Any]) -> Any:
    """Singular values against their place, both on logarithmic axes, in shares of the largest."""
    import plotly.graph_objects as go

    made = go.Figure()
    for name, (colour, dash) in LINES.items():
        found = document["spectra"][name]
        if found is None:
            continue
        kept = [(x, y) for x, y in zip(found["places"], found["values"], strict=True) if y > 1e-6]
        made.add_trace(
            go.Scatter(
                x=[x for x, _ in kept],
                y=[y for _, y in kept],
                name=f"{NAMES[name]}: effective rank {found['effective_rank']:,.0f} of {found['size']:,}",
                mode="lines+markers" if len(kept) < 20 else "lines",
                line={"color": colour, "dash": dash, "width": 2},
                hovertemplate="%{y:.2%}",
            )
        )
    made.update_xaxes(type="log", title_text="Dimension", dtick=1)
    made.update_yaxes(
        type="log", title_text="Singular value, share of the largest", dtick=1, tickformat=".2~%"
    )
    return made


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the figure and its numbers as one HTML page.

    Raises:
        BadInput: the file cannot be written.
    """
    made = figure(document)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    made.update_layout(template="plotly_white", height=460, legend=legend, margin={"t": 70, "r": 20})
    caption = "Singular values of the sampled preferences, in shares of the largest, both axes logarithmic."
    parts = [
        webpage.words(f"Preset {document['preset']}, {of(document)}."),
        webpage.figure(made, caption),
        webpage.table(HEADS, rows(document)),
        *map(webpage.words, findings(document)),
    ]
    webpage.write(path, "Spectra of the true preferences", parts)
