"""A study as a figure: lines over one knob, heat maps over two, dots over named variants. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment import webpage
from experiment.palette import inks
from experiment.study import phrases
from experiment.study.measures import MEASURES
from experiment.study.sheets import sheets
from experiment.words import arm_name


def figure(document: Mapping[str, Any], measure: str | None = None) -> Any:
    """A plotly figure of one measure, the study's own by default; nothing is read or written.

    Args:
        document: of `studies/NAME.json`. measure: one of `study_measures.MEASURES`.
    """
    shown = measure or document["figure"]
    made = _heat_maps(document, shown) if len(document["knobs"]) == 2 else _lines(document, shown)
    made.update_layout(title=document["title"], template="plotly_white")
    return made


def _lines(document: Mapping[str, Any], measure: str) -> Any:
    import plotly.graph_objects as go

    made = go.Figure()
    points = document["points"]
    numeric = bool(document["knobs"]) and all(_is_number(one["value"]) for one in points)
    if numeric:
        points = sorted(points, key=lambda one: one["value"])
    arms = list(dict.fromkeys(arm for one in points for arm in one["arms"]))
    ink = inks(arms)
    for arm in arms:
        known = [
            one for one in points if (one["arms"].get(arm, {}).get(measure) or {}).get("mean") is not None
        ]
        found = [one["arms"][arm][measure] for one in known]
        ends = [one["ci"] or [one["mean"], one["mean"]] for one in found]
        made.add_trace(
            go.Scatter(
                x=[one["value"] if numeric else one["label"] for one in known],
                y=[one["mean"] for one in found],
                name=arm_name(arm),
                mode="lines+markers" if numeric else "markers",
                line={"color": ink[arm].colour, "width": 2},
                marker={"symbol": ink[arm].shape, "color": ink[arm].colour, "size": 9},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [end[1] - one["mean"] for one, end in zip(found, ends, strict=True)],
                    "arrayminus": [one["mean"] - end[0] for one, end in zip(found, ends, strict=True)],
                    "width": 3,
                },
            )
        )
    for one in document["frontiers"] if numeric else []:
        made.add_vline(x=one["at"], line={"color": "#94a3b8", "dash": "dot"})
    if MEASURES[measure].form == "lift":
        made.add_hline(y=0, line={"color": "#94a3b8", "dash": "dash"})
        made.update_yaxes(tickformat="+.1%")
    made.update_yaxes(title_text=f"{MEASURES[measure].words} (95% over {len(document['seeds'])} seeds)")
    made.update_xaxes(title_text=document["knob"])
    made.update_layout(height=460, scattermode="group" if not numeric else "overlay")
    return made


def _heat_maps(document: Mapping[str, Any], measure: str) -> Any:
    """A map per arm of how far it is above the control, all on one scale, so that frontiers can be compared.

    Beside lifts stands a map of the winner's lead, named after the winner.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    points = document["points"]
    columns = list(dict.fromkeys(_text(one["knob_values"][0]) for one in points))
    rows = list(dict.fromkeys(_text(one["knob_values"][1]) for one in points))
    control = next((lift["control"] for one in points for lift in one["lifts"]), None)
    arms = list(dict.fromkeys(arm for one in points for arm in one["arms"] if arm != control))
    form = MEASURES[measure].form
    maps: list[tuple[dict[tuple[str, str], float | None], dict[tuple[str, str], str]]] = [
        ({_place(one): _above(one, arm, control, measure) for one in points}, {}) for arm in arms
    ]
    titles = [f"{arm_name(arm)}: {MEASURES[measure].words}" for arm in arms]
    if form != "lift" and control is not None:
        titles = [f"{title}, less {arm_name(control)}'s" for title in titles]
    if form == "lift":
        led = [one for one in points if one["winner"]]
        maps.append(
            (
                {_place(one): one["winner"]["lead"]["mean"] for one in led},
                {_place(one): _leader(one) for one in led},
            )
        )
        titles.append("Who leads, by how much, in how many seeds")
    if not maps:
        return go.Figure()  # nothing is done yet
    widest = max((abs(v) for values, _ in maps for v in values.values() if v is not None), default=0.0)
    made = make_subplots(1, len(titles), subplot_titles=titles, shared_yaxes=True)
    for place, (values, words) in enumerate(maps, 1):
        text = [[_cell(values.get((x, y)), words.get((x, y)), form) for x in columns] for y in rows]
        made.add_trace(
            go.Heatmap(
                x=columns,
                y=rows,
                z=[[values.get((x, y)) for x in columns] for y in rows],
                text=text,
                texttemplate="%{text}",
                textfont={"size": 13},
                colorscale="RdBu",
                zmin=-widest,
                zmax=widest,
                showscale=False,
            ),
            row=1,
            col=place,
        )
        made.update_xaxes(type="category", title_text=document["knobs"][0], row=1, col=place)
    made.update_yaxes(type="category")
    made.update_yaxes(title_text=document["knobs"][1], row=1, col=1)
    made.update_layout(height=420)
    return made


def _above(one: Mapping[str, Any], arm: str, control: str | None, measure: str) -> float | None:
    """An arm's mean at a point; of what is no lift, less the control's."""
    found = (one["arms"].get(arm, {}).get(measure) or {}).get("mean")
    if MEASURES[measure].form == "lift" or control is None:
        return found
    base = (one["arms"].get(control, {}).get(measure) or {}).get("mean")
    return None if found is None or base is None else found - base


def _leader(one: Mapping[str, Any]) -> str:
    winner = one["winner"]
    return f"{arm_name(winner['first'])}<br>{winner['ahead']} of {winner['lead']['n']}"


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the study as one HTML page: its question, its findings, a figure per measure, every table.

    Raises:
        BadInput: the file cannot be written.
    """
    about = phrases.made(document)
    parts = [webpage.words(document["question"]), webpage.words(about[0].upper() + about[1:], quiet=True)]
    if document["set"]:
        parts.append(webpage.words(f"Set for all: {phrases.settings(document)}.", quiet=True))
    parts += [webpage.words(line) for line in phrases.remarks(document)]
    for measure in dict.fromkeys([document["figure"], *document["measures"]]):
        drawn = figure(document, measure)
        drawn.update_layout(title=None, margin={"t": 50})
        parts += [webpage.heading(MEASURES[measure].words), webpage.figure(drawn, caption(document, measure))]
    for sheet in sheets(document):
        parts += [webpage.heading(sheet.title), webpage.table(sheet.head, sheet.rows, first=sheet.first)]
    webpage.write(path, document["title"], parts)


def caption(document: Mapping[str, Any], measure: str) -> str:
    """What a figure shows, for who cannot see it and below it."""
    words, over = MEASURES[measure].words, len(document["seeds"])
    if len(document["knobs"]) == 2:
        return f"Means of {words} over {over} seeds, against the control; blue is better, red is worse."
    return f"Means of {words} over {over} seeds, with 95% t-intervals."


def _place(one: Mapping[str, Any]) -> tuple[str, str]:
    return _text(one["knob_values"][0]), _text(one["knob_values"][1])


def _cell(value: float | None, words: str | None, form: str) -> str:
    if value is None:
        return ""
    number = {"lift": "{:+.1%}", "share": "{:+.2%}", "auc": "{:+.4f}"}.get(form, "{:+.3g}").format(value)
    number = number.replace("-", "−")
    return number if words is None else f"{words}<br>{number}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}" if _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
