"""Offline evaluation against scikit-learn, brute force and simulation."""

import numpy as np
import pytest
from sklearn import metrics

from models.evaluation import (
    auc,
    calibration,
    calibration_curve,
    clustered_auc,
    delong,
    examined_gauc,
    expected_auc,
    gauc,
    log_loss,
    ndcg,
    paired_test,
)


def impressions(rng, n=2000, levels=40):
    """Labels and scores with many ties."""
    scores = rng.integers(0, levels, n) / 8 - 4
    return (rng.random(n) < 1 / (1 + np.exp(-scores))).astype(np.int8), scores


def test_auc_equals_scikit_learn_with_ties():
    labels, scores = impressions(np.random.default_rng(1))
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


def test_auc_counts_pairs_and_half_ties():
    assert auc([0, 0, 1, 1], [1.0, 2.0, 2.0, 3.0]) == (1 + 0.5 + 1 + 1) / 4
    assert auc([0, 1], [-np.inf, np.inf]) == 1
    assert auc([0, 1], [np.inf, np.inf]) == 0.5


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_auc_without_both_classes_is_nan(labels):
    scores = np.arange(len(labels), dtype=float)
    assert np.isnan(auc(labels, scores))
    assert np.isnan(expected_auc(labels, scores))
    assert np.isnan(gauc(labels, scores, np.zeros(len(labels))))
    result = delong(labels, scores)
    assert np.isnan(result.auc).all()
    assert np.isnan(result.covariance).all()
    assert np.isnan(clustered_auc(labels, scores, np.zeros(len(labels))).auc).all()


def test_expected_auc_is_scikit_learns_with_each_impression_twice():
    rng = np.random.default_rng(2)
    p, (_, scores) = rng.random(500), impressions(rng, 500)
    twice = metrics.roc_auc_score(
        np.repeat([1, 0], 500), np.tile(scores, 2), sample_weight=np.concatenate([p, 1 - p])
    )
    assert expected_auc(p, scores) == pytest.approx(twice, abs=1e-12)


def test_expected_auc_is_the_mean_of_the_realised_ones():
    rng = np.random.default_rng(3)
    p = rng.beta(1, 9, 3000)
    scores = np.log(p) + rng.normal(0, 0.7, 3000)
    realised = [auc((rng.random(3000) < p).astype(int), scores) for _ in range(200)]
    assert expected_auc(p, scores) == pytest.approx(
        np.mean(realised), abs=4 * np.std(realised) / 200**0.5 + 1e-3
    )


def brute_delong(labels, scores):
    """Covariance straight from the definition: kernel matrices over all pairs."""
    v10, v01 = [], []
    for row in scores:
        gap = row[labels == 1][:, None] - row[labels == 0][None, :]
        kernel = (gap > 0) + 0.5 * (gap == 0)
        v10.append(kernel.mean(axis=1))
        v01.append(kernel.mean(axis=0))
    return np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


def test_delong_equals_its_definition():
    rng = np.random.default_rng(4)
    labels, first = impressions(rng, 400)
    scores = np.stack([first, first + rng.integers(-4, 5, 400) / 4])
    result = delong(labels, scores)
    assert result.auc == pytest.approx([metrics.roc_auc_score(labels, s) for s in scores])
    assert result.covariance == pytest.approx(brute_delong(labels, scores), rel=1e-10)


def test_one_impression_per_user_gives_delong_but_for_the_classes_cross_term():
    rng = np.random.default_rng(5)
    labels, scores = impressions(rng, 3000)
    clustered = clustered_auc(labels, scores, np.arange(3000)[::-1])
    assert clustered.covariance == pytest.approx(delong(labels, scores).covariance, rel=1e-9)


def brute_obuchowski(labels, scores, users):
    """The variance of one AUC by Obuchowski's formulas, user by user."""
    x, y = scores[labels == 1], scores[labels == 0]
    ux, uy = users[labels == 1], users[labels == 0]
    kernel = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    theta, v10, v01 = kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)
    everyone = np.unique(users)
    a = np.array([(v10[ux == u] - theta).sum() for u in everyone])
    b = np.array([(v01[uy == u] - theta).sum() for u in everyone])
    m, n, i = len(x), len(y), len(everyone)
    i10, i01 = len(np.unique(ux)), len(np.unique(uy))
    s10, s01 = i10 / ((i10 - 1) * m) * (a @ a), i01 / ((i01 - 1) * n) * (b @ b)
    return s10 / m + s01 / n + 2 * (i / (i - 1) * (a @ b)) / (m * n)


def test_clustered_variance_equals_obuchowskis_formulas():
    rng = np.random.default_rng(6)
    labels, scores = impressions(rng, 600)
    users = rng.integers(0, 60, 600)
    assert clustered_auc(labels, scores, users).covariance[0, 0] == pytest.approx(
        brute_obuchowski(labels, scores, users), rel=1e-10
    )


def test_clustered_intervals_cover_where_delongs_do_not():
    rng = np.random.default_rng(7)
    users = np.repeat(np.arange(150), 20)
    covered = np.zeros(2)
    replays = 400
    draws = []
    for _ in range(replays):
        propensity = np.repeat(rng.normal(0, 1.5, 150), 20)  # who installs, whatever is shown
        taste = rng.normal(0, 1, 3000)
        labels = (rng.random(3000) < 1 / (1 + np.exp(2 - propensity - taste))).astype(int)
        scores = propensity + 0.5 * taste
        draws.append((delong(labels, scores), clustered_auc(labels, scores, users)))
    truth = np.mean([d.auc[0] for d, _ in draws])
    for pair in draws:
        for i, result in enumerate(pair):
            lower, upper = result.ci()[0]
            covered[i] += lower <= truth <= upper
    assert covered[0] / replays < 0.9
    assert 0.91 < covered[1] / replays < 0.98


def test_paired_test_holds_its_level_and_knows_equal_orders():
    rng = np.random.default_rng(8)
    users = np.repeat(np.arange(200), 5)
    rejected = 0
    for _ in range(400):
        taste = rng.normal(0, 1, 1000) + np.repeat(rng.normal(0, 1, 200), 5)
        labels = (rng.random(1000) < 1 / (1 + np.exp(1 - taste))).astype(int)
        scores = taste + rng.normal(0, 1, (2, 1000))
        rejected += paired_test(clustered_auc(labels, scores, users)).p_value < 0.05
    assert 0.02 < rejected / 400 < 0.09
    alike = paired_test(delong(labels, np.stack([scores[0], 3 * scores[0] + 1])))
    assert (alike.difference, alike.p_value) == (0, 1)


def test_swapping_the_rankers_turns_the_difference_around():
    rng = np.random.default_rng(9)
    labels, first = impressions(rng)
    result = delong(labels, np.stack([first, first + rng.normal(0, 2, 2000)]))
    there, back = paired_test(result), paired_test(result, 1, 0)
    assert there.difference == -back.difference > 0
    assert there.p_value == back.p_value


def test_gauc_is_the_weighted_mean_of_requests_with_both_classes():
    rng = np.random.default_rng(10)
    requests = np.sort(rng.integers(0, 200, 1500))
    labels, scores = impressions(rng, 1500)
    areas, weights = [], []
    for request in np.unique(requests):
        mine = requests == request
        if 0 < labels[mine].sum() < mine.sum():
            areas.append(metrics.roc_auc_score(labels[mine], scores[mine]))
            weights.append(mine.sum())
    mixed = rng.permutation(1500)
    expected = np.average(areas, weights=weights)
    assert gauc(labels, scores, requests) == pytest.approx(expected)
    assert gauc(labels[mixed], scores[mixed], requests[mixed]) == pytest.approx(expected)


def test_gauc_of_a_matrix_takes_each_row_as_a_request():
    rng = np.random.default_rng(11)
    labels, scores = impressions(rng)
    rows = np.repeat(np.arange(200), 10)
    assert gauc(labels.reshape(200, 10), scores.reshape(200, 10)) == gauc(labels, scores, rows)


def test_gauc_ignores_what_is_the_same_for_a_whole_request():
    rng = np.random.default_rng(12)
    labels, scores = impressions(rng)
    labels, scores = labels.reshape(200, 10), scores.reshape(200, 10)
    shift = rng.integers(-50, 50, (200, 1))
    assert gauc(labels, scores + shift) == pytest.approx(gauc(labels, scores), abs=1e-12)


def test_examined_gauc_without_examination_pools_the_pairs_of_gauc():
    rng = np.random.default_rng(13)
    labels, scores = impressions(rng)
    labels, scores = labels.reshape(200, 10), scores.reshape(200, 10)
    pairs = labels.sum(1) * (10 - labels.sum(1))
    areas = [gauc(labels[[b]], scores[[b]]) for b in range(200)]
    expected = np.nansum(areas * pairs) / pairs.sum()
    assert examined_gauc(labels, scores, np.ones(10)) == pytest.approx(expected)


def test_examined_gauc_finds_what_users_would_acquire_wherever_it_stood():
    """A ranker that repeats the logging one's order gains nothing, and a right one loses nothing."""
    rng = np.random.default_rng(14)
    B, S = 60_000, 6
    odds = rng.normal(-1, 1.2, (B, S))
    shown = np.argsort(-(odds + rng.normal(0, 2, (B, S))), axis=1)
    odds = np.take_along_axis(odds, shown, 1)
    chance = 1 / (1 + np.exp(-odds))
    theta = np.exp(-0.4 * np.arange(S))
    labels = (rng.random((B, S)) < theta * chance).astype(np.int8)
    whole = (rng.random((B, S)) < chance).astype(np.int8)
    for scores in (odds, odds + rng.normal(0, 1, (B, S)), np.tile(-np.arange(S), (B, 1))):
        wanted = examined_gauc(whole, scores, np.ones(S))
        assert examined_gauc(labels, scores, theta) == pytest.approx(wanted, abs=0.01)
    assert gauc(labels, np.tile(-np.arange(S), (B, 1))) > wanted + 0.05


def test_examined_gauc_of_nothing_is_nan_and_a_theta_of_0_is_refused():
    assert np.isnan(examined_gauc(np.zeros((3, 2)), np.zeros((3, 2)), [1, 1]))
    with pytest.raises(ValueError, match=r"^examination: got \[1, 0\] for labels \(3, 2\), one above 0 per"):
        examined_gauc(np.zeros((3, 2)), np.zeros((3, 2)), [1, 0])


@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_ndcg_equals_scikit_learn(k):
    rng = np.random.default_rng(13)
    labels = (rng.random((300, 12)) < 0.15).astype(int)
    scores = rng.integers(0, 6, (300, 12)).astype(float)
    some = labels.any(axis=1)
    expected = metrics.ndcg_score(labels[some], scores[some], k=k)
    assert ndcg(labels, scores, k=k) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(ndcg(np.zeros((3, 4)), np.ones((3, 4))))


def test_log_loss_and_calibration_equal_scikit_learn():
    rng = np.random.default_rng(14)
    labels, scores = impressions(rng)
    p = 1 / (1 + np.exp(-scores))
    assert log_loss(labels, scores) == pytest.approx(metrics.log_loss(labels, p))
    assert calibration(labels, scores) == pytest.approx(p.sum() / labels.sum())
    assert log_loss([1, 0], [800.0, -800.0]) == 0
    assert log_loss([1.0], [-800.0]) == 800
    assert np.isnan(log_loss([], []))
    assert np.isnan(calibration([0, 0], [0.0, 0.0]))


def test_calibration_curve_holds_all_impressions_in_equal_bins():
    rng = np.random.default_rng(15)
    scores = rng.normal(-2, 1, 1003)
    labels = (rng.random(1003) < 1 / (1 + np.exp(-scores))).astype(int)
    curve = calibration_curve(labels, scores)
    assert curve.impressions.sum() == 1003
    assert np.ptp(curve.impressions) <= 1
    assert (np.diff(curve.predicted) > 0).all()
    assert (curve.observed * curve.impressions).sum() == pytest.approx(labels.sum())
    assert len(calibration_curve([], []).predicted) == 0
    assert len(calibration_curve([1, 0, 1], [0.0, 1.0, 2.0]).predicted) == 3


def test_certainty_costs_nothing_where_it_is_right_and_everything_where_it_is_not():
    inf = float("inf")
    assert log_loss([1], [inf]) == log_loss([0], [-inf]) == 0
    assert log_loss([1, 0, 1], [inf, -inf, 0.0]) == pytest.approx(np.log(2) / 3)
    for label, odds in ((0, inf), (1, -inf), (0.5, inf), (0.5, -inf)):
        assert log_loss([1, label], [0.0, odds]) == inf


def test_positions_and_bins_below_1_are_refused():
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"^k: got {k}, at least 1 is allowed$"):
            ndcg([[0, 1]], [[0.0, 1.0]], k=k)
        with pytest.raises(ValueError, match=f"^bins: got {k}, at least 1 is allowed$"):
            calibration_curve([0, 1], [0.0, 1.0], bins=k)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.0, 1.0, 2.0], "scores: got shape (3,) for labels (2,), equal shapes are allowed"),
        ([0, 2], [0.0, 1.0], "labels: got values outside 0 to 1 or NaN, numbers from 0 to 1 are allowed"),
        (
            [0, np.nan],
            [0.0, 1.0],
            "labels: got values outside 0 to 1 or NaN, numbers from 0 to 1 are allowed",
        ),
        ([0, 0.5], [0.0, 1.0], "labels: got values between 0 and 1, 0 and 1 are allowed"),
        ([0, 1], [0.0, np.nan], "scores: got NaN, numbers are allowed"),
    ],
)
def test_bad_input_is_named(labels, scores, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        auc(labels, scores)
    assert str(error.value) == message
