"""Studies of `storelift study`: `studies/*.json` beside the runs, as figures and rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from dashboard.figures import Line, lifts
from experiment.palette import inks
from experiment.study import phrases
from experiment.study.figure import amounts, caption, ordered, side_by_side, two_knobs
from experiment.study.figure import figure as study_figure
from experiment.words import DASH, arm_name, interval, percent

LIFT = "expected_lift"


@dataclass(frozen=True, slots=True)
class Study:
    """A study as it stands; it may still be running.

    Attributes:
        name: of the file. title, question: for people. knob: what is turned. seeds: how many.
        done, cells: how far it is. about: what is turned, and what the figure is of.
        lines: of the lift, by arm. rows: who wins where. frontiers: where one arm overtakes another, a
        sentence each. document: what it was read from.
    """

    name: str
    title: str
    question: str
    knob: str
    seeds: int
    done: int
    cells: int
    about: str
    lines: list[Line]
    rows: list[list[str]]
    frontiers: list[str]
    document: Mapping[str, Any]


def found(root: Path) -> dict[str, Study]:
    """The studies of a folder of runs, by name; what is no study is left out."""
    studies: dict[str, Study] = {}
    for file in sorted((root / "studies").glob("*.json")):
        try:
            document = json.loads(file.read_bytes())
            studies[file.stem] = read(file.stem, document)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return studies


def read(name: str, document: Mapping[str, Any]) -> Study:
    """A study's document, ready to be shown. Raises KeyError and the like for another kind of document."""
    knob = str(document.get("knob") or name)
    if two_knobs(document):
        _ = [(point["arms"], point["winner"]) for point in document["points"]]  # or it cannot be drawn
    return Study(
        name=name,
        title=str(document.get("title") or name),
        question=str(document.get("question") or ""),
        knob=knob,
        seeds=len(document["seeds"]),
        done=int(document.get("cells_done") or 0),
        cells=int(document.get("cells") or 0),
        about=_about(document, knob),
        lines=_lines(document),
        rows=[_row(point) for point in ordered(document)],
        frontiers=phrases.passings(document),
        document=document,
    )


def _about(document: Mapping[str, Any], knob: str) -> str:
    if two_knobs(document):
        return f"Two knobs: {knob}. {caption(document, document['figure'])}"
    turned = f"One knob: {knob}" if document.get("knobs") else "Variants side by side"
    return f"{turned}. {caption(document, LIFT)}"


def drawn(study: Study) -> tuple[go.Figure, str] | None:
    """Lines over one knob, maps of two, dots of variants, and the takeaway; None until a cell is done."""
    if two_knobs(study.document):
        return _maps(study)
    lines = study.lines
    if not lines:
        return None
    along, labels = amounts(study.document), [_label(point) for point in ordered(study.document)]
    hues = inks([line.arm for line in lines])
    figure = lifts(lines, hues, band="95% interval over seeds", connected=along, x=study.knob)
    if along:
        last = ", ".join(f"{line.label} {percent(line.y[-1])}" for line in lines)
        return figure, f"Expected lift over {study.knob}. At its last value: {last}"
    figure.update_layout(hovermode="closest")
    side_by_side(figure, labels)
    means = [
        f"{line.label} " + ", ".join(f"{percent(y)} ({x})" for x, y in zip(line.x, line.y, strict=True))
        for line in lines
    ]
    return figure, f"Expected lift of each variant. {'; '.join(means)}"


def _maps(study: Study) -> tuple[go.Figure, str] | None:
    """The study's own maps, in the page's theme."""
    figure = study_figure(study.document)
    if not figure.data:
        return None
    figure.update_layout(title=None, template=None, hovermode="closest")
    led = [f"{label}: {first}" for label, first, *_ in study.rows if first != DASH]
    return figure, f"Who leads at each {study.knob}. {'; '.join(led)}" if led else study.about


def _lines(document: Mapping[str, Any]) -> list[Line]:
    """An arm's expected lift at each point."""
    along = amounts(document)
    by_arm: dict[str, list[tuple[Any, float, tuple[float, float] | None]]] = {}
    for point in ordered(document):
        for lift in point["lifts"]:
            ends = lift.get("ci")
            band = None if ends is None else (float(ends[0]), float(ends[1]))
            at = point["value"] if along else _label(point)
            by_arm.setdefault(str(lift["arm"]), []).append((at, float(lift["expected_lift"]), band))
    return [
        Line(arm, [x for x, _, _ in rows], [y for _, y, _ in rows], [band for _, _, band in rows])
        for arm, rows in by_arm.items()
    ]


def _label(point: Mapping[str, Any]) -> str:
    return str(point.get("label") or point["value"])


def _row(point: Mapping[str, Any]) -> list[str]:
    winner = point.get("winner")
    label, seeds = _label(point), len(point.get("seeds_done") or [])
    if not winner:
        return [label, DASH, DASH, DASH, str(seeds)]
    lead = winner["lead"]
    words = f"{percent(lead['mean'])} ({interval(lead['ci'])})" if lead["ci"] else percent(lead["mean"])
    first, second = arm_name(winner["first"]), arm_name(winner["second"])
    return [label, first, f"{words} before {second}", f"{winner['ahead']} of {lead['n']}", str(seeds)]
