"""A study's figures and findings in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from experiment.study.measures import MEASURES
from experiment.words import DASH, arm_name, p_value, percent


def figure(value: float | None, form: str, *, difference: bool = False) -> str:
    """A figure as people read it, see `experiment.study.measures.Measure`; a dash for None.

    A difference has its sign; that of AUCs has four digits, that of lifts is in percentage points.
    """
    if value is None:
        return DASH
    if form == "lift":
        return percent(value, 2)
    if form == "share":
        return percent(value, 2) if difference else f"{100 * value:.2f}%"
    digits = {"auc": ".4f", "count": ",.0f", "number": ".3g"}[form]
    return format(value, f"+{digits}" if difference else digits).replace("-", "−")


def brief(found: Mapping[str, Any], form: str, *, difference: bool = False) -> str:
    """Mean ± half of the interval of an estimate over seeds."""
    mean = figure(found["mean"], form, difference=difference)
    half = 0.0 if found["ci"] is None else (found["ci"][1] - found["ci"][0]) / 2
    if not half:
        return mean
    width = f"{100 * half:.2f}" if form in ("lift", "share") else figure(half, form)
    return f"{mean} ± {width}"


def span(found: Mapping[str, Any], form: str, *, difference: bool = False) -> str:
    """Mean and interval of an estimate over seeds."""
    mean = figure(found["mean"], form, difference=difference)
    if found["ci"] is None:
        return mean
    low, high = (figure(end, form, difference=difference) for end in found["ci"])
    return f"{mean} ({low} … {high})"


def cell(document: Mapping[str, Any], found: Mapping[str, Any], measure: str) -> str:
    """An arm's figure at a point; the mean alone where the study is of its spread over the points."""
    if measure not in found:
        return DASH
    if document["spread"]:
        return figure(found[measure]["mean"], MEASURES[measure].form)
    return brief(found[measure], MEASURES[measure].form)


def made(document: Mapping[str, Any]) -> str:
    """Of what the figures are; what it changes for all cells say `settings`."""
    seeds = document["seeds"]
    return (
        f"preset {document['preset']}, seeds {seeds[0]} to {seeds[-1]}, "
        f"{document['cpu_seconds'] / 60:.0f} CPU-minutes. {means(document)}"
    )


def settings(document: Mapping[str, Any]) -> str:
    """What the study changes for all cells."""
    return ", ".join(f"`{path}={json.dumps(value)}`" for path, value in document["set"].items())


def means(document: Mapping[str, Any]) -> str:
    """What the figures of the table are."""
    return "Means over seeds." if document["spread"] else "Means ± half of the 95% t-interval over seeds."


def claim_span(found: Mapping[str, Any], *, width: bool = True) -> str:
    """The figure of a claim with its interval, or with the half of it; of p-values the largest."""
    if found["measure"].startswith("p_"):
        known = [value for value in found["values"] if value is not None]
        return f"p up to {p_value(max(known))}" if known else DASH
    write = span if width else brief
    return write(found, MEASURES[found["measure"]].form, difference=found["order"])


def remarks(document: Mapping[str, Any]) -> list[str]:
    """What is said below the tables."""
    return [*passings(document), *luck(document), *notes(document)]


def passings(document: Mapping[str, Any]) -> list[str]:
    """Where the lead of all passes on, and where one arm overtakes another."""
    lines = []
    for one in document.get("frontiers", []):
        low, high = one["between"]
        words = f"{arm_name(one['from'])} leads up to about {one['at']:.3g}, {arm_name(one['to'])} beyond"
        lines.append(f"{_where(one)}{words} (between {low:g} and {high:g}{_doubt(one)}).")
    below = [one for one in document.get("crossings", []) if one not in document.get("frontiers", [])]
    return lines + [
        f"{_where(one)}{arm_name(one['to'])} overtakes {arm_name(one['from'])} at about "
        f"{one['at']:.3g}{_doubt(one)}."
        for one in below
    ]


def _where(one: Mapping[str, Any]) -> str:
    """Along which row of a study of two knobs."""
    held = ", ".join(f"{knob} {value:g}" for knob, value in one.get("held", {}).items())
    return f"At {held}, by {one['knob']}: " if held else ""


def _doubt(one: Mapping[str, Any]) -> str:
    """What is added where a lead at either end may be chance."""
    return "" if one.get("sure", True) else ", by the means alone"


def luck(document: Mapping[str, Any]) -> list[str]:
    """How much of a lift is luck of training, where the study measures it."""
    lines = [
        f"{arm_name(one['arm'])}: its lift of {percent(one['mean'])} varies by {_deviation(one)} over "
        f"{document['knob']}, within a seed."
        for one in document.get("spread", [])
    ]
    return lines + [
        f"{one['label']}: the lift of one over another varies by {_deviation(one['spread'])}: luck."
        for one in document["points"]
        if one.get("spread")
    ]


def _deviation(found: Mapping[str, Any]) -> str:
    if found["sd"] is None:
        return "an unknown amount"
    low, high = found["ci"]
    return f"{found['sd']:.2%} (standard deviation, 95% interval {low:.2%} to {high:.2%})"


def notes(document: Mapping[str, Any]) -> list[str]:
    """What to know before reading the figures."""
    found = []
    if document["cells_done"] < document["cells"]:
        found.append(f"{document['cells_done']} of {document['cells']} cells are done.")
    if len(document["programs"]) > 1:
        found.append(
            f"Cells of {len(document['programs'])} versions of the program are mixed; --again starts anew."
        )
    return found


def correlation(value: float | None) -> str:
    """Two digits; a dash for None."""
    return DASH if value is None else f"{value:.2f}".replace("-", "−")


def ends(found: Mapping[str, Any]) -> str:
    """The interval of a predictor's rank correlation."""
    low_high = found["spearman_ci"]
    return DASH if low_high is None else " … ".join(map(correlation, low_high))


def right(counts: Sequence[int] | None) -> str:
    """Of how many cases the sign is right."""
    return DASH if counts is None else f"{counts[0]} of {counts[1]}"
