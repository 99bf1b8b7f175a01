"""Slates: the best first, noise by keys, and propensities that are the slates' true frequencies."""

import numpy as np
import pytest
from scipy.special import softmax

from simulator import exploration


def _slates(scores, scale, draws, shown=4):
    C = len(scores)
    users = np.arange(draws)
    apps = np.tile(np.arange(C, dtype=np.int32), (draws, 1))
    days = np.ones(draws, np.int32)
    return exploration.slates(9, users, days, apps, np.tile(scores, (draws, 1)), shown, scale)


def test_without_noise_the_best_come_first_and_ties_go_to_the_earlier_column():
    scores = np.array([0.5, 2.0, 2.0, -1.0, 0.5], np.float32)
    assert _slates(scores, 0.0, 1)[0].tolist() == [1, 2, 0, 4]


def test_best_is_a_stable_sort_of_random_scores():
    scores = np.random.default_rng(1).integers(0, 20, (500, 60)).astype(np.float32)
    apps = np.tile(np.arange(60, dtype=np.int32), (500, 1))
    best = exploration.slates(0, np.arange(500), np.ones(500, np.int32), apps, scores, 10, 0.0)
    assert np.array_equal(best, np.argsort(-scores, axis=1, kind="stable")[:, :10])


def test_the_first_place_is_a_softmax_and_the_slate_follows_plackett_luce():
    scores = np.array([0.0, 0.4, 0.8, -0.3, 0.1, 1.2], np.float32)
    slates = _slates(scores, 0.5, 200_000)
    first = np.bincount(slates[:, 0], minlength=6) / len(slates)
    expected = softmax(scores / 0.5)
    assert np.abs(first - expected).max() < 0.005
    second = np.bincount(slates[slates[:, 0] == 5, 1], minlength=6) / (slates[:, 0] == 5).sum()
    rest = np.where(np.arange(6) == 5, 0, expected)
    assert np.abs(second - rest / rest.sum()).max() < 0.006


@pytest.mark.parametrize("scale", [0.1, 0.3, 2.0])
def test_propensities_are_the_frequencies_of_apps_at_their_positions(scale):
    scores = np.random.default_rng(3).normal(size=30).astype(np.float32)
    draws = 100_000
    slates = _slates(scores, scale, draws)
    counts = np.zeros((30, 4))
    for position in range(4):
        counts[:, position] = np.bincount(slates[:, position], minlength=30)
    propensities = exploration.propensities(np.tile(scores, (200, 1)), slates[:200], scale)
    observed = counts[slates[:200], np.arange(4)] / draws
    error = np.abs(propensities - observed) / np.sqrt(observed * (1 - observed) / draws + 1e-9)
    assert error.max() < 5


def test_propensities_of_all_apps_sum_to_one_at_each_position():
    scores = np.random.default_rng(4).normal(scale=3, size=(1, 12)).astype(np.float32)
    rotations = (np.arange(12)[:, None] + np.arange(12)) % 12
    every = exploration.propensities(np.repeat(scores, 12, axis=0), rotations, 0.3)
    assert np.allclose(every.sum(axis=0), 1.0, atol=3e-4)


def test_a_policy_that_does_not_explore_has_no_propensities():
    assert np.isnan(exploration.propensities(np.zeros((2, 5), np.float32), np.zeros((2, 3), int), 0.0)).all()


def test_extreme_scores_stay_finite():
    scores = np.array([[80.0, -80.0, 0.0, 79.0, -30.0]], np.float32)
    slate = np.array([[0, 3, 2]])
    propensities = exploration.propensities(scores, slate, 0.3)
    assert np.isfinite(propensities).all()
    assert propensities[0] == pytest.approx([0.9655, 0.9655, 1.0], abs=1e-3)


def by_fine_quadrature(scores, slate, step=0.02):
    """Of one request: the number of others that arrived first, summed over small steps of log time."""
    shown = scores[slate]
    moments = np.exp(np.arange(-shown.max() - 16, -shown.min() + 6, step) + scores[:, None])
    arrived = -np.expm1(-moments)
    chances = np.empty(len(slate))
    for s, app in enumerate(slate):
        before = np.zeros((len(slate) + 1, moments.shape[1]))
        before[0] = 1.0
        for other in set(range(len(scores))) - {app}:
            before[1:] += arrived[other] * (before[:-1] - before[1:])
            before[0] *= 1 - arrived[other]
        chances[s] = (step * moments[app] * np.exp(-moments[app]) * before[s]).sum()
    return chances


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 5.0])
def test_propensities_of_ten_positions_are_exact(spread):
    scores = np.random.default_rng(5).normal(-4, spread, (3, 60)).astype(np.float32)
    users, days, apps = np.arange(3), np.zeros(3, np.int32), np.tile(np.arange(60, dtype=np.int32), (3, 1))
    slates = exploration.slates(7, users, days, apps, scores, 10, 1.0)
    found = exploration.propensities(scores, slates, 1.0)
    for row in range(3):
        known = by_fine_quadrature(scores[row].astype(float), slates[row])
        np.testing.assert_allclose(found[row], known, rtol=2e-4)


@pytest.mark.parametrize("top", [700.0, 720.0, 735.0, 3000.0, 1e6])
def test_propensities_of_scores_far_apart(top):
    scores = np.array([[top, 0.0, -1.0, -top]], np.float32)
    second = np.exp(0) / (np.exp(0) + np.exp(-1))  # the first stands as good as surely at the top
    for slate, expected in (([0, 1], [1, second]), ([0, 1, 2, 3], [1, second, second, 1]), ([1, 0], [0, 0])):
        found = exploration.propensities(scores, np.array([slate]), 1.0)
        assert found[0] == pytest.approx(expected, abs=2e-6)
