"""A study as Markdown: the tables that `storelift study NAME --write PAGE` keeps up to date in the docs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from experiment.study import table
from experiment.study.measures import MEASURES
from experiment.words import DASH, arm_name, percent


def markdown(document: Mapping[str, Any], command: str) -> str:
    """The command that makes it, what was run, and every table of the study."""
    blocks = [[f"    {command}"], [made(document)], _figures(document)]
    if any("against_first" in one for one in document["points"]):
        blocks.append(_changes(document))
    if any(one["claims"] for one in document["points"]):
        blocks.append(_claims(document))
    if document["predictors"]:
        blocks.append(_predictors(document))
    blocks += [[line] for line in (*table.passings(document), *table.luck(document), *table.notes(document))]
    return "\n\n".join("\n".join(block) for block in blocks)


def made(document: Mapping[str, Any]) -> str:
    """Of what the figures are."""
    seeds = document["seeds"]
    text = (
        f"{document['title']}: preset {document['preset']}, seeds {seeds[0]} to {seeds[-1]}, "
        f"{document['cpu_seconds'] / 60:.0f} CPU-minutes. {table.means(document)}"
    )
    given = ", ".join(f"`{path}={json.dumps(value)}`" for path, value in document["set"].items())
    return f"{text} With {given}." if given else text


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _figures(document: Mapping[str, Any]) -> list[str]:
    lines = _head([document["knob"], "arm", *(MEASURES[m].words for m in document["measures"])])
    for one in document["points"]:
        first = (one["winner"] or {}).get("first")
        for place, (arm, found) in enumerate(one["arms"].items()):
            cells = [table.cell(document, found, m) for m in document["measures"]]
            name = f"**{arm_name(arm)}**" if arm == first else arm_name(arm)
            lines.append(_row([one["label"] if place == 0 else "", name, *cells]))
    return lines


def _changes(document: Mapping[str, Any]) -> list[str]:
    first = document["points"][0]["label"]
    names = [MEASURES[m].words for m in document["measures"]]
    lines = _head([f"change against {first}, within a seed", "arm", *names])
    for one in document["points"][1:]:
        for place, (arm, found) in enumerate(one.get("against_first", {}).items()):
            cells = [
                table.brief(found[m], MEASURES[m].form, difference=True) if m in found else DASH
                for m in document["measures"]
            ]
            lines.append(_row([one["label"] if place == 0 else "", arm_name(arm), *cells]))
    return lines


def _claims(document: Mapping[str, Any]) -> list[str]:
    points = document["points"]
    lines = _head(["claim", document["knob"], "mean over seeds", "holds in", "observed: holds in"])
    for place, claim in enumerate(points[0]["claims"]):
        for one in points:
            found = one["claims"][place]
            seen = found["observed"]
            lines.append(
                _row(
                    [
                        claim["name"] if one is points[0] else "",
                        one["label"],
                        table.claim_span(found, width=False),
                        f"{found['holds']} of {len(found['values'])}",
                        DASH if seen is None else f"{seen['holds']} of {len(seen['values'])}",
                    ]
                )
            )
    return lines


def _predictors(document: Mapping[str, Any]) -> list[str]:
    points = [one["label"] for one in document["points"]] if len(document["points"]) > 1 else []
    alone = [f"at {label}" for label in points]
    lines = _head(
        ["foretells the first day's lift", "cases", "right sign", "rank correlation", "95%", *alone, "error"]
    )
    for one in document["predictors"]:
        ends = one["spearman_ci"]
        lines.append(
            _row(
                [
                    one["words"],
                    str(one["cases"]),
                    str(one["right_sign"]),
                    table.figure(one["spearman"], "number"),
                    DASH if ends is None else f"{ends[0]:.2f} … {ends[1]:.2f}".replace("-", "−"),
                    *(table.figure(one["by_point"][label], "number") for label in points),
                    percent(one["error"]).lstrip("+"),
                ]
            )
        )
    return lines
