"""Quantile normalisation: exact boundaries, ties, infinities, missing values."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.quantiles import QuantileNormalizer


def literal_boundaries(x: list[float], num: int) -> list[float]:
    """b_k = the smallest v with P(X <= v) >= k/n_q, in fractions."""
    return [
        min(v for v in x if Fraction(sum(u <= v for u in x), len(x)) >= Fraction(k, num))
        for k in range(1, num)
    ]


def literal_value(boundaries: list[float], v: float) -> float:
    """(i-1)/(n_q-1) for the lowest i with b_{i-1} < v <= b_i."""
    edges = [-np.inf, *boundaries, np.inf]
    first = next((i for i in range(1, len(edges)) if edges[i - 1] < v <= edges[i]), None)
    if first is None:  # v is -inf, which nothing is below
        first = 1
    return (first - 1) / len(boundaries)


numbers = st.one_of(st.integers(-4, 4).map(float), st.floats(allow_nan=False))


@given(st.lists(numbers, min_size=1, max_size=40), st.integers(2, 12), st.lists(numbers, max_size=10))
def test_equals_the_definition(x: list[float], num: int, probes: list[float]) -> None:
    normalizer = QuantileNormalizer(num).fit(x)
    assert normalizer.boundaries.tolist() == literal_boundaries(x, num)
    everything = [*x, *probes]
    expected = [literal_value(normalizer.boundaries.tolist(), v) for v in everything]
    assert normalizer.transform(everything).tolist() == expected


def test_boundaries_are_exact_where_floats_round() -> None:
    for n in range(1, 200):
        x = np.arange(1, n + 1)
        for num in (3, 7, 10, 100):
            expected = [-(-k * n // num) for k in range(1, num)]
            assert QuantileNormalizer(num).fit(x).boundaries.tolist() == expected


def test_integers_stay_exact_beyond_two_to_the_53() -> None:
    x = np.array([2**60, 2**60 + 1, 2**60 + 2])
    normalizer = QuantileNormalizer(3).fit(x)
    assert normalizer.transform(x).tolist() == [0.0, 0.5, 1.0]


def test_constants_and_ends() -> None:
    normalizer = QuantileNormalizer(5).fit(np.full(10, 3.0))
    assert normalizer.transform([3.0, 2.0, 3.1, -np.inf, np.inf]).tolist() == [0, 0, 1, 0, 1]


def test_infinities_are_numbers_and_nan_is_missing() -> None:
    normalizer = QuantileNormalizer(4).fit([-np.inf, 0, np.nan, 1, np.inf])
    assert normalizer.boundaries.tolist() == [-np.inf, 0, 1]
    assert normalizer.transform([-np.inf, np.nan, np.inf, 0.5]).tolist() == [0, 0.5, 1, 2 / 3]
    assert QuantileNormalizer(4, missing=0).fit([1]).transform([np.nan, None]).tolist() == [0, 0]


def test_shape_and_dtype() -> None:
    normal = QuantileNormalizer(3).fit_transform(np.arange(6).reshape(2, 3), np.float32)
    assert normal.dtype == np.float32
    assert normal.tolist() == [[0, 0, 0.5], [0.5, 1, 1]]
    assert QuantileNormalizer(3).fit([1]).transform(np.zeros((0, 2))).shape == (0, 2)


def test_state() -> None:
    x = np.array([1.5, np.inf, -2.0, np.nan])
    original = QuantileNormalizer(7, missing=0.25).fit(x)
    copy = QuantileNormalizer.from_state(original.to_state())
    assert copy.transform(x).tolist() == original.transform(x).tolist()
    assert copy.boundaries.tolist() == original.boundaries.tolist()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^num_quantiles: got 1, at least 2 is allowed$"):
        QuantileNormalizer(1)
    with pytest.raises(ValueError, match=r"^missing: got nan, 0 to 1 is allowed$"):
        QuantileNormalizer(2, missing=np.nan)
    for nothing in ([], [np.nan]):
        with pytest.raises(ValueError, match=r"^x: got no number, at least one that is not NaN is needed$"):
            QuantileNormalizer(2).fit(nothing)
    with pytest.raises(ValueError, match=r"^x: got values of type <U1, numbers are allowed$"):
        QuantileNormalizer(2).fit(["a"])
    with pytest.raises(ValueError, match=r"^boundaries: got none, call fit before transform$"):
        QuantileNormalizer(2).transform([1])
    with pytest.raises(ValueError, match=r"^boundaries: got none, call fit before to_state$"):
        QuantileNormalizer(2).to_state()
