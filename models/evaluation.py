"""Offline evaluation of rankers: AUC with its variance, per-request AUC, NDCG, log loss, calibration.

Arrays of labels and scores have one entry per impression and any equal shape: [impressions], or [B, S] for B
requests of S shown apps. Scores are log odds where a probability is needed and otherwise only an order.
Undefined is NaN: what is missing is said at each function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Aucs:
    """AUCs of M rankers on the same impressions.

    Attributes:
        auc: [M]; NaN without both classes.
        covariance: [M, M], of the estimates; NaN where there are fewer than two positives, negatives or
            clusters of either to learn it from.
        method: "DeLong", or "Obuchowski" where impressions are clustered by user.
    """

    auc: Floats
    covariance: Floats
    method: str

    @property
    def se(self) -> Floats:
        """Standard errors, [M]; NaN as the covariance."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 0))

    def ci(self, alpha: float = 0.05) -> Floats:
        """[M, 2], normal intervals with coverage 1 - alpha, within [0, 1]; NaN as the covariance."""
        from scipy.special import ndtri

        half = float(ndtri(1 - alpha / 2)) * self.se
        return np.clip(np.stack([self.auc - half, self.auc + half], axis=-1), 0, 1)


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two rankers' AUCs on the same impressions.

    Attributes:
        difference: first less second; NaN without both classes.
        se: its standard error, the covariance of the two taken into account; NaN as `Aucs.covariance`.
        z: difference / se; NaN where se is 0 or NaN (0 where the rankers order alike).
        p_value: two-sided; NaN as z, 1 where the rankers order alike.
    """

    difference: float
    se: float
    z: float
    p_value: float


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationCurve:
    """Predicted against observed in bins of equal numbers of impressions, ascending.

    Attributes:
        predicted: [bins], mean probability.
        observed: [bins], mean label.
        impressions: int64[bins], at least 1.
    """

    predicted: Floats
    observed: Floats
    impressions: NDArray[np.int64]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive outscores a negative, ties counting half.

    Mann & Whitney (1947), with midranks. NaN without both classes. Raises ValueError for labels other
    than 0 and 1, NaN scores and unequal shapes.
    """
    y, s = _binary(labels, scores)
    return _weighted_auc(y, 1 - y, s)


def expected_auc(probabilities: ArrayLike, scores: ArrayLike) -> float:
    """AUC of probabilities: each impression counts p as a positive and 1 - p as a negative.

    The same thing as `auc` with the coin's noise taken out, up to the pairs of an impression with itself,
    which count half. NaN where all p are 0 or all are 1. Raises ValueError for p outside [0, 1], NaN scores
    and unequal shapes.
    """
    p, s = _checked(probabilities, scores)
    return _weighted_auc(p, 1 - p, s)


def delong(labels: ArrayLike, scores: ArrayLike) -> Aucs:
    """AUCs of M rankers and their covariance, for independent impressions.

    DeLong, DeLong & Clarke-Pearson (1988), by the midranks of Sun & Xu (2014).

    Args:
        labels: [n], 0 or 1.
        scores: [M, n], or [n] for one ranker.

    Raises:
        ValueError: for labels other than 0 and 1, NaN scores and unequal shapes.
    """
    y, placements = _placements(labels, scores)
    positive = y == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        area = placements[:, positive].sum(axis=1) / positive.sum()
        covariance = _share(placements[:, positive]) + _share(placements[:, ~positive])
    return Aucs(area, covariance, "DeLong")


def clustered_auc(labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> Aucs:
    """AUCs of M rankers and their covariance, for impressions clustered by user: Obuchowski (1997).

    Args:
        labels: [n], 0 or 1.
        scores: [M, n], or [n] for one ranker.
        users: [n], any ids; impressions of one user may depend on each other, users are independent.

    Raises:
        ValueError: for labels other than 0 and 1, NaN scores and unequal shapes.
    """
    y, placements = _placements(labels, scores)
    positive = y == 1
    ids = np.asarray(users).ravel()
    if ids.shape != y.shape:
        raise ValueError(f"users: got {ids.size} for {y.size} labels, one per label is allowed")
    _, at = np.unique(ids, return_inverse=True)
    clusters = int(at.max(initial=-1)) + 1
    m, n = int(positive.sum()), int(y.size - positive.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        area = placements[:, positive].sum(axis=1) / np.float64(m)
        deviations = placements - area[:, None]
        of_positives = _cluster_sums(deviations * positive, at, clusters)
        of_negatives = _cluster_sums(deviations * ~positive, at, clusters)
        with_positives = np.float64((np.bincount(at[positive], minlength=clusters) > 0).sum())
        with_negatives = np.float64((np.bincount(at[~positive], minlength=clusters) > 0).sum())
        both = of_positives @ of_negatives.T * (clusters / np.float64(clusters - 1)) / (m * n or np.nan)
        covariance = (
            of_positives @ of_positives.T * (with_positives / (with_positives - 1)) / np.float64(m) ** 2
            + of_negatives @ of_negatives.T * (with_negatives / (with_negatives - 1)) / np.float64(n) ** 2
            + both
            + both.T
        )
    covariance[~np.isfinite(covariance)] = np.nan
    return Aucs(area, covariance, "Obuchowski")


def paired_test(aucs: Aucs, first: int = 0, second: int = 1) -> PairedTest:
    """The difference of two of the rankers' AUCs, `first` less `second`, by the z test."""
    from scipy.special import ndtr

    difference = float(aucs.auc[first] - aucs.auc[second])
    c = aucs.covariance
    scale = float(c[first, first] + c[second, second])
    variance = scale - 2 * float(c[first, second])
    if variance <= 1e-12 * scale:  # rounding of two rankers that order alike
        variance = 0.0
    se = float(np.sqrt(variance))
    if se == 0 and abs(difference) < 1e-12:
        return PairedTest(difference, se, 0.0, 1.0)
    z = difference / se if se > 0 else np.nan
    return PairedTest(difference, se, z, float(2 * ndtr(-abs(z))))


def gauc(labels: ArrayLike, scores: ArrayLike, requests: ArrayLike | None = None) -> float:
    """Per-request AUC: the AUC within each request, averaged with its impressions as weights.

    Only requests with both a positive and a negative count (Zhu et al. 2017, with requests for users). It
    says how well apps are ordered within a visit, and nothing of who installs and when.

    Args:
        labels: [n] or [B, S], 0 or 1.
        scores: of the same shape.
        requests: [n], the request of each impression; by default each row of [B, S] is one.

    Returns:
        NaN where no request has both classes.

    Raises:
        ValueError: for labels other than 0 and 1, NaN scores and unequal shapes.
    """
    y, s = _binary(labels, scores)
    at = _request_ids(labels, requests)
    if not 0 < y.sum() < len(y):
        return float("nan")
    order = np.lexsort((s, at))
    y, s, at = y[order], s[order], at[order]
    block = _blocks(at[1:] != at[:-1], s[1:] != s[:-1])
    groups = int(at[-1]) + 1
    positives, negatives = np.bincount(at, y, groups), np.bincount(at, 1 - y, groups)
    tied_positives, tied_negatives = np.bincount(block, y), np.bincount(block, 1 - y)
    owner = at[np.flatnonzero(np.r_[True, block[1:] != block[:-1]])]
    below = np.cumsum(tied_negatives) - tied_negatives - (np.cumsum(negatives) - negatives)[owner]
    wins = np.bincount(owner, tied_positives * (below + 0.5 * tied_negatives), groups)
    fine = (positives > 0) & (negatives > 0)
    if not fine.any():
        return float("nan")
    pairs = positives[fine] * negatives[fine]
    return float(np.average(wins[fine] / pairs, weights=(positives + negatives)[fine]))


def examined_gauc(labels: ArrayLike, scores: ArrayLike, examination: ArrayLike) -> float:
    """Per-request AUC of what users would acquire of apps that they looked at.

    In `gauc` an app that stood high counts as the better one, since it was seen: a ranker that agrees with
    the logging one gets credit for that. Here a pair of apps of a request counts y / theta of the first as a
    positive and 1 - y / theta of the second as a negative, without bias where acquisition is examination
    times relevance; pairs are pooled over requests, since those weights may be below 0.

    Args:
        labels: [B, S], 0 or 1, by position.
        scores: [B, S].
        examination: [S], theta above 0.

    Returns:
        Within 0 to 1; NaN where the pairs' weights do not sum to more than 0.

    Raises:
        ValueError: as `gauc`, and for a theta that is not above 0.
    """
    _binary(labels, scores)
    y, s, theta = np.asarray(labels, np.float64), np.asarray(scores, np.float64), np.asarray(examination)
    if y.ndim != 2 or theta.shape != y.shape[1:] or not (theta > 0).all():
        raise ValueError(
            f"examination: got {theta.tolist()} for labels {y.shape}, one above 0 per position is allowed"
        )
    positive, S = y / theta, y.shape[1]
    negative = 1 - positive
    won = np.float64(0)
    for i in range(S):
        for j in range(S):
            if i != j:
                order = 0.5 * (1 + np.sign(s[:, i] - s[:, j]))
                won += (positive[:, i] * negative[:, j]) @ order
    pairs = float((positive.sum(1) * negative.sum(1) - (positive * negative).sum(1)).sum())
    return float(np.clip(won / pairs, 0, 1)) if pairs > 0 else float("nan")


def ndcg(labels: ArrayLike, scores: ArrayLike, requests: ArrayLike | None = None, k: int = 10) -> float:
    """NDCG@k with gains of 0 or 1, averaged over requests that have a positive.

    Järvelin & Kekäläinen (2002); tied apps share their positions' discounts (McSherry & Najork 2008).

    Args:
        labels: [n] or [B, S], 0 or 1.
        scores: of the same shape.
        requests: [n], the request of each impression; by default each row of [B, S] is one.
        k: positions that count.

    Returns:
        NaN where no request has a positive.

    Raises:
        ValueError: for labels other than 0 and 1, NaN scores, unequal shapes, and a k below 1.
    """
    if k < 1:
        raise ValueError(f"k: got {k}, at least 1 is allowed")
    y, s = _binary(labels, scores)
    at = _request_ids(labels, requests)
    if not y.any():
        return float("nan")
    order = np.lexsort((-s, at))
    y, s, at = y[order], s[order], at[order]
    block = _blocks(at[1:] != at[:-1], s[1:] != s[:-1])
    size = np.bincount(at)
    discounts = np.zeros(int(size.max()) + 1)
    depth = min(k, len(discounts) - 1)
    discounts[1 : depth + 1] = 1 / np.log2(np.arange(depth) + 2)
    reached = np.cumsum(discounts)  # reached[r]: sum of the first r positions' discounts
    start = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
    length = np.diff(np.r_[start, len(y)])
    rank = start - (np.cumsum(size) - size)[at[start]]
    shared = (reached[rank + length] - reached[rank]) / length
    gain = np.bincount(at, y * shared[block])
    positives = np.bincount(at, y).astype(np.intp)
    fine = positives > 0
    return float(np.mean(gain[fine] / reached[positives[fine]]))


def log_loss(labels: ArrayLike, log_odds: ArrayLike) -> float:
    """Mean negative log likelihood, in nats per impression; NaN without impressions.

    Infinite log odds cost 0 where they are right, and infinitely much where they are not.
    `labels` may be probabilities: that is the expected loss. Raises ValueError for labels outside [0, 1],
    NaN log odds and unequal shapes.
    """
    y, s = _checked(labels, log_odds)
    sure = np.isinf(s)
    if sure.any():  # in the formula these are inf - inf
        if (y[sure] != (s[sure] > 0)).any():
            return float("inf")
        return float(np.sum(np.logaddexp(0, s[~sure]) - y[~sure] * s[~sure]) / len(y))
    return float(np.mean(np.logaddexp(0, s) - y * s)) if len(y) else float("nan")


def calibration(labels: ArrayLike, log_odds: ArrayLike) -> float:
    """Sum of predicted probabilities over sum of labels (or of true probabilities): 1 is calibrated.

    NaN where the labels sum to 0. Raises ValueError as `log_loss`.
    """
    from scipy.special import expit

    y, s = _checked(labels, log_odds)
    observed = float(y.sum())
    return float(expit(s).sum()) / observed if observed > 0 else float("nan")


def calibration_curve(labels: ArrayLike, log_odds: ArrayLike, bins: int = 10) -> CalibrationCurve:
    """Predicted against observed in up to `bins` bins of equally many impressions, ascending by score.

    Equal scores may fall into neighbouring bins; in the order given. Raises ValueError as `log_loss`, and for
    fewer than 1 bins.
    """
    from scipy.special import expit

    if bins < 1:
        raise ValueError(f"bins: got {bins}, at least 1 is allowed")
    y, s = _checked(labels, log_odds)
    order = np.argsort(s, kind="stable")
    edges = np.unique(np.linspace(0, len(s), bins + 1).round().astype(np.intp))
    starts, counts = edges[:-1], np.diff(edges)
    if not len(starts):
        return CalibrationCurve(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    predicted = np.add.reduceat(expit(s[order]), starts) / counts
    return CalibrationCurve(predicted, np.add.reduceat(y[order], starts) / counts, counts.astype(np.int64))


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    y, s = np.asarray(labels), np.asarray(scores)
    if y.shape != s.shape:
        raise ValueError(f"scores: got shape {s.shape} for labels {y.shape}, equal shapes are allowed")
    y, s = y.ravel().astype(np.float64), s.ravel().astype(np.float64)
    if not ((y >= 0) & (y <= 1)).all():
        raise ValueError("labels: got values outside 0 to 1 or NaN, numbers from 0 to 1 are allowed")
    if np.isnan(s).any():
        raise ValueError("scores: got NaN, numbers are allowed")
    return y, s


def _binary(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    y, s = _checked(labels, scores)
    if ((y != 0) & (y != 1)).any():
        raise ValueError("labels: got values between 0 and 1, 0 and 1 are allowed")
    return y, s


def _request_ids(labels: ArrayLike, requests: ArrayLike | None) -> Integers:
    """Codes 0 .. of each impression's request, in the order of the flattened labels."""
    shape = np.shape(labels)
    if requests is None:
        if len(shape) != 2:
            raise ValueError(f"requests: got none for labels {shape}, needed unless they are [B, S]")
        return np.repeat(np.arange(shape[0]), shape[1])
    ids = np.asarray(requests).ravel()
    if ids.size != np.size(labels):
        raise ValueError(f"requests: got {ids.size} for {np.size(labels)} labels, one per label is allowed")
    return np.unique(ids, return_inverse=True)[1]


def _blocks(*changes: NDArray[np.bool_]) -> Integers:
    """Running number of blocks in sorted data: a new one starts wherever any key changes."""
    first = np.zeros(1, dtype=np.intp)
    return np.concatenate([first, np.cumsum(np.logical_or.reduce(changes))]).astype(np.intp)


def _weighted_auc(positive: Floats, negative: Floats, scores: Floats) -> float:
    """AUC with a weight of each entry as a positive and as a negative, ties counting half."""
    whole = positive.sum() * negative.sum()
    if not whole > 0:
        return float("nan")
    order = np.argsort(scores)
    s = scores[order]
    starts = np.flatnonzero(np.r_[True, s[1:] != s[:-1]])
    up, down = np.add.reduceat(positive[order], starts), np.add.reduceat(negative[order], starts)
    below = np.cumsum(down) - down
    return float(np.sum(up * (below + 0.5 * down)) / whole)


def _placements(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Labels [n] and placements [M, n]: of a positive the share of negatives below it, and the reverse."""
    y = np.asarray(labels)
    rows = np.atleast_2d(np.asarray(scores))
    if y.ndim != 1 or rows.ndim != 2:
        raise ValueError(f"scores: got shape {rows.shape} for labels {y.shape}, [M, n] for [n] is allowed")
    return _binary(y, rows[0])[0], np.stack([_placement(*_binary(y, row)) for row in rows])


def _placement(y: Floats, s: Floats) -> Floats:
    order = np.argsort(s)
    block = _blocks(s[order][1:] != s[order][:-1])[: len(s)]
    up, down = np.bincount(block, y[order]), np.bincount(block, 1 - y[order])
    with np.errstate(invalid="ignore", divide="ignore"):
        below = (np.cumsum(down) - 0.5 * down) / down.sum()
        above = 1 - (np.cumsum(up) - 0.5 * up) / up.sum()
    result = np.empty_like(s)
    result[order] = np.where(y[order] == 1, below[block], above[block])
    return result


def _share(placements: Floats) -> Floats:
    """Covariance of the mean of placements [M, n] over n independent ones; NaN for fewer than two."""
    n = placements.shape[1]
    deviations = placements - placements.mean(axis=1, keepdims=True) if n else placements
    return np.asarray(deviations @ deviations.T / (n * (n - 1) if n > 1 else np.nan), dtype=np.float64)


def _cluster_sums(values: Floats, at: Integers, clusters: int) -> Floats:
    return np.stack([np.bincount(at, row, clusters) for row in values])
