"""A study on the terminal: a row per variant and arm, the claims, what each variant changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiment.study.measures import MEASURES
from experiment.study.plan import Study
from experiment.words import DASH, arm_name, p_value, percent


def figure(value: float | None, form: str, *, difference: bool = False) -> str:
    """A figure as people read it, see `study_measures.Measure`; a dash for None.

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


def cell(document: Mapping[str, Any], found: Mapping[str, Any], measure: str) -> str:
    """An arm's figure at a point; the mean alone where the study is of its spread over the points."""
    if measure not in found:
        return DASH
    if document["spread"]:
        return figure(found[measure]["mean"], MEASURES[measure].form)
    return brief(found[measure], MEASURES[measure].form)


def means(document: Mapping[str, Any]) -> str:
    """What the figures of the table are."""
    return "Means over seeds." if document["spread"] else "Means ± half of the 95% t-interval over seeds."


def span(found: Mapping[str, Any], form: str, *, difference: bool = False) -> str:
    """Mean and interval of an estimate over seeds."""
    mean = figure(found["mean"], form, difference=difference)
    if found["ci"] is None:
        return mean
    low, high = (figure(end, form, difference=difference) for end in found["ci"])
    return f"{mean} ({low} … {high})"


def render(document: Mapping[str, Any]) -> RenderableType:
    """The whole study."""
    parts: list[RenderableType] = [Text(), _title(document), Text(), _figures(document)]
    if any("against_first" in one for one in document["points"]):
        parts += [Text(), _changes(document)]
    if any(one["claims"] for one in document["points"]):
        parts += [Text(), claims_table(document)]
    if document.get("predictors"):
        parts += [Text(), predictors_table(document)]
    parts += [Text(line) for line in [*passings(document), *luck(document)]]
    parts += [Text(line, "yellow") for line in notes(document)]
    return Group(*parts)


def predictors_table(document: Mapping[str, Any]) -> RenderableType:
    """What foretells the first day's lift: a row per offline figure, the best rank correlation first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("foretells the\nfirst day's lift", no_wrap=True)
    points = [one["label"] for one in document["points"]] if len(document["points"]) > 1 else []
    heads = ("right\nsign", "rank\ncorr.", "95%", *(f"at\n{p}" for p in points), "error")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for one in document["predictors"]:
        ends = one["spearman_ci"]
        table.add_row(
            one["words"],
            f"{one['right_sign']} of {one['cases']}",
            _correlation(one["spearman"]),
            DASH if ends is None else f"{ends[0]:.2f} … {ends[1]:.2f}".replace("-", "−"),
            *(_correlation(one["by_point"][label]) for label in points),
            percent(one["error"]).lstrip("+"),
        )
    return table


def _correlation(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}".replace("-", "−")


def passings(document: Mapping[str, Any]) -> list[str]:
    """Where the lead of all passes on, and where one arm overtakes another."""
    lines = []
    for one in document["frontiers"]:
        low, high = one["between"]
        words = f"{arm_name(one['from'])} leads up to about {one['at']:.3g}, {arm_name(one['to'])} beyond"
        lines.append(f"{words} (between {low:g} and {high:g}{_doubt(one)}).")
    below = [one for one in document["crossings"] if one not in document["frontiers"]]
    return lines + [
        f"{arm_name(one['to'])} overtakes {arm_name(one['from'])} at about {one['at']:.3g}{_doubt(one)}."
        for one in below
    ]


def _doubt(one: Mapping[str, Any]) -> str:
    """What is added where a lead at either end may be chance."""
    return "" if one["sure"] else ", by the means alone"


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


def _title(document: Mapping[str, Any]) -> Text:
    seeds = document["seeds"]
    of = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    words = f", {document['preset']}, {of}. {means(document)}"
    return Text.assemble((document["title"], "bold"), (words, "dim"))


def _figures(document: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(document["knob"], overflow="fold")
    table.add_column("", no_wrap=True)
    for measure in document["measures"]:
        table.add_column(MEASURES[measure].words, justify="right", overflow="fold")
    for one in document["points"]:
        first = (one["winner"] or {}).get("first")
        for place, (arm, found) in enumerate(one["arms"].items()):
            cells = [cell(document, found, measure) for measure in document["measures"]]
            table.add_row(
                one["label"] if place == 0 else "", arm_name(arm), *cells, style="bold" * (arm == first)
            )
        table.add_section()
    return table


def _changes(document: Mapping[str, Any]) -> Table:
    """What each variant changes against the first, paired by seed."""
    first = document["points"][0]["label"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"change against {first}", overflow="fold")
    table.add_column("", no_wrap=True)
    for measure in document["measures"]:
        table.add_column(MEASURES[measure].words, justify="right", overflow="fold")
    for one in document["points"][1:]:
        for place, (arm, found) in enumerate(one.get("against_first", {}).items()):
            cells = [
                brief(found[measure], MEASURES[measure].form, difference=True)
                for measure in document["measures"]
            ]
            table.add_row(one["label"] if place == 0 else "", arm_name(arm), *cells)
        table.add_section()
    return table


def claims_table(document: Mapping[str, Any]) -> Table:
    """Every claim at every variant: mean difference, and the seeds in which it holds."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("claim", overflow="fold")
    if len(document["points"]) > 1:
        table.add_column(document["knob"], overflow="fold")
    table.add_column("mean over seeds", justify="right", overflow="fold")
    table.add_column("holds in", justify="right", no_wrap=True)
    table.add_column("observed: holds in", justify="right", no_wrap=True)
    points = document["points"]
    changes = any("against_first" in claim for one in points for claim in one["claims"])
    if changes:
        table.add_column(f"change against {points[0]['label']}", justify="right", overflow="fold")
    for place, claim in enumerate(points[0]["claims"]):
        for one in points:
            found = one["claims"][place]
            seen = found["observed"]
            row = [claim["name"] if one is points[0] else ""]
            row += [one["label"]] if len(points) > 1 else []
            row += [claim_span(found, width=False), f"{found['holds']} of {len(found['values'])}"]
            row.append(DASH if seen is None else f"{seen['holds']} of {len(seen['values'])}")
            if changes:
                change, form = found.get("against_first"), MEASURES[found["measure"]].form
                row.append(DASH if change is None else brief(change, form, difference=True))
            table.add_row(*row, style={True: "green", False: "red", None: ""}[found["met"]])
    return table


def claim_span(found: Mapping[str, Any], *, width: bool = True) -> str:
    """The figure of a claim with its interval, or with the half of it; of p-values the largest."""
    if found["measure"].startswith("p_"):
        known = [value for value in found["values"] if value is not None]
        return f"p up to {p_value(max(known))}" if known else DASH
    write = span if width else brief
    return write(found, MEASURES[found["measure"]].form, difference=found["order"])


def listed(known: Mapping[str, Study]) -> RenderableType:
    """The studies that come with the program."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("study", "cells", "preset", "question"):
        table.add_column(head, overflow="fold")
    for name, study in known.items():
        table.add_row(name, str(len(study.points()) * study.seeds), study.preset, study.question)
    return Group(
        table, Text.assemble("storelift study NAME", (" does one; it goes on where it was stopped.", "dim"))
    )
