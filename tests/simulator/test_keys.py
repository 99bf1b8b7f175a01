"""Keyed randomness: functions of keys, uniform, independent, equal in kernels and in arrays."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit
from scipy import stats

from simulator.keys import Stream, fold, gumbel, hash_keys, normal, root, uniform, unit

words = st.integers(-(2**62), 2**62)


@njit
def _folded(state, words):
    for word in words:
        state = fold(state, word)
    return state


@njit
def _units(states):
    return np.array([unit(state) for state in states])


@njit
def _gumbels(states):
    return np.array([gumbel(state) for state in states])


@given(st.integers(0, 2**63 - 1), st.lists(words, min_size=1, max_size=5))
def test_kernels_and_arrays_hash_alike(seed, keys):
    inside = _folded(root(seed, Stream.VISIT), np.array(keys))
    assert np.uint64(inside) == hash_keys(seed, Stream.VISIT, *keys)


@given(st.integers(0, 2**32), st.lists(words, min_size=1, max_size=20), st.randoms())
def test_a_number_does_not_depend_on_its_neighbours(seed, keys, random):
    together = uniform(seed, Stream.TASTE, np.array(keys))
    order = list(range(len(keys)))
    random.shuffle(order)
    shuffled = uniform(seed, Stream.TASTE, np.array(keys)[order])
    assert np.array_equal(together[order], shuffled)
    assert [uniform(seed, Stream.TASTE, key) for key in keys] == list(together)


def test_keys_broadcast():
    grid = uniform(1, Stream.HOUR, np.arange(3)[:, None], np.arange(4))
    assert grid.shape == (3, 4)
    assert grid[2, 1] == uniform(1, Stream.HOUR, 2, 1)


def test_the_order_of_keys_matters():
    assert uniform(1, Stream.HOUR, 2, 3) != uniform(1, Stream.HOUR, 3, 2)


def test_one_bit_of_a_key_changes_half_of_the_bits():
    keys = np.arange(4000)
    before = hash_keys(5, Stream.VISIT, keys)
    for bit in (0, 1, 13, 40, 62):
        after = hash_keys(5, Stream.VISIT, keys ^ (1 << bit))
        flipped = np.bitwise_count(before ^ after)
        assert abs(flipped.mean() - 32) < 0.4


def test_uniform_on_consecutive_even_and_high_keys():
    for keys in (np.arange(20_000), np.arange(20_000) * 2, np.arange(20_000) << 40):
        for other in (0, 1):
            p = stats.kstest(uniform(7, Stream.ACQUISITION, keys, other), "uniform").pvalue
            assert p > 1e-4


def test_seeds_streams_and_days_are_independent():
    users = np.arange(20_000)
    columns = [
        uniform(1, Stream.VISIT, users, 1),
        uniform(2, Stream.VISIT, users, 1),
        uniform(1, Stream.ACQUISITION, users, 1),
        uniform(1, Stream.VISIT, users, 2),
    ]
    correlation = np.corrcoef(columns) - np.eye(4)
    assert np.abs(correlation).max() < 4 / np.sqrt(len(users))


def test_normal_and_gumbel_numbers_have_their_distributions():
    keys = np.arange(20_000)
    assert stats.kstest(normal(3, Stream.TASTE, keys), "norm").pvalue > 1e-4
    assert stats.kstest(_gumbels(hash_keys(3, Stream.EXPLORATION, keys)), "gumbel_r").pvalue > 1e-4


def test_a_unit_is_never_0_or_1():
    extremes = _units(np.array([0, 2**64 - 1], np.uint64))
    assert 0.0 < extremes[0] < extremes[1] < 1.0
