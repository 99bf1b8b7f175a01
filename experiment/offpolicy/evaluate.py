"""The off-policy document of a run: every estimator for every arm's model, beside the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from experiment.offpolicy import estimators
from experiment.offpolicy.estimators import Estimate, Support
from experiment.offpolicy.logged import (
    HOLDOUT,
    Logged,
    Responses,
    logged_day,
    refuse_unfit,
    responses,
    slates_of,
    targets,
    true_chances,
)
from simulator.schema import Array, Ranker

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.folder.rundir import RunFolder

CLIP = 100.0
"""Weights are cut here by default."""

ESTIMATORS = {
    "direct": "direct method",
    "ips": "IPS",
    "snips": "SNIPS",
    "dr": "DR",
    "position_ips": "IPS by positions",
    "position_snips": "SNIPS by positions",
    "position_dr": "DR by positions",
}
"""The estimators, by name."""


def evaluate(folder: RunFolder, clip: float | None = CLIP) -> dict[str, Any]:
    """The estimates of a finished run whose log and models are still there, as plain data.

    Args:
        folder: of the run. clip: largest weight; None for no limit.

    Raises:
        BadInput: production explored nothing. ReplayError: the log is not what it should be.
    """
    config = folder.config
    refuse_unfit(config, folder.path)
    known, models = responses(folder), targets(folder)
    parts: dict[str, list[dict[str, Array]]] = {arm: [] for arm in models}
    logs = []
    for day in logged_day(folder):
        logs.append(day.log)
        for arm, model in models.items():
            parts[arm].append(columns(model, config, day, known))
    theta = known.theta(config.experiment.shown)
    found = {
        arm: {name: np.concatenate([p[name] for p in ps]) for name in ps[0]} for arm, ps in parts.items()
    }
    labels = np.concatenate([log.labels for log in logs])
    estimates = {arm: estimate(labels, theta, one, clip) for arm, one in found.items()}
    truths = {
        arm: Estimate(float(one["truth"].mean()), 0.0, one["truth"].mean(axis=1))
        for arm, one in found.items()
    }
    return {
        "day": HOLDOUT,
        "requests": len(labels),
        "exploration": config.production.exploration,
        "clip": clip,
        "scale": known.scale,
        "decay": known.decay,
        "observed_rate": float(labels.mean()),
        "arms": _arms(folder, estimates, truths),
        "comparisons": _comparisons(folder, {arm: one for arm, (one, _) in estimates.items()}, truths),
    }


def columns(model: Ranker, config: Config, day: Logged, known: Responses) -> dict[str, Array]:
    """What the estimators need of one shard: weights of both kinds, predictions, the truth; all [B, S]."""
    target = slates_of(model, config, day)
    hits = day.slate[:, :, None] == target[:, None, :]
    places = np.where(hits.any(axis=2), hits.argmax(axis=2), -1)
    S = target.shape[1]
    return {
        "item": estimators.item_weights(places == np.arange(S), day.log.propensities),
        "position": estimators.position_weights(places, day.chances, known.theta(S)),
        "logged": known.predicted(np.take_along_axis(day.scores, day.slate, axis=1)),
        "target": known.predicted(np.take_along_axis(day.scores, target, axis=1)),
        "truth": true_chances(config, day, target),
    }


def estimate(
    labels: Array, theta: Array, found: Mapping[str, Array], clip: float | None
) -> tuple[dict[str, Estimate], dict[str, Support]]:
    """All estimates of one ranker, and what each kind of weight rests on."""
    made = {"direct": estimators.direct(found["target"])}
    support = {}
    for kind, prefix in (("item", ""), ("position", "position_")):
        weights, support[kind] = estimators.clipped(found[kind], clip)
        made[f"{prefix}ips"] = estimators.ips(labels, weights)
        made[f"{prefix}snips"] = estimators.snips(labels, weights, theta)
        made[f"{prefix}dr"] = estimators.doubly_robust(labels, weights, found["logged"], found["target"])
    return made, support


def _arms(folder: RunFolder, estimates: Mapping[str, Any], truths: Mapping[str, Estimate]) -> dict[str, Any]:
    import dataclasses

    report = folder.report()["arms"]
    arms = {}
    for arm, (made, support) in estimates.items():
        arms[arm] = {
            **{name: report[arm][name] for name in ("offline_auc", "gauc", "log_loss")},
            "expected_rate": truths[arm].rate,
            "estimates": {
                name: {"rate": _defined(made[name].rate), "se": _defined(made[name].se)}
                for name in ESTIMATORS
            },
            "support": {kind: dataclasses.asdict(one) for kind, one in support.items()},
        }
    return arms


def _comparisons(
    folder: RunFolder, estimates: Mapping[str, Mapping[str, Estimate]], truths: Mapping[str, Estimate]
) -> list[dict[str, Any]]:
    """Each learning arm against the control: the lift of each estimator, and two true ones.

    These are of the same models' true chances on the same requests, and of the arms' first day online, where
    the run's truth is known.
    """
    control = folder.config.experiment.control
    online = _first_days(folder)
    compared = []
    for arm, made in estimates.items():
        if arm == control or control not in estimates:
            continue
        lifts = {}
        for name in ESTIMATORS:
            found, ci = estimators.lift(made[name], estimates[control][name], folder.config.experiment.alpha)
            lifts[name] = {"lift": found, "ci": None if ci is None else list(ci)}
        compared.append(
            {
                "arm": arm,
                "control": control,
                "expected_lift": estimators.lift(truths[arm], truths[control])[0],
                "first_day_lift": online.get((arm, control)),
                "estimates": lifts,
            }
        )
    return compared


def _first_days(folder: RunFolder) -> dict[tuple[str, str], float | None]:
    import json

    from experiment.truth.command import TRUTH

    if TRUTH not in folder.manifest.artefacts:
        return {}
    truth = json.loads(folder.trusted(folder.path / TRUTH).read_bytes())
    return {
        (c["arm"], c["control"]): c["days"][0]["expected_lift"] for c in truth["comparisons"] if c["days"]
    }


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
