"""Validation of a new model before it serves (Cheng et al. 2016, section 4.2).

First a dry run on recorded requests: every score finite and within range. Then held-out traffic, where the
candidate is compared with the model that serves now: AUC by a paired, user-clustered test, and calibration.
The wall clock decides nothing here, or results could not be repeated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from models import evaluation
from simulator.schema import Array, Log, Ranker


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate must keep to.

    Attributes:
        auc_margin: AUC that it may lose against the incumbent, beyond which a significant loss refuses it.
        alpha: level of the paired, one-sided test.
        calibration_min, calibration_max: bounds of predicted over observed acquisitions.
        score_limit: largest log odds, of either sign.
    """

    auc_margin: float
    alpha: float
    calibration_min: float
    calibration_max: float
    score_limit: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate may serve, and what was measured; undefined measurements are None.

    Attributes:
        accepted: no reason speaks against it.
        reasons: why it was refused, a sentence each.
        holdout: impressions held out.
        auc, incumbent_auc: on the holdout. auc_z: of their difference.
        log_loss, calibration: of the candidate on the holdout.
    """

    accepted: bool
    reasons: tuple[str, ...] = ()
    holdout: int = 0
    auc: float | None = None
    incumbent_auc: float | None = None
    auc_z: float | None = None
    log_loss: float | None = None
    calibration: float | None = None


def judge(candidate: Ranker, incumbent: Ranker | None, held_out: Log, limits: Limits) -> Verdict:
    """The verdict on `candidate`.

    Args:
        candidate: the newly trained model. incumbent: the one that serves now, if any.
        held_out: requests that the candidate was not trained on; without labels of both kinds only the dry
            run counts.
        limits: what it must keep to.
    """
    scores = np.asarray(candidate.score(held_out.requests), np.float64)
    reasons = _dry_run(scores, limits)
    labels = held_out.labels
    if reasons or labels.size == 0:
        return Verdict(not reasons, tuple(reasons), int(labels.size))
    return _held_out(scores, incumbent, held_out, limits)


def _dry_run(scores: Array, limits: Limits) -> list[str]:
    broken = int((~np.isfinite(scores)).sum())
    if broken:
        return [f"dry run: {broken} of {scores.size} scores are not finite"]
    largest = float(np.abs(scores).max(initial=0.0))
    if largest > limits.score_limit:
        return [f"dry run: a score of {largest:.1f} log odds, allowed are {limits.score_limit:g}"]
    return []


def _held_out(scores: Array, incumbent: Ranker | None, held_out: Log, limits: Limits) -> Verdict:
    labels, odds = held_out.labels.ravel(), scores.ravel()
    reasons: list[str] = []
    calibration = _defined(evaluation.calibration(labels, odds))
    if calibration is not None and not limits.calibration_min <= calibration <= limits.calibration_max:
        reasons.append(
            f"holdout: predicted over observed acquisitions is {calibration:.2f}, allowed are "
            f"{limits.calibration_min:g} to {limits.calibration_max:g}"
        )
    auc, before, z = _defined(evaluation.auc(labels, odds)), None, None
    if auc is not None and incumbent is not None:
        users = np.repeat(held_out.requests.user_id, held_out.labels.shape[1])
        old = np.asarray(incumbent.score(held_out.requests), np.float64).ravel()
        test = evaluation.paired_test(evaluation.clustered_auc(labels, np.stack([odds, old]), users))
        before, z = auc - test.difference, _defined(test.z)
        if -test.difference > limits.auc_margin and z is not None and z < ndtri(limits.alpha):
            reasons.append(
                f"holdout: AUC {auc:.4f} against the incumbent's {before:.4f}, a loss of "
                f"{-test.difference:.4f} (z {z:.2f}); allowed is {limits.auc_margin:g}"
            )
    loss = _defined(evaluation.log_loss(labels, odds))
    return Verdict(not reasons, tuple(reasons), int(labels.size), auc, before, z, loss, calibration)


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
