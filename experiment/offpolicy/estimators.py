"""Estimates of a deterministic ranker's acquisition rate from the log of another, exploring one. Pure.

An impression counts with weight w = (target's exposure of its app) / (logging policy's), in one of two ways.
*Item-position*: the app at its own position, 1{target puts it there} / propensity; right whatever the
positions do. *Position-based*: exposure is summed over all positions with their examination theta,
theta_{target's position} / sum_p theta_p propensity(app at p); right if acquisition is examination times
relevance, and of far lower variance. Sources: Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen 2018,
"Offline evaluation of ranking policies with click models"; Swaminathan and Joachims 2015 (self-normalised);
Dudik, Langford and Li 2011 (doubly robust).

Letters in shapes: B requests, S positions. Requests are independent: a user visits at most once a day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from simulator.schema import Array

SMALLEST = float(np.finfo(np.float32).tiny)
"""Of a logged propensity: what was shown had a chance, and 0 is what the log's float32 rounds it to."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ranker's acquisition rate.

    Attributes:
        rate: acquisitions per impression. se: its standard error.
        values: float64[B], a request's part; their mean is `rate`, and two rankers' are paired.
    """

    rate: float
    se: float
    values: Array


@dataclass(frozen=True, slots=True)
class Support:
    """How much of the log speaks of the target.

    Attributes:
        matched_share: of the impressions, with a weight above 0.
        effective_sample: (sum w)^2 / sum w^2, in impressions; 0 without a match.
        largest: weight before clipping. clipped_share: of the impressions with a weight.
    """

    matched_share: float
    effective_sample: float
    largest: float
    clipped_share: float


def item_weights(matched: Array, propensities: Array) -> Array:
    """Item-position weights float64[B, S].

    Args:
        matched: bool[B, S], whether the target shows the logged app at its position.
        propensities: float[B, S], chance of the app to be logged there.
    """
    return np.where(matched, 1.0 / np.maximum(propensities.astype(np.float64), SMALLEST), 0.0)


def position_weights(places: Array, chances: Array, theta: Array) -> Array:
    """Position-based weights float64[B, S].

    Args:
        places: int[B, S], the target's position of each logged app, -1 where it does not show it.
        chances: float[B, S, S], chance of each logged app to be logged at each position.
        theta: float64[S], examination of the positions, 1 at the top.
    """
    exposure = np.where(places >= 0, theta[np.maximum(places, 0)], 0.0)
    return np.asarray(exposure / np.maximum(chances.astype(np.float64) @ theta, SMALLEST))


def clipped(weights: Array, limit: float | None) -> tuple[Array, Support]:
    """`weights` cut at `limit` (None: not at all), and what they rest on.

    Cutting lowers the variance, and the estimate where the target likes what was hardly ever shown.
    """
    cut = weights if limit is None else np.minimum(weights, limit)
    matched = int((weights > 0).sum())
    squares = float(np.square(cut).sum())
    above = 0 if limit is None else int((weights > limit).sum())
    return cut, Support(
        matched / max(weights.size, 1),
        float(cut.sum()) ** 2 / squares if squares else 0.0,
        float(weights.max(initial=0.0)),
        above / max(matched, 1),
    )


def ips(labels: Array, weights: Array) -> Estimate:
    """Inverse propensity: mean of w y. `labels` int[B, S], `weights` float64[B, S]."""
    return _of((weights * labels).mean(axis=1))


def snips(labels: Array, weights: Array, theta: Array) -> Estimate:
    """Self-normalised: divided by the mean of w theta, which would be the mean of theta. `theta` float64[S].

    The part of a request is linearised, so that the standard error is that of a ratio. NaN without a match.
    """
    count = (weights * theta).mean(axis=1) / theta.mean()
    whole = count.mean()
    if not whole > 0:
        return Estimate(math.nan, math.nan, np.full(len(labels), math.nan))
    value = (weights * labels).mean(axis=1)
    rate = value.mean() / whole
    return _of(rate + (value - rate * count) / whole)


def direct(predicted_target: Array) -> Estimate:
    """Direct method: what a model of acquisition says of the target's slates, float64[B, S]."""
    return _of(predicted_target.mean(axis=1))


def doubly_robust(
    labels: Array, weights: Array, predicted_logged: Array, predicted_target: Array
) -> Estimate:
    """The direct method, corrected by the weighted errors of its model on the log; all [B, S]."""
    return _of((predicted_target + weights * (labels - predicted_logged)).mean(axis=1))


def lift(
    treatment: Estimate, control: Estimate, alpha: float = 0.05
) -> tuple[float | None, tuple[float, float] | None]:
    """The lift and its interval of level 1 - alpha, paired by request; None where undefined."""
    a, b = treatment.rate, control.rate
    if not (a > 0 and b > 0):
        return None, None
    found = a / b - 1.0
    n = len(control.values)
    if n < 2:
        return found, None
    se = float((treatment.values / a - control.values / b).std(ddof=1)) / math.sqrt(n)
    half = float(ndtri(1.0 - alpha / 2.0)) * se
    return found, ((1.0 + found) * math.exp(-half) - 1.0, (1.0 + found) * math.exp(half) - 1.0)


def decay_of(labels: Array, predicted: Array) -> tuple[float, float]:
    """(scale k, decay d) such that acquisitions at position s are about k exp(-d s) times what was predicted.

    A Poisson regression on the S positions; (1, 0) without acquisitions.

    Args:
        labels, predicted: float64[S], sums over requests of labels and of predicted probabilities.
    """
    if not (labels.sum() > 0 and (predicted > 0).all()):
        return 1.0, 0.0
    place = np.arange(len(labels), dtype=np.float64)
    design = np.stack([np.ones_like(place), -place], axis=1)
    found = np.array([math.log(labels.sum() / predicted.sum()), 0.0])
    for _ in range(25):
        mean = predicted * np.exp(design @ found)
        step = np.linalg.lstsq(design.T @ (design * mean[:, None]), design.T @ (labels - mean), rcond=None)[0]
        found = found + step
        if np.abs(step).max() < 1e-12:
            break
    return math.exp(found[0]), float(found[1])


def _of(values: Array) -> Estimate:
    n = len(values)
    se = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(float(values.mean()) if n else math.nan, se, values)
