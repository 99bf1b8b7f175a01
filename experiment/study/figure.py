"""A study as a figure: lines over one knob, heat maps over two, dots over named variants. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from experiment import webpage
from experiment.palette import inks
from experiment.study import phrases, predictor_figure
from experiment.study.measures import MEASURES
from experiment.study.sheets import sheets
from experiment.words import arm_name

AMOUNT = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\w.,/:-])")
"""A number at the beginning of a name, such as "4,000 apps"; "4k" begins with none."""


BETWEEN = 38
"""Pixels between two maps, for the title of the lower one."""


def figure(document: Mapping[str, Any], measure: str | None = None) -> Any:
    """A plotly figure of one measure, the study's own by default; nothing is read or written.

    Args:
        document: of `studies/NAME.json`. measure: one of `experiment.study.measures.MEASURES`.
    """
    shown = measure or document["figure"]
    made = _heat_maps(document, shown) if two_knobs(document) else _lines(document, shown)
    made.update_layout(title=document["title"], template="plotly_white")
    return made


def two_knobs(document: Mapping[str, Any]) -> bool:
    """Whether the study is of a grid."""
    return len(document.get("knobs") or []) == 2


def amounts(document: Mapping[str, Any]) -> bool:
    """Whether the points stand along one knob, so that a line may join them; training seeds have no order."""
    numeric = all(_is_number(one["value"]) for one in document["points"])
    return numeric and not two_knobs(document) and not document.get("spread")


def ordered(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The points by number where all values, or all labels, are or begin with one, else as they stand."""
    points = document["points"]
    if two_knobs(document):
        knobs = [_by_number([one["knob_values"][place] for one in points]) for place in (0, 1)]
        return sorted(
            points, key=lambda one: [knobs[place].index(one["knob_values"][place]) for place in (0, 1)]
        )
    for name in ("value", "label"):
        found = _amounts([one.get(name) for one in points])
        if found is not None:
            return [points[place] for place in sorted(range(len(points)), key=found.__getitem__)]
    return list(points)


def _lines(document: Mapping[str, Any], measure: str) -> Any:
    import plotly.graph_objects as go

    made = go.Figure()
    points, numeric = ordered(document), amounts(document)
    arms = list(dict.fromkeys(arm for one in points for arm in one["arms"]))
    ink = inks(arms)
    shown: list[float] = []
    for arm in arms:
        known = [
            one for one in points if (one["arms"].get(arm, {}).get(measure) or {}).get("mean") is not None
        ]
        found = [one["arms"][arm][measure] for one in known]
        ends = [one["ci"] or [one["mean"], one["mean"]] for one in found]
        shown += [value for pair in ends for value in pair]
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
    form = MEASURES[measure].form
    if form == "lift":
        shown.append(0.0)
        made.add_hline(y=0, line={"color": "#94a3b8", "dash": "dash"})
    made.update_yaxes(
        title_text=f"{MEASURES[measure].words} (95% over {len(document['seeds'])} seeds)",
        tickformat={"lift": "+.2~%", "share": ".2~%"}.get(form),
        labelalias={"+0%": "0%"},
    )
    made.update_xaxes(title_text=document["knob"])
    made.update_layout(height=460, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    if not numeric:
        side_by_side(made, [one["label"] for one in points])
        _fit(made, shown)
    return made


def side_by_side(made: Any, labels: Sequence[str]) -> None:
    """Puts the dots of the arms beside each other at each of `labels`, in their order."""
    made.update_layout(scattermode="group", scattergap=0.5)
    made.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=list(labels),
        tickvals=list(labels),
        ticktext=["<br>".join(wrap(label, 16)) for label in labels],
        automargin=True,
    )


def _fit(made: Any, shown: Sequence[float]) -> None:
    """Ends the axis where `shown` ends: side by side it would begin at 0, where AUCs look alike."""
    if shown:
        low, high = min(shown), max(shown)
        room = 0.06 * ((high - low) or abs(high) or 1.0)
        made.update_yaxes(range=[low - room, high + room])


def _heat_maps(document: Mapping[str, Any], measure: str) -> Any:
    """A map per arm of how far it is above the control, all on one scale, so that frontiers can be compared.

    Below those of lifts stands a map of the winner's lead, named after the winner. One below the other they
    can be read in a narrow window too.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    points = ordered(document)
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
    led = [one for one in points if one["winner"]]
    if form == "lift" and led:
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
    tall = 56 * len(rows)
    made = make_subplots(
        len(titles),
        1,
        subplot_titles=titles,
        shared_xaxes=True,
        vertical_spacing=BETWEEN / (len(titles) * (tall + BETWEEN) - BETWEEN),
    )
    for place, (values, words) in enumerate(maps, 1):
        text = [[_cell(values.get((x, y)), words.get((x, y)), form) for x in columns] for y in rows]
        made.add_trace(
            go.Heatmap(
                x=columns,
                y=rows,
                z=[[values.get((x, y)) for x in columns] for y in rows],
                name=titles[place - 1],
                text=text,
                texttemplate="%{text}",
                textfont={"size": 13},
                hovertemplate="%{x}; %{y}: %{text}<extra></extra>",
                colorscale="RdBu",
                zmin=-widest,
                zmax=widest,
                showscale=False,
            ),
            row=place,
            col=1,
        )
    made.update_annotations(font_size=14)
    made.update_xaxes(type="category", showgrid=False, ticks="")
    made.update_xaxes(title_text=document["knobs"][0], row=len(titles), col=1)
    made.update_yaxes(type="category", showgrid=False, ticks="", automargin=True)
    made.update_yaxes(title_text=document["knobs"][1], row=len(titles) // 2 + 1, col=1)
    margin = {"t": 40, "b": 60, "l": 60, "r": 20}
    made.update_layout(height=len(titles) * (tall + BETWEEN) - BETWEEN + 100, margin=margin)
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
    document = {**document, "points": ordered(document)}
    parts = [webpage.words(document["question"]), webpage.words(about[0].upper() + about[1:], quiet=True)]
    if document["set"]:
        parts.append(webpage.words(f"Set for all: {phrases.settings(document)}.", quiet=True))
    parts += [webpage.words(line) for line in phrases.remarks(document)]
    for measure in dict.fromkeys([document["figure"], *document["measures"]]):
        drawn = figure(document, measure)
        drawn.update_layout(title=None, margin_t=50)
        parts += [webpage.heading(MEASURES[measure].words), webpage.figure(drawn, caption(document, measure))]
    if document["predictors"]:
        drawn = predictor_figure.figure(document)
        parts += [webpage.heading("What foretells the lift"), webpage.figure(drawn, predictor_figure.CAPTION)]
    for sheet in sheets(document):
        parts += [webpage.heading(sheet.title), webpage.table(sheet.head, sheet.rows, first=sheet.first)]
    webpage.write(path, document["title"], parts)


def caption(document: Mapping[str, Any], measure: str) -> str:
    """What a figure shows, for who cannot see it and below it."""
    words, over = MEASURES[measure].words, len(document["seeds"])
    if two_knobs(document):
        return f"Means of {words} over {over} seeds, against the control; blue is better, red is worse."
    base = None if document.get("knobs") else document.get("reference")
    held = "" if base is None else f" The others are held against {base}."
    return f"Means of {words} over {over} seeds, with 95% t-intervals.{held}"


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


def _by_number(values: Iterable[Any]) -> list[Any]:
    """The different values, by number if each has one, else as they come."""
    known = list(dict.fromkeys(values))
    found = _amounts(known)
    return known if found is None else [known[at] for at in sorted(range(len(known)), key=found.__getitem__)]


def _amounts(values: Iterable[Any]) -> list[float] | None:
    """The number that each value is or begins with; None where one has none."""
    found = []
    for value in values:
        match = AMOUNT.match(value.replace("−", "-")) if isinstance(value, str) else None
        if _is_number(value):
            found.append(float(value))
        elif match is not None:
            found.append(float("".join(part or "" for part in match.groups()).replace(",", "")))
        else:
            return None
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
