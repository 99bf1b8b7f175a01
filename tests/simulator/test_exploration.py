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
