"""Beside the primary metric: secondary metrics, and guardrails that an arm must not harm.

Secondary metrics are a family of their own (Benjamini-Hochberg). Guardrails are non-inferiority tests outside
of any family. Scoring work does not vary between users, so it is stated and not tested; latency depends on
the clock and decides nothing in a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiment.config import Config
from experiment.reporting.outcomes import MARGINS, Outcomes
from experiment.stats import comparison
from experiment.stats.guardrail import guardrail
from experiment.stats.moments import Moments, Y
from models import settings as kinds


def secondary(config: Config, outcomes: Mapping[str, Outcomes]) -> list[dict[str, Any]]:
    """Acquisitions per user and the share of users with one, each arm against the control."""
    cells = {
        "acquisitions_per_user": {arm: _totals(o).per_user() for arm, o in outcomes.items()},
        "users_with_acquisition": {arm: _acquirers(o) for arm, o in outcomes.items()},
    }
    control, alpha = config.experiment.control, config.experiment.alpha
    found = [
        (metric, one)
        for metric, arms in cells.items()
        for one in comparison.analyse(arms, control, alpha=alpha).comparisons
    ]
    adjusted = comparison.false_discovery([one for _, one in found])
    return [
        {
            "metric": metric,
            "arm": one.arm,
            "control": one.control,
            "value": comparison.summary(cells[metric][one.arm]).rate,
            "control_value": comparison.summary(cells[metric][one.control]).rate,
            "lift": one.lift,
            "ci": None if one.lift_ci is None else list(one.lift_ci),
            "p_value": one.p_value,
            "p_bh": p,
            "status": one.status,
        }
        for (metric, one), p in zip(found, adjusted, strict=True)
    ]


def guardrails(config: Config, outcomes: Mapping[str, Outcomes]) -> list[dict[str, Any]]:
    """Impressions per user and the share of new releases: is an arm worse than the control by the margin?"""
    control, alpha = config.experiment.control, config.experiment.alpha
    metrics = {
        "impressions_per_user": {a: _totals(o).per_user(Y) for a, o in outcomes.items()},
        "new_release_share": {a: _new(o) for a, o in outcomes.items()},
    }
    rows = []
    for metric, cells in metrics.items():
        margin = MARGINS[metric]
        for arm in outcomes:
            if arm == control:
                continue
            test = guardrail(cells[control], cells[arm], margin=margin, alpha=alpha)
            rows.append(
                {
                    "metric": metric,
                    "arm": arm,
                    "control": control,
                    "value": comparison.summary(cells[arm]).rate,
                    "control_value": comparison.summary(cells[control]).rate,
                    "margin": margin,
                    "bound": _number(test.bound),
                    "p_value": _number(test.p_value),
                    "passed": bool(test.passed) if math.isfinite(float(test.z)) else None,
                }
            )
    return rows


def scoring_work(config: Config, arm: str) -> int | None:
    """Multiply-adds and table look-ups that the arm's ranker takes for one request's candidates.

    Of published models: the first layer is folded into a row per app. None for a ranker of one's own.
    """
    settings, candidates = config.arms[arm], config.retrieval.candidates
    work = 0
    if settings.kind in ("deep", "wide_deep", "ensemble"):
        hidden = kinds.NetSettings.model_validate(settings.settings["deep"]).hidden
        work += hidden[0] + sum(a * b for a, b in zip(hidden, (*hidden[1:], 1), strict=True))
    if settings.kind in ("wide", "wide_deep", "ensemble"):
        crosses = settings.settings["wide"]["crosses"]
        installed = config.users.installed_capacity if "installed_x_app" in crosses else 0
        work += 1 + sum(cross.endswith("_x_app") for cross in crosses) + installed
    if settings.kind == "fm":
        work += int(settings.settings["fm"]["factors"])
    known = settings.kind in ("wide", "deep", "wide_deep", "ensemble", "fm", "random", "popularity")
    return candidates * max(work, 1) if known else None


def _totals(outcomes: Outcomes) -> Moments:
    return Moments.from_users(*_by_user(outcomes, outcomes.acquisitions, outcomes.impressions))


def _acquirers(outcomes: Outcomes) -> Moments:
    (acquired,) = _by_user(outcomes, outcomes.acquisitions)
    return Moments.from_users((acquired > 0).astype(np.float64), np.ones(len(acquired)))


def _new(outcomes: Outcomes) -> Moments:
    return Moments.from_users(*_by_user(outcomes, outcomes.new_impressions, outcomes.impressions))


def _by_user(outcomes: Outcomes, *columns: Any) -> tuple[Any, ...]:
    """float64[users] totals of each column, users in the order of their rows."""
    user = np.cumsum(outcomes.first) - 1
    users = int(outcomes.first.sum())
    return tuple(np.bincount(user, column.astype(np.float64), users) for column in columns)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
