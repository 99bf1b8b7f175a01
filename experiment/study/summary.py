"""From the figures of a study's cells to its document: means with t-intervals and counts over seeds.

Seeds are the sample: everything that a seed draws (world, users, coins) differs between them. Comparisons of
two arms, or of two variants, are paired by seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiment.study import spread
from experiment.study.measures import MEASURES
from experiment.study.plan import ACCEPTED_SHARE, Claim, Point, Study, reference
from experiment.study.predictors import WHOLE_RUN, predictors

Cells = Mapping[tuple[str, int], Mapping[str, Any]]
"""(Name of the variant, seed) to the document of the cell."""

LEVEL = 0.95


def estimate(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean, standard deviation and 95% t-interval of the mean over seeds; undefined values are left out.

    Returns:
        `{"mean", "sd", "ci", "n", "values"}`; without values `mean` is None, with one `sd` and `ci` are.
    """
    from scipy.special import stdtrit

    known = np.array([value for value in values if value is not None], float)
    n = len(known)
    found: dict[str, Any] = {"mean": None, "sd": None, "ci": None, "n": n, "values": list(values)}
    if n:
        found["mean"] = float(known.mean())
    if n > 1:
        sd = float(known.std(ddof=1))
        half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * sd / math.sqrt(n)
        found |= {"sd": sd, "ci": [found["mean"] - half, found["mean"] + half]}
    return found


def document(name: str, study: Study, cells: Cells, points: Sequence[Point] | None = None) -> dict[str, Any]:
    """The whole study as plain data, of the cells that are done.

    Args:
        name: of the study. study: as it was run. cells: that are done. points: that were run; all by default.
    """
    shown = list(study.points() if points is None else points)
    found = [point_document(study, point, cells) for point in shown]
    base = reference(study, shown)
    if base is not None:
        _compare(study, found[shown.index(base)], found, cells)
    labels = [sweep.label or sweep.knob for sweep in study.sweep]
    return {
        "study": name,
        "title": study.title,
        "question": study.question,
        "knob": " × ".join(labels) or "variant",
        "knobs": labels,
        "preset": study.preset,
        "set": study.set,
        "seeds": study.seed_list(),
        "cells_done": len(cells),
        "cells": len(shown) * study.seeds,
        "programs": sorted({cell["program"] for cell in cells.values()}),
        "cpu_seconds": round(sum(cell["clock"]["cpu_seconds"] for cell in cells.values()), 1),
        "reference": None if base is None else base.label,
        "measures": study.measures,
        "figure": study.figure,
        "spread": _spread(study, cells),
        "points": found,
        "frontiers": frontiers(study, found),
        "crossings": crossings(study, found),
        "predictors": _predictors(cells, shown) if "offpolicy" in study.extras else [],
    }


def _compare(study: Study, base: Mapping[str, Any], points: Sequence[dict[str, Any]], cells: Cells) -> None:
    """Puts into each other point, and its claims, what it changes against the point `base`."""
    for one in points:
        if one is base:
            continue
        one["against_reference"] = _against(study, base, one, cells)
        for claim, first in zip(one["claims"], base["claims"], strict=True):
            theirs = dict(zip(base["seeds_done"], first["values"], strict=True))
            ours = zip(one["seeds_done"], claim["values"], strict=True)
            both = [(value, theirs[seed]) for seed, value in ours if seed in theirs]
            claim["against_reference"] = estimate(_less([a for a, _ in both], [b for _, b in both]))


def point_document(study: Study, point: Point, cells: Cells) -> dict[str, Any]:
    """One variant: its figures by arm, its lifts over the control, its claims."""
    own = [cells[point.name, seed] for seed in study.seed_list() if (point.name, seed) in cells]
    arms = list(own[0]["arms"]) if own else []
    control = own[0]["control"] if own else None
    figures = {
        arm: {
            measure: estimate([cell["arms"][arm].get(measure) for cell in own])
            for measure in MEASURES
            if any(cell["arms"][arm].get(measure) is not None for cell in own)
        }
        for arm in arms
    }
    lifts = []
    for arm in arms:
        lift = figures[arm].get("expected_lift")
        if arm != control and lift is not None and lift["mean"] is not None:
            above = sum(value is not None and value > 0 for value in lift["values"])
            lifts.append(
                {
                    "arm": arm,
                    "control": control,
                    "expected_lift": lift["mean"],
                    "ci": lift["ci"],
                    "above_0": above,
                }
            )
    document = {
        "variant": point.name,
        "label": point.label,
        "value": point.values[0] if len(point.values) == 1 else point.name,
        "knob_values": list(point.values),
        "set": point.overrides,
        "seeds_done": [cell["seed"] for cell in own],
        "arms": figures,
        "lifts": lifts,
        "winner": None if study.spread else winner(figures),
        "claims": [claim_document(claim, own) for claim in study.claim],
    }
    if study.spread == "arms":
        document["spread"] = spread.over_arms(own)
    return document


def _predictors(cells: Cells, points: Sequence[Point]) -> list[dict[str, Any]]:
    """What foretells the first day's lift over all cells.

    `by_point` is the rank correlation at each point alone, `whole_run` the same row for the lift of all days.
    """
    rows = predictors(cells.values())
    whole = {row["predictor"]: row for row in predictors(cells.values(), WHOLE_RUN)}
    alone = {
        point.label: predictors([cell for (name, _), cell in cells.items() if name == point.name])
        for point in points
    }
    for row in rows:
        row["whole_run"] = whole[row["predictor"]]
        row["by_point"] = {
            label: next(one["spearman"] for one in own if one["predictor"] == row["predictor"])
            for label, own in alone.items()
        }
    return rows


def _spread(study: Study, cells: Cells) -> list[dict[str, Any]]:
    return spread.over_variants(list(cells.values())) if study.spread == "variants" else []


def winner(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The arm of the highest mean expected lift, its lead over the next, and in how many seeds it leads."""
    known = {
        arm: found["expected_lift"]
        for arm, found in figures.items()
        if "expected_lift" in found and found["expected_lift"]["mean"] is not None
    }
    if len(known) < 2:
        return None
    first, second = sorted(known, key=lambda arm: -known[arm]["mean"])[:2]
    lead = estimate(_less(known[first]["values"], known[second]["values"]))
    ahead = sum(value is not None and value > 0 for value in lead["values"])
    return {"first": first, "second": second, "lead": lead, "ahead": ahead}


def claim_document(claim: Claim, own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A claim over the seeds of one variant.

    `met` is, for an order, that the mean's interval excludes 0 and it holds in at least `needed` seeds, for a
    bound that it holds in every seed; None where too few seeds tell.
    """
    counted, observed = figure_of(claim, own, claim.measure), None
    if claim.observed is not None:
        observed = figure_of(claim, own, claim.observed)
        observed["holds"] = sum(holds(claim, value) for value in observed["values"])
    kept = sum(holds(claim, value) for value in counted["values"])
    needed = math.ceil(ACCEPTED_SHARE * len(own)) if claim.ascending else len(own)
    met: bool | None = kept >= needed if own else None
    if claim.ascending and own:
        met = None if counted["ci"] is None else bool(met) and counted["ci"][0] > 0
    return {
        **{name: getattr(claim, name) for name in ("name", "section", "paper", "measure", "above", "below")},
        "of": list(claim.arms),
        "order": bool(claim.ascending),
        **counted,
        "holds": kept,
        "needed": needed,
        "met": met,
        "observed": None if observed is None else {"measure": claim.observed, **observed},
    }


def figure_of(claim: Claim, own: Sequence[Mapping[str, Any]], measure: str) -> dict[str, Any]:
    """The estimate of what a claim is about: the second arm's figure less the first's, or the arm's."""
    columns = [[cell["arms"][arm].get(measure) for cell in own] for arm in claim.arms]
    return estimate(_less(columns[1], columns[0]) if claim.ascending else columns[0])


def holds(claim: Claim, value: float | None) -> bool:
    """Whether the claim holds where its figure is `value`; what is undefined does not hold."""
    if value is None:
        return False
    if claim.above is not None:
        return value > claim.above
    if claim.below is not None:
        return value < claim.below
    return value > 0


def frontiers(study: Study, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where along a numeric knob the lead of all arms passes from one to another, see `_passing`."""
    found = []
    for row in _rows(study, points):
        for low, high in itertools.pairwise(one for one in row.points if one["winner"]):
            a, b = low["winner"]["first"], high["winner"]["first"]
            if a != b:
                found.append(_passing(row, a, b, low, high))
    return found


def crossings(study: Study, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where along a numeric knob one arm of two overtakes the other, whoever leads, see `_passing`."""
    found = []
    for row in _rows(study, points):
        arms = dict.fromkeys(arm for one in row.points for arm in one["arms"])
        for a, b in itertools.combinations(arms, 2):
            apart = [one for one in row.points if _gap(one, a, b)]
            for low, high in itertools.pairwise(apart):
                if _gap(low, a, b) > 0 > _gap(high, a, b):
                    found.append(_passing(row, a, b, low, high))
                elif _gap(low, a, b) < 0 < _gap(high, a, b):
                    found.append(_passing(row, b, a, low, high))
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    """Points along one knob.

    Attributes:
        place: of the knob among the study's. knob: its name. held: the other knob's name and value, if any.
        points: by the knob's value.
    """

    place: int
    knob: str
    held: dict[str, Any]
    points: list[Mapping[str, Any]]


def _rows(study: Study, points: Sequence[Mapping[str, Any]]) -> list[_Row]:
    """The rows and columns of the grid of one or two knobs; none where values are no amounts."""
    values = [value for one in points for value in one["knob_values"]]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not study.sweep or not numeric or study.spread:
        return []
    labels = [sweep.label or sweep.knob for sweep in study.sweep]
    rows = []
    for place, knob in enumerate(labels):
        beside = 1 - place if len(labels) == 2 else None
        kept = [None] if beside is None else dict.fromkeys(one["knob_values"][beside] for one in points)
        for value in kept:
            row = [one for one in points if beside is None or one["knob_values"][beside] == value]
            held = {} if beside is None else {labels[beside]: value}
            rows.append(_Row(place, knob, held, sorted(row, key=lambda one: one["knob_values"][place])))
    return rows


def _passing(row: _Row, a: str, b: str, low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """From a below to b above: between which values, and where their mean expected lifts meet linearly.

    It is `sure` where both leads, paired by seed, have intervals that exclude 0.
    """
    gaps = [_lift(one, a) - _lift(one, b) for one in (low, high)]
    sure = all(lead["ci"] is not None and lead["ci"][0] > 0 for lead in (_lead(low, a, b), _lead(high, b, a)))
    share = gaps[0] / (gaps[0] - gaps[1]) if gaps[0] != gaps[1] else 0.5
    ends = [one["knob_values"][row.place] for one in (low, high)]
    at = ends[0] + share * (ends[1] - ends[0])
    return {
        "knob": row.knob, "held": row.held, "from": a, "to": b, "between": ends, "at": at, "sure": sure,
    }  # fmt: skip


def _lead(point: Mapping[str, Any], a: str, b: str) -> dict[str, Any]:
    return estimate(_less(*(point["arms"][arm]["expected_lift"]["values"] for arm in (a, b))))


def _lift(point: Mapping[str, Any], arm: str) -> Any:
    return (point["arms"].get(arm, {}).get("expected_lift") or {}).get("mean")


def _gap(point: Mapping[str, Any], a: str, b: str) -> float:
    """How far the mean expected lift of a is above b's; 0 where either is unknown."""
    ours, theirs = _lift(point, a), _lift(point, b)
    return 0.0 if ours is None or theirs is None else float(ours - theirs)


def _against(
    study: Study, first: Mapping[str, Any], other: Mapping[str, Any], cells: Cells
) -> dict[str, dict[str, Any]]:
    """What a variant changes against the first one, by arm and shown measure, paired by seed."""
    seeds = [
        seed for seed in study.seed_list() if all((one["variant"], seed) in cells for one in (first, other))
    ]
    changes: dict[str, dict[str, Any]] = {}
    for arm in other["arms"]:
        if arm not in first["arms"]:
            continue
        changes[arm] = {}
        for measure in dict.fromkeys([*study.measures, study.figure]):
            columns = [
                [cells[one["variant"], seed]["arms"][arm].get(measure) for seed in seeds]
                for one in (other, first)
            ]
            changes[arm][measure] = estimate(_less(*columns))
    return changes


def _less(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    return [None if a is None or b is None else a - b for a, b in zip(ours, theirs, strict=True)]
