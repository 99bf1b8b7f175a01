"""Sweeps of `storelift study`: `studies/*.json` beside the runs or in one, as lines over a knob."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dashboard.figures import Line
from dashboard.reading import Run


def found(root: Path, run: Run) -> dict[str, Mapping[str, Any]]:
    """The studies of the folder of runs, and of the run, by name."""
    studies: dict[str, Mapping[str, Any]] = {}
    for folder in (root / "studies", run.path / "studies"):
        for file in sorted(folder.glob("*.json")):
            try:
                document = json.loads(file.read_bytes())
            except (OSError, ValueError):
                continue
            if isinstance(document, Mapping):
                studies[file.stem] = document
    return studies


def points(document: Any) -> list[dict[str, Any]]:
    """Every object that states a knob's value, an arm and a lift, wherever it stands."""
    return list(_walk(document, {}))


def _walk(node: Any, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(node, Mapping):
        here = {**known, **{k: v for k, v in node.items() if not isinstance(v, Mapping | list)}}
        ends = node.get("ci")
        if isinstance(ends, list) and len(ends) == 2:
            here["ci"] = tuple(ends)
        lift = next(
            (
                here[k]
                for k in ("true_lift", "expected_lift", "lift", "mean_lift")
                if isinstance(here.get(k), int | float)
            ),
            None,
        )
        if "arm" in node and lift is not None and "value" in here:
            yield {"arm": str(node["arm"]), "value": here["value"], "lift": float(lift), "ci": here.get("ci")}
        for key, value in node.items():
            if isinstance(value, Mapping | list) and key != "ci":
                yield from _walk(value, here)
    elif isinstance(node, list):
        for one in node:
            yield from _walk(one, known)


def lines(document: Any) -> list[Line]:
    """The points as a line per arm; several points at one value are averaged."""
    by_arm: dict[str, dict[Any, list[dict[str, Any]]]] = {}
    for point in points(document):
        by_arm.setdefault(point["arm"], {}).setdefault(point["value"], []).append(point)
    drawn = []
    for arm, at in by_arm.items():
        x = sorted(at, key=lambda value: (isinstance(value, str), value))
        y = [sum(p["lift"] for p in at[value]) / len(at[value]) for value in x]
        bands = [at[value][0]["ci"] if len(at[value]) == 1 else None for value in x]
        drawn.append(Line(arm, x, y, bands))
    return drawn
