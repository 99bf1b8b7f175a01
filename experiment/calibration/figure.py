"""The calibration as a figure: false positives, coverage and p-values under A/A, right methods and naive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment import webpage
from experiment.calibration.document import COVERAGE, FALSE_POSITIVES, P_BINS
from experiment.calibration.methods import METHODS, NAIVE
from experiment.calibration.names import METHOD_NAMES
from experiment.calibration.table import HEADS, VIEW_NAMES, about, judged, rows
from experiment.words import arm_name

RIGHT_COLOUR, NAIVE_COLOUR, BAND_COLOUR = "#2563a8", "#c2410c", "#94a3b8"


def figure(document: Mapping[str, Any], view: str, place: int = 0) -> Any:
    """A plotly figure of one view and one comparison; nothing is read or written.

    Args:
        document: of calibration.json. view: a key of its `views`. place: of the comparison in that view.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    one = document["views"][view]["comparisons"][place]
    methods = list(reversed(METHODS))
    names = [METHOD_NAMES[method] for method in methods]
    colours = [NAIVE_COLOUR if method in NAIVE else RIGHT_COLOUR for method in methods]
    made = make_subplots(
        1,
        3,
        subplot_titles=("False positives under A/A", "Coverage of the true lift", "p-values under A/A"),
        column_widths=[0.36, 0.32, 0.32],
    )
    for column, name in ((1, "false_positive_rate"), (2, "coverage")):
        values = [one["methods"][method][name] for method in methods]
        made.add_trace(
            go.Scatter(
                x=values,
                y=names,
                mode="markers",
                marker={"color": colours, "size": 10},
                hovertemplate="%{y}: %{x:.2%}<extra></extra>",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
        low, high = FALSE_POSITIVES if column == 1 else COVERAGE[view]
        band = {"x0": low, "x1": high, "fillcolor": BAND_COLOUR, "opacity": 0.3, "line_width": 0}
        made.add_vrect(**band, layer="below", row=1, col=column)
        made.update_xaxes(tickformat=".0%", row=1, col=column)
    made.update_yaxes(showticklabels=False, row=1, col=2)
    middles = [(at + 0.5) / P_BINS for at in range(P_BINS)]
    for method, key, colour in (
        ("z", "p_value_histogram", RIGHT_COLOUR),
        ("naive_impressions", "p_value_histogram_naive", NAIVE_COLOUR),
    ):
        counts = one[key]
        made.add_trace(
            go.Scatter(
                x=middles,
                y=[count / max(sum(counts), 1) * P_BINS for count in counts],
                mode="lines",
                line={"shape": "hvh", "color": colour, "width": 2},
                name=METHOD_NAMES[method],
            ),
            row=1,
            col=3,
        )
    made.add_hline(y=1.0, line={"color": BAND_COLOUR, "dash": "dot"}, row=1, col=3)
    made.update_yaxes(rangemode="tozero", title_text="density", row=1, col=3)
    made.update_xaxes(title_text="p", row=1, col=3)
    pair = f"{arm_name(one['arm'])} against {arm_name(one['control'])}"
    made.update_layout(
        title=f"{VIEW_NAMES[view]} — {pair}, {document['replays']:,} experiments",
        template="plotly_white",
        height=420,
        legend={"orientation": "h", "x": 1.0, "xanchor": "right", "y": -0.18},
    )
    return made


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """Writes all views and comparisons, with their numbers, as one HTML page.

    Raises:
        BadInput: the file cannot be written.
    """
    parts = [webpage.words(judged(document))]
    for view, found in document["views"].items():
        for place, one in enumerate(found["comparisons"]):
            drawn = figure(document, view, place)
            drawn.update_layout(title=None, margin={"t": 40})
            parts += [
                webpage.heading(f"{VIEW_NAMES[view]}: {about(one)}"),
                webpage.figure(drawn, "In grey, where figures should be; in orange, common mistakes."),
                webpage.table(HEADS, rows(one)),
            ]
    webpage.write(path, "The statistics against the truth", parts)
