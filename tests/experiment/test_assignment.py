import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiment.assignment import BUCKETS, PRODUCTION, Layer, Permutation, Slot, layer_of, plan
from experiment.loading import load


@pytest.mark.parametrize("population", [1, 2, 3, 7, 64, 1000, 30_000, 100_003])
def test_is_a_bijection_of_the_population(population: int) -> None:
    permutation = Permutation("salt", population)
    ids = np.arange(population)
    positions = permutation.position(ids)
    assert np.array_equal(np.sort(positions), ids)
    assert np.array_equal(permutation.user(positions), ids)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.integers(1, 2**43), st.data())
def test_is_undone_anywhere_in_any_population(salt: str, population: int, data: st.DataObject) -> None:
    ids = np.array(data.draw(st.lists(st.integers(0, population - 1), min_size=1, max_size=20)))
    permutation = Permutation(salt, population)
    positions = permutation.position(ids)
    assert np.array_equal(permutation.user(positions), ids)
    assert ((positions >= 0) & (positions < population)).all()


def test_is_the_same_on_every_machine() -> None:
    assert Permutation("storelift", 1_000_000).position(np.arange(4)).tolist() == GOLDEN


GOLDEN = [368469, 373470, 782605, 823166]


@pytest.mark.parametrize("bits", [16, 20, 30, 40])
def test_each_bit_of_an_id_moves_every_bit_of_its_position(bits: int) -> None:
    permutation = Permutation("avalanche", 2**bits)
    ids = np.random.default_rng(0).integers(0, 2**bits, 4096)
    base = permutation.position(ids)
    flipped = [base ^ permutation.position(ids ^ (1 << i)) for i in range(bits)]
    rates = np.array([[(change >> j & 1).mean() for j in range(bits)] for change in flipped])
    assert np.abs(rates - 0.5).max() < 5.5 * 0.5 / np.sqrt(len(ids))


SUBSETS = {
    "consecutive": np.arange(200_000),
    "even": np.arange(0, 2_000_000, 2)[:200_000],
    "thousands": np.arange(0, 999_000_000, 1000)[:200_000],
    "high bits": np.arange(200_000) << 12,
    "last": np.arange(10**9 - 200_000, 10**9),
}


@pytest.mark.parametrize("name", SUBSETS)
def test_buckets_are_uniform_on_any_subset_of_ids(name: str) -> None:
    buckets = Layer("uniform", 10**9, ()).bucket(SUBSETS[name])
    assert stats.chisquare(np.bincount(buckets * 1000 // BUCKETS, minlength=1000)).pvalue > 1e-4


@pytest.mark.parametrize(("share", "ids"), [(0.01, 1_000_000), (0.0001, 10_000_000)])
def test_small_buckets_hold_their_share_of_a_subset(share: float, ids: int) -> None:
    layer = Layer("share", 10**9, plan({"a": share, "b": share}))
    found = np.bincount(layer.arm_of(np.arange(ids) * 7) + 1, minlength=3)[1:]
    assert (np.abs(found - share * ids) < 4 * np.sqrt(share * ids)).all()


def test_layers_with_other_salts_are_independent() -> None:
    ids = np.arange(0, 600_000, 3)
    slots = plan({"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25})
    arms = [Layer(salt, 10**6, slots).arm_of(ids) for salt in ("one", "two", "one ")]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        table = np.zeros((4, 4))
        np.add.at(table, (arms[first], arms[second]), 1)
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_a_ramp_up_keeps_everybody_in_place() -> None:
    population = 1_000_000
    before: dict[str, set[int]] = {"a": set(), "b": set(), "c": set()}
    for share in (0.0001, 0.001, 0.01, 0.0625):
        layer = Layer("ramp", population, plan(dict.fromkeys(before, share)))
        for arm, users in before.items():
            now = set(layer.members(arm).tolist())
            assert users <= now
            assert len(now) == round(share * population)
            before[arm] = now


def test_starts_lie_apart_by_the_slots() -> None:
    assert plan({"a": 0.01, "b": 0.02}) == (Slot("a", 0, 10_000), Slot("b", 62_500, 82_500))
    assert plan({"a": 0.3, "b": 0.3, "c": 0.3}) == (
        Slot("a", 0, 300_000),
        Slot("b", 333_333, 633_333),
        Slot("c", 666_666, 966_666),
    )
    assert plan({"a": 0.1}, {"p": 0.05, "q": 0.05}, slots=2)[1:] == (
        Slot("p", 950_000, 1_000_000),
        Slot("q", 900_000, 950_000),
    )


@pytest.mark.parametrize(
    ("shares", "reserved", "message"),
    [
        ({"a": 0.4, "b": 0.4, "c": 0.4}, {}, "a: got share 0.4, allowed: at most 0.333333 with 3 slots"),
        ({"a": 0.1, "b": 0.6}, {}, "b: got share 0.6, allowed: at most 0.5 with 2 slots"),
        ({"a": 0.5, "b": 0.4}, {"p": 0.2}, "p: got share 0.2, allowed: at most 0.1"),
    ],
)
def test_shares_that_do_not_fit_are_refused(
    shares: dict[str, float], reserved: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match="allowed") as error:
        plan(shares, reserved)
    assert str(error.value) == message


def test_overlapping_slots_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^slots: a and b overlap at bucket 5$"):
        Layer("s", 100, (Slot("a", 0, 10), Slot("b", 5, 20)))


def test_ids_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^user id: got 100, allowed: 0 to 99$"):
        Permutation("s", 100).position(np.array([3, 100]))
    with pytest.raises(ValueError, match=r"^population: got 0, allowed: 1 to 8796093022208$"):
        Permutation("s", 0)
    with pytest.raises(KeyError, match="arm: got 'x', allowed: a"):
        Layer("s", 100, plan({"a": 0.5})).members("x")


def test_members_are_those_that_a_look_at_everybody_finds() -> None:
    layer = layer_of(load("tiny"))
    arm_of = layer.arm_of(np.arange(layer.population))
    assert layer.arms == ("wide", "deep", "wide_deep", PRODUCTION)
    for index, arm in enumerate(layer.arms):
        members = layer.members(arm)
        assert np.array_equal(members, np.flatnonzero(arm_of == index))
        assert len(members) == layer.size(arm)
    assert [layer.size(arm) for arm in layer.arms] == [300, 300, 300, 600]


def test_a_bucket_of_a_billion_users_is_found_without_visiting_them() -> None:
    layer = Layer("planet", 10**9, plan({"a": 0.0001, "b": 0.0001}))
    tracemalloc.start()
    members = layer.members("b")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20  # a byte for every user would be ten times that
    assert len(np.unique(members)) == 100_000
    assert (layer.arm_of(members) == 1).all()
