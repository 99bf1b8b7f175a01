"""Runs side by side: what differs in their settings, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from dashboard import results as outcome
from dashboard import words
from dashboard.reading import Document, Run
from experiment.words import DASH, arm_name, number, percent

SPREAD = "run."
"""Settings of how the work was spread, which change no result."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted path."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def differing(runs: Sequence[Run]) -> list[list[str]]:
    """Rows of the settings that are not the same in all runs: path, then a value for each."""
    settings = [flat(run.config) for run in runs]
    paths = [
        path for path in dict.fromkeys(p for one in settings for p in one) if not path.startswith(SPREAD)
    ]
    rows = []
    for path in paths:
        values = [_plain(one.get(path)) for one in settings]
        if len(set(values)) > 1:
            rows.append([path, *values])
    return rows


def _plain(value: Any) -> str:
    if value is None:
        return DASH
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def overview(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per run for the table of runs."""
    rows = []
    for run in runs:
        compared = outcome.against_control(run.report) if run.report else []
        of_arms = (run.report or {}).get("arms", {})
        rows.append(
            {
                "run": run.name,
                "state": run.state,
                "preset": str(run.setting("preset", "")),
                "seed": run.setting("seed"),
                "day": words.day_of(run) if run.days else "",
                "started": None if run.started is None else run.started * 1000,
                **{f"{arm_name(c['arm'])}, lift": percent(c["lift"]) for c in compared},
                **{
                    f"{arm_name(arm)}, AUC": number(of["offline_auc"])
                    for arm, of in of_arms.items()
                    if of.get("offline_auc") is not None
                },
            }
        )
    return rows


@dataclass(frozen=True, slots=True)
class Spread:
    """An arm's lift over runs that differ in their seed only.

    Attributes:
        arm, control: names. lifts: one per seed. mean: of them. error: of the mean, None for one seed.
    """

    arm: str
    control: str
    lifts: list[float]
    mean: float
    error: float | None


def over_seeds(found: Sequence[Document]) -> list[Spread]:
    """Each comparison over the runs that have it."""
    by_pair: dict[tuple[str, str], list[float]] = {}
    for document in found:
        for c in document["comparisons"]:
            if c["lift"] is not None:
                by_pair.setdefault((c["arm"], c["control"]), []).append(float(c["lift"]))
    return [
        Spread(*pair, lifts, fmean(lifts), stdev(lifts) / len(lifts) ** 0.5 if len(lifts) > 1 else None)
        for pair, lifts in by_pair.items()
    ]


def same_but_seed(runs: Sequence[Run]) -> bool:
    """Whether each run has a seed of its own, and nothing else differs."""
    paths = [row[0] for row in differing(runs)]
    return paths == ["seed"] and len({run.setting("seed") for run in runs}) == len(runs)


def sound(run: Run) -> bool:
    """Whether the run has results that may be read."""
    return run.report is not None and run.state == "done" and not words.blocked(run, run.report)


def labels(runs: Mapping[str, Run], found: Mapping[str, Document]) -> dict[str, str]:
    """What each run is called in pictures: its name, and why it must not be read, or not yet."""
    said = {}
    for name, document in found.items():
        if words.blocked(runs[name], document):
            said[name] = f"⚠ {name}, do not read"
        elif outcome.early(document):
            said[name] = f"{name}, before its end"
        else:
            said[name] = name
    return said
