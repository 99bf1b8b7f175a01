"""The compiled row operations against the torch forms that other devices run."""

import numpy as np
import pytest
import torch

from models import rows


class Elsewhere(torch.Tensor):
    """A CPU tensor that says it is not, to take the branch of other devices."""

    is_cpu = False


def elsewhere(x):
    return x.clone().as_subclass(Elsewhere)


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)

    def draw(*shape):
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32))

    def ids(high, n):
        return torch.from_numpy(rng.integers(0, high, n).astype(np.int32))

    return draw, ids


def both(call, target, *others):
    """`target` after `call` in both forms."""
    results = []
    for form in (torch.clone, elsewhere):
        own = form(target)
        call(own, *others)
        results.append(own.as_subclass(torch.Tensor))
    return results


def test_add_rows(numbers):
    draw, ids = numbers
    a, b = both(rows.add_rows, draw(7, 3), ids(7, 20), draw(20, 3))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_pool_and_unpool(numbers):
    draw, ids = numbers
    table, index, offsets = draw(9, 3), ids(9, 8), torch.tensor([0, 3, 3, 8], dtype=torch.int32)
    expected = rows.pool(table, index, offsets)
    assert (expected[1] == 0).all()
    np.testing.assert_allclose(expected[2], table[index[3:].long()].mean(0), atol=1e-6)
    np.testing.assert_allclose(rows.pool(elsewhere(table), index, offsets), expected, atol=1e-6)
    a, b = both(rows.unpool, torch.zeros(9, 3), index, offsets, draw(3, 3))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_join_and_split(numbers):
    draw, ids = numbers
    users, apps, places, inverse, positions = draw(4, 6), draw(5, 6), draw(3, 6), ids(5, 8), ids(3, 8)
    hidden = rows.join(users, apps, places, inverse, positions)
    np.testing.assert_allclose(
        rows.join(elsewhere(users), apps, places, inverse, positions), hidden, atol=1e-6
    )
    gradient = draw(8, 6)
    ours = rows.split(hidden, gradient, inverse, positions, 4, 5, 3)
    theirs = rows.split(hidden, elsewhere(gradient), inverse, positions, 4, 5, 3)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_adagrad(numbers):
    draw, ids = numbers
    index = ids(6, 9)
    gradients = torch.zeros(6, 2)
    rows.add_rows(gradients, index, draw(9, 2))
    weights, squares = draw(6, 2), torch.full((6, 2), 0.1)
    results = []
    for form in (torch.clone, elsewhere):
        own = [form(x) for x in (weights, squares, gradients)]
        rows.adagrad(*own, index, 0.1, 1e-10)
        results.append([x.as_subclass(torch.Tensor) for x in own])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
