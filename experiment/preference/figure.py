"""The spectra of the true preferences as a figure; a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment.folder import atomic

NAMES = {
    "smooth": ("Smooth taste", "#0072B2", "solid"),
    "whole": ("With the exceptions", "#D55E00", "dash"),
    "exceptions": ("Exceptions alone", "#6B7280", "dot"),
}
"""Spectra by name: as people read them, with a colour and a dash."""


def figure(document: Mapping[str, Any]) -> Any:
    """Singular values against their place, both on logarithmic axes, in shares of the largest."""
    import plotly.graph_objects as go

    made = go.Figure()
    for name, (words, colour, dash) in NAMES.items():
        found = document["spectra"][name]
        if found is None:
            continue
        kept = [(x, y) for x, y in zip(found["places"], found["values"], strict=True) if y > 1e-6]
        made.add_trace(
            go.Scatter(
                x=[x for x, _ in kept],
                y=[y for _, y in kept],
                name=f"{words}: effective rank {found['effective_rank']:,.0f}",
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
    """Writes the figure as one HTML page that needs no network."""
    made = figure(document)
    made.update_layout(template="plotly_white", height=460, legend={"orientation": "h", "y": 1.1})
    page = made.to_html(full_html=False, include_plotlyjs=True)
    head = '<!doctype html><meta charset="utf-8"><title>Spectra of the true preferences</title>'
    atomic.write_bytes(path, f"{head}\n{page}".encode())
