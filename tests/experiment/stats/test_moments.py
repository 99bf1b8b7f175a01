"""Sufficient statistics: merging, cells, precision."""

from fractions import Fraction

import numpy as np
import pytest

from experiment.stats.moments import Moments, Y, merge, stack
from experiment.stats.ratio import rates


def users(rng, n, pre=True):
    columns = [rng.poisson(1.2, n), rng.poisson(20, n), rng.poisson(1.1, n), rng.poisson(19, n)]
    return columns if pre else columns[:2]


def same(a, b, rel=1e-12):
    assert a.n == pytest.approx(b.n, rel=rel)
    assert a.total == pytest.approx(b.total, rel=rel)
    assert a.scatter == pytest.approx(b.scatter, rel=rel, abs=1e-9)


@pytest.mark.parametrize("pre", [True, False])
def test_covariance_is_numpys(pre):
    columns = users(np.random.default_rng(1), 500, pre)
    cell = Moments.from_users(*columns)
    assert cell.covariance == pytest.approx(np.cov(columns), rel=1e-12)
    assert cell.mean == pytest.approx(np.mean(columns, axis=1))
    assert cell.has_pre is pre


@pytest.mark.parametrize("parts", [1, 2, 7, 40])
def test_merged_parts_are_the_whole(parts):
    columns = np.array(users(np.random.default_rng(2), 400))
    pieces = [Moments.from_users(*piece) for piece in np.array_split(columns, parts, axis=1)]
    whole = Moments.from_users(*columns)
    same(merge(pieces), whole, rel=1e-10)
    same(stack(pieces).sum(), whole, rel=1e-10)
    same(whole + Moments.empty(pre=True), whole)
    same(Moments.empty(pre=True) + whole, whole)


def test_groups_are_each_groups_users():
    rng = np.random.default_rng(3)
    columns, codes = np.array(users(rng, 300)), rng.integers(0, 5, 300)
    cells = Moments.from_groups(codes, 7, *columns)
    for group in range(5):
        same(cells[group], Moments.from_users(*columns[:, codes == group]), rel=1e-10)
    assert cells.n[6] == 0
    assert np.isnan(cells[6].mean).all()


def test_weights_are_repeated_users():
    rng = np.random.default_rng(4)
    columns = np.array(users(rng, 200))
    weights = rng.multinomial(200, np.full(200, 1 / 200), size=6).reshape(2, 3, 200)
    cells = Moments.from_weights(weights, *columns)
    assert cells.shape == (2, 3)
    same(cells[1, 2], Moments.from_users(*np.repeat(columns, weights[1, 2], axis=1)), rel=1e-9)


def test_sums_about_an_origin_are_the_same_users():
    columns = np.array(users(np.random.default_rng(5), 100), dtype=float)
    moved = columns - 5
    cell = Moments.from_sums(100, moved.sum(axis=1), moved @ moved.T, origin=np.full(4, 5.0))
    same(cell, Moments.from_users(*columns), rel=1e-10)


def test_counts_of_1e9_keep_their_variance():
    rng = np.random.default_rng(6)
    y = 10**9 + rng.integers(0, 1000, 300)
    x = 10**8 + rng.integers(0, 1000, 300)
    n, sx, sy = 300, int(x.sum()), int(y.sum())
    exact_rate = Fraction(sx, sy)
    residual = sum((int(a) - exact_rate * int(b)) ** 2 for a, b in zip(x, y, strict=True))
    exact = float(residual / (n - 1) / Fraction(sy, n) ** 2)
    pieces = [Moments.from_users(x[i::3], y[i::3]) for i in range(3)]
    for cell in (Moments.from_users(x, y), merge(pieces)):
        assert float(rates(cell).v) == pytest.approx(exact, rel=1e-9)


def test_per_user_is_a_mean():
    columns = users(np.random.default_rng(7), 90)
    cell = Moments.from_users(*columns).per_user(Y)
    found = rates(cell)
    assert float(found.rate) == pytest.approx(columns[1].mean())
    assert float(found.v) == pytest.approx(columns[1].var(ddof=1))


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(ValueError, match=r"^px, py: got one of them, both or neither are allowed$"):
        Moments.from_users([1], [2], [1])
    with pytest.raises(ValueError, match=r"^pre-period: got it on one side of the sum"):
        _ = Moments.empty() + Moments.empty(pre=True)
    with pytest.raises(ValueError, match=r"^parts: got none, at least one is allowed$"):
        merge([])
    with pytest.raises(ValueError, match=r"^axis: got 1, one of a leading shape \(3,\) is allowed$"):
        Moments.empty((3,)).sum(axis=1)


def test_sums_along_an_axis_and_without_the_pre_period():
    columns = users(np.random.default_rng(8), 60)
    cells = stack(
        [stack([Moments.from_users(*[c[i::6] for c in columns]) for i in (j, j + 3)]) for j in range(3)]
    )
    assert cells.shape == (3, 2)
    same(cells.sum(axis=-1).sum(), Moments.from_users(*columns), rel=1e-10)
    same(Moments.from_users(*columns).without_pre(), Moments.from_users(*columns[:2]))
