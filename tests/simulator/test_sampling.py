"""Alias tables draw by their weights."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from simulator.keys import Stream, hash_keys
from simulator.sampling import draw, segmented_alias


@njit
def _draws(accept, alias, start, length, states):
    return np.array([draw(accept, alias, start, length, state) for state in states])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(lambda w: sum(w) > 0))
def test_a_table_holds_exactly_the_weights(weights):
    weights = np.array(weights)
    accept, alias = segmented_alias(weights, np.array([0, len(weights)]))
    mass = accept.copy()
    np.add.at(mass, alias, 1.0 - accept)
    assert np.allclose(mass / len(weights), weights / weights.sum(), atol=1e-9)
    assert ((accept >= -1e-12) & (accept <= 1.0 + 1e-12)).all()


def test_draws_follow_the_weights_of_their_segment():
    weights = np.array([5.0, 1.0, 2.0, 2.0, 6.0])
    accept, alias = segmented_alias(weights, np.array([0, 2, 2, 5]))
    states = hash_keys(1, Stream.RETRIEVAL, np.arange(100_000))
    first = np.bincount(_draws(accept, alias, 0, 2, states), minlength=2) / len(states)
    last = np.bincount(_draws(accept, alias, 2, 3, states), minlength=3) / len(states)
    assert np.abs(first - [5 / 6, 1 / 6]).max() < 0.006
    assert np.abs(last - [0.2, 0.2, 0.6]).max() < 0.006
