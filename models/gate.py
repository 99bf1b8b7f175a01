"""Validation of a new model before it serves (Cheng et al. 2016, section 4.2).

First a dry run on recorded requests: every weight and score finite, scores within range, and the model of a
size that fits.
Then held-out traffic, where the candidate is compared with the model that serves now: AUC by the paired test
of DeLong et al. (1988), extended to impressions clustered by user (Obuchowski 1997), log loss by a paired
test over users, and calibration. The wall clock decides nothing in `judge`, or results could not be repeated:
`latency` is apart.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from models import evaluation
from simulator.schema import Array, Log, Ranker, Requests

Measured = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate must keep to.

    Attributes:
        auc_margin: AUC that it may lose against the incumbent, beyond which a significant loss refuses it.
        log_loss_margin: likewise, nats per impression.
        alpha: level of the paired, one-sided tests.
        calibration_min, calibration_max: bounds of predicted over observed acquisitions.
        score_limit: largest log odds, of either sign.
        memory_limit: MiB that a model which states its `nbytes` may hold.
    """

    auc_margin: float
    log_loss_margin: float
    alpha: float
    calibration_min: float
    calibration_max: float
    score_limit: float
    memory_limit: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate may serve, and what was measured; undefined measurements are None.

    Attributes:
        accepted: no reason speaks against it.
        reasons: why it was refused, a sentence each.
        holdout: impressions held out.
        auc, incumbent_auc: on the holdout. auc_z: of their difference.
        log_loss, calibration: of the candidate on the holdout.
        incumbent_log_loss: on the holdout. log_loss_z: of their difference, candidate less incumbent.
        memory: MiB that the candidate holds.
    """

    accepted: bool
    reasons: tuple[str, ...] = ()
    holdout: int = 0
    auc: float | None = None
    incumbent_auc: float | None = None
    auc_z: float | None = None
    log_loss: float | None = None
    calibration: float | None = None
    incumbent_log_loss: float | None = None
    log_loss_z: float | None = None
    memory: float | None = None


def judge(
    candidate: Ranker,
    incumbent: Ranker | None,
    held_out: Log,
    limits: Limits,
    recorded: Requests | None = None,
) -> Verdict:
    """The verdict on `candidate`.

    Args:
        candidate: the newly trained model. incumbent: the one that serves now, if any.
        held_out: requests that the candidate was not trained on; without labels of both kinds nothing is
            compared, and without an acquisition only the dry run counts.
        limits: what it must keep to.
        recorded: requests of the dry run; those held out by default.
    """
    reasons, scores = dry_run(
        candidate,
        held_out.requests if recorded is None else recorded,
        limits.score_limit,
        limits.memory_limit,
    )
    labels, memory = held_out.labels, memory_of(candidate)
    if reasons or labels.size == 0:
        return Verdict(not reasons, tuple(reasons), int(labels.size), memory=memory)
    if recorded is not None:
        scores = np.asarray(candidate.score(held_out.requests), np.float64)
    return dataclasses.replace(_held_out(scores, incumbent, held_out, limits), memory=memory)


def dry_run(
    candidate: Ranker, requests: Requests, score_limit: float, memory_limit: float
) -> tuple[list[str], Array]:
    """What speaks against a model before any label is looked at, and its scores, float64[B, C].

    A weight that is not a number may be one that no recorded request meets, so weights are looked at too.

    Args:
        candidate: scores the recorded `requests`; its weights are those of its `arrays`, if it has any.
        score_limit, memory_limit: see `Limits`.
    """
    held = memory_of(candidate)
    if held is not None and held > memory_limit:
        return [f"dry run: the model holds {held:.0f} MiB, allowed are {memory_limit:g}"], np.zeros((0, 0))
    if broken := _not_finite(candidate):
        more = f" and {len(broken) - 1} more" if broken[1:] else ""
        return [f"dry run: numbers that are not finite in {broken[0]}{more}"], np.zeros((0, 0))
    scores = np.asarray(candidate.score(requests), np.float64)
    return _range(scores, requests.apps.shape, score_limit), scores


def memory_of(ranker: Ranker) -> float | None:
    """MiB that a ranker holds; None for one that does not state its `nbytes`."""
    held = getattr(ranker, "nbytes", None)
    return None if held is None else float(held) / 2**20


def _not_finite(ranker: Ranker) -> list[str]:
    """The names of a published model's arrays with a number that is not finite."""
    arrays = getattr(ranker, "arrays", None)
    if not isinstance(arrays, Mapping):
        return []
    return [
        name
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not np.isfinite(array).all()
    ]


def latency(ranker: Ranker, requests: Requests, tries: int = 15) -> float:
    """Milliseconds of one call with one of the recorded `requests`: the median, after a call to warm up."""
    one, times = requests.take(slice(0, 1)), []
    ranker.score(one)
    for _ in range(tries):
        started = time.perf_counter()
        ranker.score(one)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def _range(scores: Array, shape: tuple[int, ...], limit: float) -> list[str]:
    if scores.shape != shape:
        return [f"dry run: scores of shape {scores.shape} for candidates of shape {shape}"]
    broken = int((~np.isfinite(scores)).sum())
    if broken:
        return [f"dry run: {broken} of {scores.size} scores are not finite"]
    largest = float(np.abs(scores).max(initial=0.0))
    if largest > limit:
        return [f"dry run: a score of {largest:.1f} log odds, allowed are {limit:g}"]
    return []


def _held_out(scores: Array, incumbent: Ranker | None, held_out: Log, limits: Limits) -> Verdict:
    labels, odds = held_out.labels.ravel(), scores.ravel()
    calibration = _defined(evaluation.calibration(labels, odds))
    reasons = _calibrated(held_out.labels, scores, limits)
    auc, loss = _defined(evaluation.auc(labels, odds)), _defined(evaluation.log_loss(labels, odds))
    verdict = Verdict(False, (), int(labels.size), auc, None, None, loss, calibration)
    if auc is not None and incumbent is not None:
        users = np.repeat(held_out.requests.user_id, held_out.labels.shape[1])
        old = np.asarray(incumbent.score(held_out.requests), np.float64).ravel()
        paired = [
            _paired_auc(labels, odds, old, users, limits),
            _paired_log_loss(labels, odds, old, users, limits, held_out.labels.shape[1]),
        ]
        reasons += [reason for _, reason in paired if reason]
        for measured, _ in paired:
            verdict = dataclasses.replace(verdict, **measured)
    return dataclasses.replace(verdict, accepted=not reasons, reasons=tuple(reasons))


def _calibrated(labels: Array, scores: Array, limits: Limits) -> list[str]:
    """What speaks against the level of the scores: those of the top position, and all, are out of range.

    Scores are of the top position, which is seen most: over all positions a right model predicts too much, by
    how far users look. At the top alone there are few acquisitions, so both must be out.
    """
    whole = evaluation.calibration(labels.ravel(), scores.ravel())
    top = evaluation.calibration(labels[:, 0], scores[:, 0])
    known = [found for found in (whole, top) if math.isfinite(found)]
    if not known or any(limits.calibration_min <= found <= limits.calibration_max for found in known):
        return []
    words = f"{limits.calibration_min:g} to {limits.calibration_max:g}"
    return [f"holdout: predicted over observed acquisitions is {known[0]:.2f}, allowed are {words}"]


def _paired_auc(labels: Array, odds: Array, old: Array, users: Array, limits: Limits) -> tuple[Measured, str]:
    test = evaluation.paired_test(evaluation.clustered_auc(labels, np.stack([odds, old]), users))
    auc, z = evaluation.auc(labels, odds), _defined(test.z)
    before, loss, reason = auc - test.difference, -test.difference, ""
    if loss > limits.auc_margin and z is not None and z < ndtri(limits.alpha):
        reason = (
            f"holdout: AUC {auc:.4f} against the incumbent's {before:.4f}, a loss of {loss:.4f} (z {z:.2f}); "
            f"allowed is {limits.auc_margin:g}"
        )
    return {"incumbent_auc": before, "auc_z": z}, reason


def _paired_log_loss(
    labels: Array, odds: Array, old: Array, users: Array, limits: Limits, positions: int
) -> tuple[Measured, str]:
    """The z test of the mean difference of two losses on the same impressions, users independent.

    Scores are of the top position. Over all positions a model that promises too little has the lower loss
    where users do not look far, so only a rise at the top as well (every `positions`-th impression) counts.
    """
    worse = (np.logaddexp(0, odds) - labels * odds) - (np.logaddexp(0, old) - labels * old)
    difference, n = float(worse.mean()), len(worse)
    _, user = np.unique(users, return_inverse=True)
    by_user = np.bincount(user, worse - difference)
    G = len(by_user)
    se = math.sqrt(float(by_user @ by_user) * G / (G - 1)) / n if G > 1 else 0.0
    z = difference / se if se > 0 else None
    now, before = evaluation.log_loss(labels, odds), evaluation.log_loss(labels, old)
    reason = ""
    at_top = float(worse[::positions].mean())
    if min(difference, at_top) > limits.log_loss_margin and z is not None and z > -ndtri(limits.alpha):
        reason = (
            f"holdout: log loss {now:.4f} against the incumbent's {before:.4f}, a rise of {difference:.4f} "
            f"(z {z:.2f}); allowed is {limits.log_loss_margin:g}"
        )
    return {"incumbent_log_loss": before, "log_loss_z": z}, reason


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
