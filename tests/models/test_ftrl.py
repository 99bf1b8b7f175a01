"""FTRL against a literal Algorithm 1 (McMahan et al. 2013), and its properties."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ftrl import FTRL


class Literal:
    """Algorithm 1 as printed, one coordinate at a time, in Python floats."""

    def __init__(self, size: int, alpha: float, beta: float, l1: float, l2: float) -> None:
        self.z, self.n = [0.0] * size, [0.0] * size
        self.alpha, self.beta, self.l1, self.l2 = alpha, beta, l1, l2

    def weight(self, i: int) -> float:
        if abs(self.z[i]) <= self.l1:
            return 0.0
        shrunk = self.z[i] - math.copysign(1, self.z[i]) * self.l1
        return -shrunk / ((self.beta + math.sqrt(self.n[i])) / self.alpha + self.l2)

    def step(self, examples: list[list[tuple[int, float]]], gradients: list[float]) -> None:
        total: dict[int, float] = {}
        for example, gradient in zip(examples, gradients, strict=True):
            for i, x in example:
                total[i] = total.get(i, 0.0) + gradient * x
        for i, g in total.items():
            sigma = (math.sqrt(self.n[i] + g * g) - math.sqrt(self.n[i])) / self.alpha
            self.z[i] += g - sigma * self.weight(i)
            self.n[i] += g * g


def csr(examples: list[list[tuple[int, float]]]) -> tuple[list[int], list[int], list[float]]:
    offsets = np.cumsum([0] + [len(example) for example in examples]).tolist()
    flat = [pair for example in examples for pair in example]
    return [i for i, _ in flat], offsets, [x for _, x in flat]


SIZE = 6
pairs = st.tuples(st.integers(0, SIZE - 1), st.floats(-2, 2).map(lambda x: round(x, 3)))
batches = st.lists(
    st.lists(st.tuples(st.lists(pairs, max_size=5), st.floats(-1, 1).map(lambda g: round(g, 3))), max_size=6),
    max_size=8,
)
strengths = (st.floats(0, 1), st.floats(0, 1))
rates = st.tuples(st.floats(0.01, 1), st.floats(0, 2), *strengths)
above_0 = st.tuples(st.floats(0.01, 1), st.floats(0.01, 2), *strengths)
"""At beta 0 a first step is of size alpha however small the gradient: also of what rounding left of a 0."""


@settings(deadline=None)  # the first example compiles
@given(batches, rates)
def test_equals_algorithm_1(data: list, setting: tuple[float, float, float, float]) -> None:
    ours, literal = FTRL(SIZE, *setting, dtype=np.float64), Literal(SIZE, *setting)
    for batch in data:
        examples, gradients = [e for e, _ in batch], [g for _, g in batch]
        ids, offsets, values = csr(examples)
        logits = ours.logits(ids, offsets, values)
        expected = [sum(literal.weight(i) * x for i, x in example) for example in examples]
        np.testing.assert_allclose(logits, expected, rtol=1e-12, atol=1e-12)
        ours.step(ids, offsets, gradients, values)
        literal.step(examples, gradients)
    np.testing.assert_allclose(ours.z, literal.z, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.n, literal.n, rtol=1e-12, atol=1e-12)


@settings(deadline=None)  # the first example compiles
@given(batches, above_0, st.randoms())
def test_properties(data: list, setting: tuple[float, float, float, float], random: object) -> None:
    ftrl, permuted = FTRL(SIZE, *setting), FTRL(SIZE, *setting, dtype=np.float64)
    exact = FTRL(SIZE, *setting, dtype=np.float64)
    for batch in data:
        before = ftrl.table.copy()
        ids, offsets, values = csr([e for e, _ in batch])
        ftrl.step(ids, offsets, [g for _, g in batch], values)
        exact.step(ids, offsets, [g for _, g in batch], values)
        untouched = np.setdiff1d(np.arange(SIZE), ids)
        np.testing.assert_array_equal(ftrl.table[untouched], before[untouched])
        random.shuffle(batch)  # type: ignore[attr-defined]
        ids, offsets, values = csr([e for e, _ in batch])
        permuted.step(ids, offsets, [g for _, g in batch], values)
    assert (ftrl.weights()[np.abs(ftrl.z) <= ftrl.l1] == 0).all()
    assert (ftrl.table[:, 3] == 0).all()
    # A sum of 0 in one order may be 1e-17 in the other: n then moves by its square, z by itself.
    np.testing.assert_allclose(exact.z, permuted.z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(exact.n, permuted.n, rtol=1e-9, atol=1e-9)


def test_a_mini_batch_is_one_step_with_the_summed_gradient() -> None:
    together, summed = FTRL(3, 0.5, 1, 0.1, 0), FTRL(3, 0.5, 1, 0.1, 0)
    together.step([1, 1, 2], [0, 1, 3], [0.5, 0.25])
    summed.step([1, 2], [0, 1, 2], [0.75, 0.25])
    np.testing.assert_array_equal(together.z, summed.z)
    np.testing.assert_array_equal(together.n, summed.n)


def test_a_gradient_that_cancels_changes_nothing() -> None:
    ftrl = FTRL(2, 0.1, 1, 0, 0)
    ftrl.step([1], [0, 1], [0.5])
    before = ftrl.table.copy()
    ftrl.step([1, 1], [0, 1, 2], [0.5, -0.5])
    np.testing.assert_array_equal(ftrl.table, before)


def test_weights_return_to_exactly_zero() -> None:
    ftrl = FTRL(1, 0.1, 1, 1, 0)
    ftrl.step([0], [0, 1], [3.0])
    assert ftrl.weights()[0] < 0
    while ftrl.z[0] > 1:
        ftrl.step([0], [0, 1], [-0.25])
    assert ftrl.weights()[0] == 0.0
    assert ftrl.logits([0], [0, 1])[0] == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_out(dtype: type) -> None:
    ftrl = FTRL(4, 0.1, 1, 0, 0, dtype)
    ftrl.step([3, 2], [0, 1, 2], [1.0, -1.0])
    out = np.full(2, 7, dtype)
    assert ftrl.logits([3, 2], [0, 1, 2], out=out) is out
    assert out[0] == -out[1] == ftrl.weights()[3]
    assert {array.dtype for array in (ftrl.z, ftrl.n, ftrl.weights(), out)} == {np.dtype(dtype)}


def test_weights_follow_what_is_written_to_z_and_n() -> None:
    ftrl = FTRL(2, 0.5, 1, 0, 0, np.float64)
    ftrl.z[:] = [1.0, -2.0]
    ftrl.n[:] = [0.0, 4.0]
    assert ftrl.logits([0, 1], [0, 1, 2]).tolist() == [-0.5, 2 / 6]
    assert ftrl.weights().tolist() == [-0.5, 2 / 6]
    ftrl.z[0] = 2.0  # anew, as the view of before was settled
    assert ftrl.logits([0], [0, 1]).tolist() == [-1.0]


def test_growth_keeps_state() -> None:
    ftrl, large = FTRL(2, 0.1, 1, 0.01, 0), FTRL(5, 0.1, 1, 0.01, 0)
    for model in (ftrl, large):
        model.step([0, 1], [0, 2], [0.5])
    ftrl.grow(5)
    for model in (ftrl, large):
        model.step([1, 4], [0, 2], [-0.25])
    np.testing.assert_array_equal(ftrl.table, large.table)
    assert ftrl.grow(5).size == 5


def test_state_goes_on_as_the_original() -> None:
    original = FTRL(3, 0.2, 0.5, 0.01, 0.1)
    original.step([0, 2], [0, 2], [0.5])
    copy = FTRL.from_state(original.to_state())
    assert (copy.alpha, copy.beta, copy.l1, copy.l2, copy.dtype) == (0.2, 0.5, 0.01, 0.1, np.float32)
    for model in (original, copy):
        model.step([0, 1], [0, 2], [0.25])
    np.testing.assert_array_equal(copy.table, original.table)


def test_nothing_and_no_ids_and_tiny_gradients() -> None:
    ftrl = FTRL(2, 0.1, 0, 0, 0, np.float64)
    assert ftrl.logits([], [0]).shape == (0,)
    assert ftrl.logits([], [0, 0, 0]).tolist() == [0, 0]
    ftrl.step([], [0, 0], [0.5])
    ftrl.step([1], [0, 1], [1e-200])  # its square is 0
    assert np.isfinite(ftrl.table).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "size: got -1, at least 0 is allowed"),
        ((1, 0), "alpha: got 0, a finite number above 0 is allowed"),
        ((1, math.nan), "alpha: got nan, a finite number above 0 is allowed"),
        ((1, 1, -1), "beta: got -1, a finite number of at least 0 is allowed"),
        ((1, 1, 0, -0.5), "l1: got -0.5, a finite number of at least 0 is allowed"),
        ((1, 1, 0, 0, math.inf), "l2: got inf, a finite number of at least 0 is allowed"),
        ((1, 1, 0, 0, 0, np.int32), "dtype: got int32, float32 or float64 are allowed"),
    ],
)
def test_bad_settings(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        FTRL(*arguments)


@pytest.mark.parametrize(
    ("ids", "offsets", "gradients", "values", "kind", "message"),
    [
        ([3], [0, 1], [0], None, IndexError, "ids: got 3, 0 to 2 are allowed"),
        ([-1], [0, 1], [0], None, IndexError, "ids: got -1, 0 to 2 are allowed"),
        ([0.5], [0, 1], [0], None, ValueError, "ids: got float64[1], one row of integers is allowed"),
        ([0], [], [], None, ValueError, "offsets: got no number, B + 1 numbers from 0 on are allowed"),
        ([0], [1, 1], [0], None, ValueError, "offsets: got 1 first, B + 1 numbers from 0 on are allowed"),
        (
            [0],
            [0, 2, 1],
            [0, 0],
            None,
            ValueError,
            "offsets: got a smaller number after a larger one, ascending ones are allowed",
        ),
        ([0], [0, 2], [0], None, ValueError, "offsets: got 2 last, the number of ids, 1, is allowed"),
        ([0], [0, 1], [0, 0], None, ValueError, "gradients: got shape (2,), (1,) is allowed"),
        ([0], [0, 1], [np.nan], None, ValueError, "gradients: got nan, finite numbers are allowed"),
        ([0], [0, 1], [0], [1, 2], ValueError, "values: got shape (2,), that of the ids, (1,), is allowed"),
    ],
)
def test_bad_examples(
    ids: list, offsets: list, gradients: list, values: list | None, kind: type, message: str
) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        FTRL(3).step(ids, offsets, gradients, values)


def test_bad_output_and_growth() -> None:
    with pytest.raises(ValueError, match=r"^out: got float64\[2\], float32\[1\] is allowed$"):
        FTRL(3).logits([0], [0, 1], out=np.zeros(2))
    with pytest.raises(ValueError, match=r"^size: got 2, at least the present 3 is allowed$"):
        FTRL(3).grow(2)
