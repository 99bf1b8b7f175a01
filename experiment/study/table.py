"""A study on the terminal: a row per variant and arm, the claims, what each variant changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiment.study import sheets
from experiment.study.measures import MEASURES
from experiment.study.phrases import brief, claim_span, correlation, ends, luck, means, notes, passings, right
from experiment.study.plan import Study
from experiment.words import DASH, arm_name, percent


def render(document: Mapping[str, Any]) -> RenderableType:
    """The whole study."""
    parts: list[RenderableType] = [Text(), _title(document), Text(), _laid_out(sheets.figures(document))]
    if any(one["winner"] for one in document["points"]):
        parts += [Text(), _laid_out(sheets.leaders(document))]
    if any(one.get("against_reference") for one in document["points"]):
        parts += [Text(), _laid_out(sheets.changes(document))]
    if any(one["claims"] for one in document["points"]):
        parts += [Text(), claims_table(document)]
    if document.get("predictors"):
        parts += [Text(), predictors_table(document), Text(), whole_run_table(document)]
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
        table.add_row(
            one["words"],
            f"{one['right_sign']} of {one['cases']}",
            correlation(one["spearman"]),
            ends(one),
            *(correlation(one["by_point"][label]) for label in points),
            percent(one["error"]).lstrip("+"),
        )
    return table


def whole_run_table(document: Mapping[str, Any]) -> RenderableType:
    """What foretells the lift of all days, a row as above."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("foretells the\nlift of all days", no_wrap=True)
    arms = sheets.arms_told(document)
    for head in ("right\nsign", *(f"of\n{arm_name(arm)}" for arm in arms), "rank\ncorr.", "95%"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in document["predictors"]:
        found = one["whole_run"]
        counts = [f"{found['right_sign']} of {found['cases']}"]
        counts += [right(found["right_by_arm"].get(arm)) for arm in arms]
        table.add_row(one["words"], *counts, correlation(found["spearman"]), ends(found))
    return table


def _title(document: Mapping[str, Any]) -> Text:
    seeds = document["seeds"]
    of = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    words = f", {document['preset']}, {of}. {means(document)}"
    return Text.assemble((document["title"], "bold"), (words, "dim"))


def _laid_out(sheet: sheets.Sheet) -> Table:
    """A sheet's points apart; the arm that leads is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(sheet.head[0], overflow="fold")
    table.add_column(sheet.head[1].replace("arm", ""), no_wrap=True)
    for head in sheet.head[2:]:
        table.add_column(head, justify="right", overflow="fold")
    for place, row in enumerate(sheet.rows):
        if row[0]:
            table.add_section()
        table.add_row(*row, style="bold" * (place in sheet.first))
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
    changes = any(claim.get("against_reference", {}).get("n") for one in points for claim in one["claims"])
    if changes:
        table.add_column(f"change against {document['reference']}", justify="right", overflow="fold")
    for place, claim in enumerate(points[0]["claims"]):
        for one in points:
            found = one["claims"][place]
            seen = found["observed"]
            row = [claim["name"] if one is points[0] else ""]
            row += [one["label"]] if len(points) > 1 else []
            row += [claim_span(found, width=False), f"{found['holds']} of {len(found['values'])}"]
            row.append(DASH if seen is None else f"{seen['holds']} of {len(seen['values'])}")
            if changes:
                change, form = found.get("against_reference"), MEASURES[found["measure"]].form
                row.append(DASH if change is None else brief(change, form, difference=True))
            table.add_row(*row, style={True: "green", False: "red", None: ""}[found["met"]])
    return table


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
