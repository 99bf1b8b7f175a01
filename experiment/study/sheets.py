"""A study's tables as words, which the terminal, Markdown and the page only lay out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiment.study import phrases
from experiment.study.measures import MEASURES
from experiment.words import DASH, arm_name, percent


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table.

    Attributes:
        title: what it holds. head: names of the columns. rows: their cells.
        first: places of the rows of arms that lead.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    first: frozenset[int] = frozenset()


def sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """Every table that the study has."""
    found = [figures(document)]
    if any(one["winner"] for one in document["points"]):
        found.append(leaders(document))
    if any(one.get("against_reference") for one in document["points"]):
        found.append(changes(document))
    if any(one["claims"] for one in document["points"]):
        found.append(_claims(document))
    if document["predictors"]:
        found += [_predictors(document), _predictors_by_arm(document)]
    return found


def figures(document: Mapping[str, Any]) -> Sheet:
    """Every measure of every arm at every point; a point is named in its first row."""
    rows: list[list[str]] = []
    first = set()
    for one in document["points"]:
        leader = (one["winner"] or {}).get("first")
        for place, (arm, found) in enumerate(one["arms"].items()):
            if arm == leader:
                first.add(len(rows))
            cells = [phrases.cell(document, found, m) for m in document["measures"]]
            rows.append([one["label"] if place == 0 else "", arm_name(arm), *cells])
    return Sheet("Every arm", [document["knob"], "arm", *_measures(document)], rows, frozenset(first))


def leaders(document: Mapping[str, Any]) -> Sheet:
    """Who leads at each point by the expected lift, paired by seed over the next."""
    rows = []
    for one in document["points"]:
        won = one["winner"]
        if won is not None:
            lead, seeds = phrases.span(won["lead"], "lift", difference=True), won["lead"]["n"]
            first, second = arm_name(won["first"]), arm_name(won["second"])
            rows.append([one["label"], first, f"{lead} before {second}", f"{won['ahead']} of {seeds}"])
    return Sheet("Who leads", [document["knob"], "leads", "by (expected lift)", "ahead in seeds"], rows)


def changes(document: Mapping[str, Any]) -> Sheet:
    """What each point changes against the reference, paired by seed."""
    rows = []
    for one in document["points"]:
        for place, (arm, found) in enumerate(one.get("against_reference", {}).items()):
            cells = [
                phrases.brief(found[m], MEASURES[m].form, difference=True) if m in found else DASH
                for m in document["measures"]
            ]
            rows.append([one["label"] if place == 0 else "", arm_name(arm), *cells])
    head = f"change against {document['reference']}, within a seed"
    return Sheet("What each changes", [head, "arm", *_measures(document)], rows)


def _measures(document: Mapping[str, Any]) -> list[str]:
    return [MEASURES[m].words for m in document["measures"]]


def _claims(document: Mapping[str, Any]) -> Sheet:
    points = document["points"]
    rows = []
    for place, claim in enumerate(points[0]["claims"]):
        for one in points:
            found = one["claims"][place]
            seen = found["observed"]
            rows.append(
                [
                    claim["name"] if one is points[0] else "",
                    one["label"],
                    phrases.claim_span(found, width=False),
                    f"{found['holds']} of {len(found['values'])}",
                    DASH if seen is None else f"{seen['holds']} of {len(seen['values'])}",
                ]
            )
    head = ["claim", document["knob"], "mean over seeds", "holds in", "observed: holds in"]
    return Sheet("What was claimed", head, rows)


def _predictors(document: Mapping[str, Any]) -> Sheet:
    points = [one["label"] for one in document["points"]] if len(document["points"]) > 1 else []
    alone = [f"at {label}" for label in points]
    rows = [
        [
            one["words"],
            str(one["cases"]),
            str(one["right_sign"]),
            phrases.correlation(one["spearman"]),
            phrases.ends(one),
            *(phrases.correlation(one["by_point"][label]) for label in points),
            percent(one["error"]).lstrip("+"),
        ]
        for one in document["predictors"]
    ]
    head = [
        "foretells the first day's lift",
        "cases",
        "right sign",
        "rank correlation",
        "95%",
        *alone,
        "error",
    ]
    return Sheet("What foretells the lift", head, rows)


def arms_told(document: Mapping[str, Any]) -> list[str]:
    """The arms of which any predictor says something."""
    rows = [found for one in document["predictors"] for found in (one, one["whole_run"])]
    return list(dict.fromkeys(arm for row in rows for arm in row["right_by_arm"]))


def _predictors_by_arm(document: Mapping[str, Any]) -> Sheet:
    """Of how many cases the sign is right, by arm, on the first day and over all days."""
    rows = []
    arms = arms_told(document)
    for one in document["predictors"]:
        days = (one, one["whole_run"])
        signs = [phrases.right(found["right_by_arm"].get(arm)) for found in days for arm in arms]
        whole = one["whole_run"]
        rows.append([one["words"], *signs, phrases.correlation(whole["spearman"]), phrases.ends(whole)])
    names = [f"{when}: {arm_name(arm)}" for when in ("first day", "all days") for arm in arms]
    head = ["foretells the sign of the lift", *names, "all days: rank correlation", "95%"]
    return Sheet("What foretells the sign, by arm, and the lift of all days", head, rows)
