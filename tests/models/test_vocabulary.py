"""Vocabularies: order of ids, growth, missing values, fast path against slow path, saving."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.vocabulary import Vocabulary


def test_ids_go_by_descending_count_then_by_value() -> None:
    vocabulary = Vocabulary(2).fit(["b", "a", "c", "c", "c", "b", "a", "rare"])
    assert vocabulary.values() == ["c", "a", "b"]
    assert vocabulary.size == 4
    assert vocabulary.lookup(["a", "b", "c", "rare", "new"]).tolist() == [2, 3, 1, 0, 0]


def test_minimum_count_is_inclusive() -> None:
    assert Vocabulary(3).fit([7, 7, 7, 8, 8]).values() == [7]


def test_missing_values_are_id_zero_and_never_counted() -> None:
    missing = [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]
    vocabulary = Vocabulary(1).fit(["x", *missing])
    assert vocabulary.values() == ["x"]
    assert vocabulary.lookup(["x", *missing]).tolist() == [1] + [0] * len(missing)
    floats = Vocabulary(1).fit(np.array([np.nan, 2.5, np.nan]))
    assert floats.lookup(np.array([np.nan, 2.5])).tolist() == [0, 1]


def test_mixed_types_have_one_order() -> None:
    values = [("b",), "a", 2, b"z", 1.5, ("a", 1), True, frozenset()]
    assert Vocabulary(1).fit(values).values() == [True, 1.5, 2, "a", b"z", ("a", 1), ("b",), frozenset()]


def test_values_equal_as_in_python_whatever_the_container() -> None:
    vocabulary = Vocabulary(1).fit(np.array([3, 3, 1]))
    assert vocabulary.lookup(np.array([3.0, 1.0, np.nan, 2.5])).tolist() == [1, 2, 0, 0]
    assert vocabulary.lookup([3, "3", None, True]).tolist() == [1, 0, 0, 2]
    assert vocabulary.lookup(pd.Series([1, 3], dtype="Int64")).tolist() == [2, 1]
    assert Vocabulary(1).fit(["a", "b"]).lookup(pd.Series(["b", "a", None])).tolist() == [2, 1, 0]
    assert Vocabulary(1).fit(np.array([1.0, 2.0])).lookup(np.array([2, 1])).tolist() == [2, 1]


def test_extreme_integers() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    vocabulary = Vocabulary(1).fit(np.array([low, high, high]))
    assert vocabulary.lookup(np.array([low, high, 0])).tolist() == [2, 1, 0]
    dense = Vocabulary(1).fit(np.array([0, 1, 2]))
    assert dense.lookup(np.array([low, high, -1, 3, 2])).tolist() == [0, 0, 0, 0, 3]
    assert Vocabulary(1).fit(np.array([high, high - 1])).lookup(np.array([high, low])).tolist() == [2, 0]
    beyond = np.array([2**64 - 1, 5, 5], np.uint64)
    assert Vocabulary(1).fit(beyond).lookup(beyond).tolist() == [2, 1, 1]
    assert Vocabulary(1).fit([2**70, 1]).lookup([2**70, 1]).tolist() == [2, 1]


def test_shape_is_kept_and_empty_is_fine() -> None:
    vocabulary = Vocabulary(1).fit(np.array([[5, 6], [6, 6]]))
    assert vocabulary.lookup(np.array([[5, 6], [7, 6]])).tolist() == [[2, 1], [0, 1]]
    assert Vocabulary(1).lookup(np.zeros((0, 3), np.int64)).shape == (0, 3)
    assert Vocabulary(1).fit([]).lookup([]).shape == (0,)
    assert Vocabulary(1).fit([]).size == 1
    assert Vocabulary(1).fit(np.zeros(0, np.int64)).lookup([1, "a"]).tolist() == [0, 0]


def test_growth_keeps_ids_and_remembers_counts_below_the_minimum() -> None:
    vocabulary = Vocabulary(2).fit(["a", "a", "b"])
    vocabulary.grow(["b", "c", "c", "c", "a"])
    assert vocabulary.values() == ["a", "c", "b"]  # c has 3, b has 1 + 1
    vocabulary.grow(["d"]).grow(["d"])
    assert vocabulary.values() == ["a", "c", "b", "d"]
    assert vocabulary.fit(["z", "z"]).values() == ["z"]  # fit forgets


def test_integers_may_be_joined_by_strings() -> None:
    vocabulary = Vocabulary(1).fit(np.array([4, 4, 2])).grow(["x", "x", "x"]).grow(np.array([9]))
    assert vocabulary.values() == [4, 2, "x", 9]
    assert vocabulary.lookup(["x", 4, 9]).tolist() == [3, 1, 4]


scalars = st.one_of(st.integers(-5, 5), st.text("ab", max_size=2), st.none(), st.floats(-2, 2, width=16))


@given(st.lists(st.lists(scalars, max_size=12), max_size=5), st.integers(1, 3))
def test_growth_equals_a_literal_model(parts: list[list[object]], min_count: int) -> None:
    vocabulary = Vocabulary(min_count)
    counts: dict[object, int] = {}
    ids: dict[object, int] = {}
    for part in parts:
        vocabulary.grow(part)
        for value in part:
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
        new = [v for v, count in counts.items() if count >= min_count and v not in ids]
        for value in sorted(new, key=lambda v: (-counts[v], isinstance(v, str), v)):
            ids[value] = len(ids) + 1
    everything = [value for part in parts for value in part]
    assert vocabulary.lookup(everything).tolist() == [ids.get(value, 0) for value in everything]
    assert vocabulary.values() == list(ids)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9), max_size=50), st.integers(1, 3))
def test_the_integer_path_equals_the_object_path(values: list[int], min_count: int) -> None:
    fast = Vocabulary(min_count).fit(np.array(values, np.int64))
    slow = Vocabulary(min_count).grow(["a string makes it slow"] * min_count).grow(values)
    probe = [*values, 0, -1, 1]
    expected = np.maximum(slow.lookup(probe) - 1, 0)
    assert fast.lookup(np.array(probe, np.int64)).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 3, -1, 2**62]),
        ["a", "é", "\ud800", b"\xff", ("t", (1, None is None)), 1.5, float("inf"), False, 2**80],
        [],
    ],
    ids=["integers", "objects", "nothing"],
)
def test_state_goes_on_as_the_original(values: list[object]) -> None:
    original = Vocabulary(1).fit(values).grow(values)
    state = original.to_state()
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "iu" for array in state.values())
    copy = Vocabulary.from_state(state)
    assert copy.values() == original.values()
    assert copy.lookup(values).tolist() == original.lookup(values).tolist()
    more = [*list(values)[:1], 77, 77]
    assert copy.grow(more).values() == original.grow(more).values()


def test_counts_below_the_minimum_survive_saving() -> None:
    for values in (np.array([1, 2, 2]), ["x", "y", "y"]):
        copy = Vocabulary.from_state(Vocabulary(2).fit(values).to_state())
        assert copy.grow(values[:1]).size == 3


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^min_count: got 0, at least 1 is allowed$"):
        Vocabulary(0)
    with pytest.raises(TypeError, match="unhashable"):
        Vocabulary(1).fit([["a list"]])
    with pytest.raises(TypeError, match=r"^value: got datetime.date\(2016, 6, 24\) of type date, only bool"):
        Vocabulary(1).fit([dt.date(2016, 6, 24)]).to_state()


def test_numpys_dates_are_found_as_they_were_counted() -> None:
    for unit in ("D", "s", "ns"):
        days = [np.datetime64("2016-06-24", unit), np.datetime64("2016-06-25", unit), np.datetime64("NaT")]
        vocabulary = Vocabulary().fit([*days, days[1]])
        assert vocabulary.lookup(days).tolist() == [2, 1, 0]
        assert vocabulary.lookup(np.array(days)).tolist() == [2, 1, 0]
