"""Rows of eight lanes give the bits of the plain loops that they stand for."""

import numpy as np
import pytest
from numba import njit

from models.folded_deep import _distinct
from models.lanes import fetch_row, relu_dot, relu_of_sum


@njit
def _sum(a, b, c, out):
    for t in range(len(out)):
        fetch_row(a, t + 1)
        relu_of_sum(a, t, b, len(b) - 1 - t, c, 0, out, t)


@njit
def _dot(x, bias, weights, out):
    for t in range(len(out)):
        out[t] = relu_dot(x, t, bias, weights)


@pytest.fixture
def draw():
    rng = np.random.default_rng(0)
    return lambda *shape: (rng.normal(size=shape) * 10.0 ** rng.integers(-6, 6, shape)).astype(np.float32)


@pytest.mark.parametrize("width", [8, 24, 136])
def test_the_sum_of_three_rows(draw, width):
    a, b, c, out = draw(5, width), draw(5, width), draw(2, width), draw(5, width)
    _sum(a, b, c, out)
    assert np.array_equal(out, np.maximum(a + b[::-1] + c[0], 0))


@pytest.mark.parametrize("width", [8, 32])
def test_the_weighted_sum_of_a_row_is_added_in_pairs(draw, width):
    x, bias, weights, out = draw(7, width), draw(width), draw(width), np.empty(7, np.float32)
    _dot(x, bias, weights, out)
    products = (np.maximum(x + bias, 0) * weights).reshape(7, -1, 8)
    sums = np.zeros((7, 8), np.float32)
    for eight in np.moveaxis(products, 1, 0):
        sums += eight
    while sums.shape[1] > 1:
        sums = sums[:, ::2] + sums[:, 1::2]
    assert np.array_equal(out, sums[:, 0])


def test_what_is_not_a_number_stays_so(draw):
    a, b, c, out = draw(5, 24), draw(5, 24), draw(2, 24), draw(5, 24)
    a[3, 17] = np.nan
    _sum(a, b, c, out)
    assert np.argwhere(np.isnan(out)).tolist() == [[3, 17]]
    sums = np.empty(5, np.float32)
    _dot(out, c[0], c[1], sums)
    assert np.isnan(sums).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("high", [30, 10**9])
def test_distinct_keys_are_those_of_sorting(high):
    keys = np.random.default_rng(1).integers(0, high, 500)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    found = _distinct(keys)
    assert np.array_equal(found[0], first)
    assert np.array_equal(found[1], inverse)


def test_no_keys_are_no_trouble():
    first, inverse = _distinct(np.zeros(0, np.int64))
    assert len(first) == len(inverse) == 0
