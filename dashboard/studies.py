"""Sweeps of `storelift study`: `studies/*.json` beside the runs, as lines over a knob."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard.figures import Line
from experiment.words import arm_name, interval, percent


@dataclass(frozen=True, slots=True)
class Study:
    """A study as it stands; it may still be running.

    Attributes:
        name: of the file. title, question: for people. knob: what is turned. seeds: how many.
        done, cells: how far it is. lines: an arm's lift over the knob. rows: who wins where.
        frontiers: where the lead changes, a sentence each.
    """

    name: str
    title: str
    question: str
    knob: str
    seeds: int
    done: int
    cells: int
    lines: list[Line]
    rows: list[list[str]]
    frontiers: list[str]


def found(root: Path) -> dict[str, Study]:
    """The studies of a folder of runs, by name; what is no study is left out."""
    studies: dict[str, Study] = {}
    for file in sorted((root / "studies").glob("*.json")):
        try:
            document = json.loads(file.read_bytes())
            studies[file.stem] = read(file.stem, document)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return studies


def read(name: str, document: Mapping[str, Any]) -> Study:
    """A study's document, ready to be shown. Raises KeyError and the like for another kind of document."""
    points = document["points"]
    by_arm: dict[str, list[tuple[Any, float, tuple[float, float] | None]]] = {}
    for point in points:
        for lift in point["lifts"]:
            ends = lift.get("ci")
            band = None if ends is None else (float(ends[0]), float(ends[1]))
            by_arm.setdefault(str(lift["arm"]), []).append((_at(point), float(lift["expected_lift"]), band))
    lines = [
        Line(arm, [x for x, _, _ in rows], [y for _, y, _ in rows], [band for _, _, band in rows])
        for arm, rows in by_arm.items()
    ]
    return Study(
        name=name,
        title=str(document.get("title") or name),
        question=str(document.get("question") or ""),
        knob=str(document.get("knob") or name),
        seeds=len(document.get("seeds") or []),
        done=int(document.get("cells_done") or 0),
        cells=int(document.get("cells") or 0),
        lines=lines,
        rows=[_row(point) for point in points],
        frontiers=[_frontier(one, str(document.get("knob"))) for one in document.get("frontiers") or []],
    )


def _at(point: Mapping[str, Any]) -> Any:
    """Where a point stands on the axis: its number, else its name."""
    value = point["value"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else str(point.get("label") or value)


def _row(point: Mapping[str, Any]) -> list[str]:
    winner = point.get("winner")
    label, seeds = str(point.get("label") or point["value"]), len(point.get("seeds_done") or [])
    if not winner:
        return [label, "–", "–", "–", str(seeds)]
    lead = winner["lead"]
    words = f"{percent(lead['mean'])} ({interval(lead['ci'])})" if lead["ci"] else percent(lead["mean"])
    first, second = arm_name(winner["first"]), arm_name(winner["second"])
    return [label, first, f"{words} before {second}", f"{winner['ahead']} of {lead['n']}", str(seeds)]


def _frontier(one: Mapping[str, Any], knob: str) -> str:
    low, high = one["between"]
    return (
        f"{arm_name(one['from'])} leads up to about {knob} = {one['at']:.3g}, {arm_name(one['to'])} above "
        f"(between {low:g} and {high:g}{'' if one.get('sure', True) else ', by the means alone'})."
    )
