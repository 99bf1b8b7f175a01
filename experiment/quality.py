"""How good scores are against a log, and against the truth behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from experiment.offpolicy.estimators import decay_of
from models import evaluation
from simulator.schema import Array, Log, Truth

LEAST_SEEN = 1e-3
"""Of the examination that a log is taken to show: of a few acquisitions, all at the top, it would be 0."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of S scores for each of B requests; undefined is None.

    Attributes:
        impressions: B * S.
        auc: of the labels. auc_ci: its 95% interval, user-clustered.
        expected_auc: of the true chances (each impression counts p as positive and 1 - p as negative).
        gauc: AUC within requests. ndcg: NDCG@10 within requests.
        log_loss: mean, nats, and calibration, predicted over observed acquisitions: at the top position, of
            which the scores are; over all positions examination would be counted as a fault.
        distinct_apps: shown. entropy: of the shown apps, in bits.
        gauc_examined: AUC within requests, the positions' examination divided out as the log shows it.
    """

    impressions: int
    auc: float | None
    auc_ci: tuple[float, float] | None
    expected_auc: float | None
    gauc: float | None
    ndcg: float | None
    log_loss: float | None
    calibration: float | None
    distinct_apps: int
    entropy: float
    gauc_examined: float | None = None


def assess(scores: Array, log: Log, truth: Truth) -> Quality:
    """The quality of `scores` float[B, S], log odds, on `log` and its `truth`, rows in the same order."""
    labels, chances, odds = log.labels, truth.probabilities, np.asarray(scores, np.float64)
    users = np.repeat(log.requests.user_id, labels.shape[1])
    clustered = evaluation.clustered_auc(labels.ravel(), odds.ravel(), users)
    shown = np.bincount(log.requests.apps.ravel())
    shares = shown[shown > 0] / max(labels.size, 1)
    return Quality(
        impressions=labels.size,
        auc=_defined(evaluation.auc(labels.ravel(), odds.ravel())),
        auc_ci=_interval(clustered),
        expected_auc=_defined(evaluation.expected_auc(chances.ravel(), odds.ravel())),
        gauc=_defined(evaluation.gauc(labels, odds)),
        ndcg=_defined(evaluation.ndcg(labels, odds)),
        log_loss=_defined(evaluation.log_loss(labels[:, :1], odds[:, :1])),
        calibration=_defined(evaluation.calibration(labels[:, :1], odds[:, :1])),
        distinct_apps=int((shown > 0).sum()),
        entropy=float(-(shares * np.log2(shares)).sum()),
        gauc_examined=_defined(evaluation.examined_gauc(labels, odds, _examination(log))),
    )


def _examination(log: Log) -> Array:
    """float64[S]: how much less users acquire at each position than the serving ranker's scores promise."""
    _, decay = decay_of(log.labels.sum(axis=0), expit(log.scores.astype(np.float64)).sum(axis=0))
    return np.asarray(np.maximum(np.exp(-decay * np.arange(log.labels.shape[1])), LEAST_SEEN))


def _interval(aucs: evaluation.Aucs) -> tuple[float, float] | None:
    low, high = (float(end) for end in aucs.ci()[0])
    return (low, high) if math.isfinite(low) else None


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
