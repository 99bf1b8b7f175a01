"""Cross-product transformations: ids of pairs, counting, hashing, any order (equation 1)."""

import re
from collections import Counter
from itertools import product
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import crosses as crosses_module
from models.cross_product import CrossProduct
from models.crosses import EMPTY, MAX_LOAD, CrossDictionary, HashedCross, find, pair_key

rows = st.lists(
    st.tuples(
        st.lists(st.integers(-1, 4), min_size=3, max_size=3),
        st.lists(st.integers(-1, 3), min_size=2, max_size=2),
    ),
    min_size=1,
    max_size=12,
)


def literal(parts: list, min_count: int) -> dict[tuple[int, int], int]:
    """Ids by the definition: counts over everything, new ids after old ones, by count, then by pair."""
    counts: Counter[tuple[int, int]] = Counter()
    ids: dict[tuple[int, int], int] = {}
    for part in parts:
        for lefts, rights in part:
            counts.update((i, a) for i, a in product(sorted(set(lefts)), rights) if i >= 0 and a >= 0)
        new = [pair for pair, count in counts.items() if count >= min_count and pair not in ids]
        # What a pair has counted after it got its id plays no part in the order of later ones.
        for pair in sorted(new, key=lambda p: (-counts[p], p)):
            ids[pair] = len(ids) + 1
    return ids


def arrays(part: list) -> tuple[np.ndarray, np.ndarray]:
    return np.array([r[0] for r in part], np.int32), np.array([r[1] for r in part], np.int32)


@settings(deadline=None)  # the first example compiles
@given(st.lists(rows, min_size=1, max_size=4), st.integers(1, 4))
def test_equals_the_definition(parts: list, min_count: int) -> None:
    crosses = CrossDictionary(min_count)
    for part in parts:
        crosses.grow_pairs(*arrays(part))
    ids = literal(parts, min_count)
    lefts, rights = np.meshgrid(np.arange(-1, 6), np.arange(-1, 5), indexing="ij")
    expected = [ids.get((i, a), 0) for i, a in zip(lefts.flat, rights.flat, strict=True)]
    assert crosses.lookup(lefts, rights).ravel().tolist() == expected
    assert crosses.size == len(ids) + 1
    assert list(zip(*(p.tolist() for p in crosses.pairs()), strict=True)) == list(ids)


@settings(deadline=None)  # the first example compiles
@given(rows, st.integers(1, 3), st.randoms())
def test_ids_depend_neither_on_order_nor_on_parts(part: list, min_count: int, random: object) -> None:
    whole = CrossDictionary(min_count).grow_pairs(*arrays(part))
    shuffled = list(part)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    pieces = CrossDictionary(min_count)
    for row in shuffled:
        pieces.count_pairs(*arrays([row]))
    pieces.assign_ids()
    assert [p.tolist() for p in whole.pairs()] == [p.tolist() for p in pieces.pairs()]


def test_a_cross_is_binary_in_the_user_side_and_counts_each_impression() -> None:
    crosses = CrossDictionary(2).grow_pairs([[7, 7, -1]], [[1, 2]])
    assert crosses.size == 1  # one request, one count each, though 7 stands twice
    crosses.grow_pairs([[7]], [[1]])
    assert crosses.lookup([7, 7, -1], [1, 2, 1]).tolist() == [1, 0, 0]


def test_lookup_broadcasts_and_takes_numbers_out_of_range() -> None:
    crosses = CrossDictionary().grow_pairs([[0, 2**31 - 1]], [[0, 2**31 - 1]])
    lefts, rights = np.array([0, 2**31 - 1, 2**40, -5])[:, None], np.array([0, 2**31 - 1, 2**32])[None, :]
    assert crosses.lookup(lefts, rights).tolist() == [[1, 2, 0], [3, 4, 0], [0, 0, 0], [0, 0, 0]]
    assert crosses.lookup(0, 0).shape == ()
    assert crosses.lookup(np.zeros((0, 3), int), 1).shape == (0, 3)


def test_growth_over_many_capacities() -> None:
    rng = np.random.default_rng(1)
    lefts = rng.integers(0, 5000, (4000, 5)).astype(np.int32)
    rights = rng.integers(0, 5000, (4000, 3)).astype(np.int32)
    crosses = CrossDictionary(1).grow_pairs(lefts, rights)
    keys = (lefts[:, :, None].astype(np.int64) << 32) | rights[:, None, :]
    assert crosses.used == len(np.unique(keys)) == crosses.size - 1
    assert crosses.used <= MAX_LOAD * len(crosses.keys)
    assert int((crosses.keys != EMPTY).sum()) == crosses.used
    found = crosses.lookup(lefts[:, :, None], rights[:, None, :])
    assert found.min() > 0
    assert len(np.unique(found)) == crosses.used
    for i, a in ((0, 0), (17, 1), (3999, 2)):
        pair = pair_key(lefts[i, 0], rights[i, a])
        assert find(crosses.keys, crosses.ids, pair) == found[i, 0, a]
    assert find(crosses.keys, crosses.ids, pair_key(9999, 1)) == 0


def test_state_goes_on_as_the_original() -> None:
    original = CrossDictionary(2).grow_pairs([[1, 2]], [[3, 3]]).grow_pairs([[5]], [[6]])
    state = original.to_state()
    copy = CrossDictionary.from_state(state)
    assert state["keys"].dtype == np.uint64
    for crosses in (original, copy):
        crosses.grow_pairs([[5, 1]], [[6, 9]])
    assert [p.tolist() for p in copy.pairs()] == [p.tolist() for p in original.pairs()]
    assert copy.lookup([5, 1, 2], [6, 3, 3]).tolist() == [3, 1, 2]
    assert (copy.size, copy.used) == (original.size, original.used)


def test_hashed_crosses() -> None:
    hashed = HashedCross(1000)
    lefts, rights = np.meshgrid(np.arange(300), np.arange(300), indexing="ij")
    ids = hashed.lookup(lefts, rights)
    assert ids.min() == 1
    assert ids.max() == 1000
    assert hashed.size == 1001
    counts = np.bincount(ids.ravel(), minlength=1001)[1:]
    assert ((counts - 90) ** 2 / 90).sum() < 1000 + 5 * np.sqrt(2000)  # chi-squared, 5 sigma
    assert (ids != ids.T).mean() > 0.99  # AND(left, right) is not AND(right, left)
    assert hashed.lookup([-1, 3], [3, -1]).tolist() == [0, 0]
    assert HashedCross(1).lookup(2**40, 5) == 1


columns = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        *[
            st.lists(st.lists(st.integers(0, 3), min_size=w, max_size=w), min_size=n, max_size=n)
            for w in (2, 1, 3)
        ]
    )
)


@settings(deadline=None)  # the first example compiles
@given(columns, st.integers(2, 3), st.integers(1, 2))
def test_any_order_equals_the_definition(data: tuple, order: int, min_count: int) -> None:
    table = [np.array(c) for c in data[:order]]
    crosses = CrossProduct(order, min_count).grow(table)
    each_row = [
        set(product(*[[v for v in set(column[r]) if v] for column in map(np.ndarray.tolist, table)]))
        for r in range(len(table[0]))
    ]
    counts = Counter(combination for row in each_row for combination in row)
    kept = {combination for combination, count in counts.items() if count >= min_count}
    assert crosses.size == len(kept) + 1
    ids = crosses.lookup(table)
    for r, row in enumerate(each_row):
        present = ids[r][ids[r] > 0]
        assert len(present) == len(set(present.tolist())) == len(row & kept)
    hashed = CrossProduct(order, buckets=50).grow(table).lookup(table)
    assert [(row > 0).sum() for row in hashed] == [len(row) for row in each_row]
    for made in (crosses, CrossProduct(order, buckets=50)):
        copy = CrossProduct.from_state(made.to_state())
        np.testing.assert_array_equal(copy.lookup(table), made.lookup(table))
        assert copy.size == made.size


def test_the_same_combination_has_the_same_id_in_every_row() -> None:
    crosses = CrossProduct(3).grow([[1, 1, 2], [1, 1, 1], [2, 2, 2]])
    first, second, third = crosses.lookup([[1, 1, 2], [1, 1, 1], [2, 2, 2]])[:, 0].tolist()
    assert first == second == 1
    assert third == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CrossDictionary(0), "min_count: got 0, 1 to 2147483647 are allowed"),
        (lambda: HashedCross(0), "buckets: got 0, at least 1 is allowed"),
        (lambda: CrossProduct(1), "order: got 1, at least 2 is allowed"),
        (lambda: CrossProduct(2).lookup([[1]]), "columns: got 1, 2 are allowed"),
        (lambda: CrossProduct(2).grow([[1], [1, 2]]), "columns: got [1, 2] rows, equally many are allowed"),
        (lambda: CrossProduct(2).grow([[[[1]]], [1]]), "column: got 3 dimensions, [N] or [N, M] are allowed"),
        (
            lambda: CrossDictionary().grow_pairs([1], [[1]]),
            "lefts: got int64[1], rows of integers are allowed",
        ),
        (
            lambda: CrossDictionary().grow_pairs([[1]], [[0.5]]),
            "rights: got float64[1, 1], rows of integers are allowed",
        ),
        (
            lambda: CrossDictionary().grow_pairs([[1]], [[1], [2]]),
            "rights: got 2 rows, those of lefts, 1, are allowed",
        ),
        (
            lambda: CrossDictionary().grow_pairs([[2**31]], [[1]]),
            "lefts: got 2147483648, numbers below 2^31 are allowed",
        ),
    ],
)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()  # type: ignore[operator]


def test_forgetting_rare_pairs_keeps_ids_and_begins_their_counts_anew():
    crosses = CrossDictionary(2)
    crosses.grow_pairs(np.array([[1], [1], [2]], np.int32), np.array([[5], [5], [6]], np.int32))
    assert crosses.lookup([1, 2], [5, 6]).tolist() == [1, 0]
    assert crosses.used == 2
    crosses.forget_rare()
    assert (crosses.used, crosses.size) == (1, 2)
    crosses.grow_pairs(np.array([[2]], np.int32), np.array([[6]], np.int32))
    assert crosses.lookup([1, 2], [5, 6]).tolist() == [1, 0]
    crosses.grow_pairs(np.array([[2]], np.int32), np.array([[6]], np.int32))
    assert crosses.lookup([1, 2], [5, 6]).tolist() == [1, 2]


@settings(deadline=None)  # the first example compiles
@given(st.lists(rows, max_size=4), st.integers(1, 3), st.sampled_from([1, 3, 4_000_000]))
def test_growing_piece_by_piece_is_growing_and_forgetting(parts, min_count, at_once):
    ours, known = CrossDictionary(min_count), CrossDictionary(min_count)
    with mock.patch.object(crosses_module, "AT_ONCE", at_once):
        for part in parts:
            ours.grow_and_forget(*arrays(part))
            known.grow_pairs(*arrays(part)).forget_rare()
            assert (ours.size, ours.used) == (known.size, known.used)
            for name, values in known.to_state().items():
                np.testing.assert_array_equal(ours.to_state()[name], values)


def test_what_was_counted_before_counts_when_growing_piece_by_piece():
    crosses = CrossDictionary(2).count_pairs([[1]], [[5]]).grow_and_forget([[1, 2]], [[5]])
    assert crosses.lookup([1, 2], [5, 5]).tolist() == [1, 0]
    assert crosses.used == 1
