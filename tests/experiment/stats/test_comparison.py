"""One comparison, a family, and looks over days: every number of the contract, and None with a status."""

import dataclasses
import json
import operator
from itertools import accumulate

import numpy as np
import pytest

from experiment.stats.comparison import analyse, compare, false_discovery, plan
from experiment.stats.cuped import adjust
from experiment.stats.moments import Moments, stack
from experiment.stats.multiplicity import holm
from experiment.stats.ratio import contrast, rates
from experiment.stats.sequential import one_look


def arm(rng, n=800, lift=1.0, pre=True):
    own = rng.beta(0.3, 4.7, n)
    y, py = rng.poisson(20, n), rng.poisson(20, n)
    columns = [rng.binomial(y, np.minimum(own * lift, 1)), y, rng.binomial(py, own), py]
    return Moments.from_users(*columns[: 4 if pre else 2])


def test_a_comparison_holds_what_the_formulas_give():
    rng = np.random.default_rng(1)
    a, b = arm(rng), arm(rng, 700, 1.2)
    found, plain, adjusted = compare(a, b), contrast(a, b), adjust(a, b)
    assert found.status == "ok"
    assert found.difference == float(plain.difference)
    assert found.difference_se == float(plain.se)
    assert found.p_value == float(plain.p_value)
    assert found.lift_ci == tuple(plain.lift_ci)
    assert found.lift_fieller_ci == tuple(plain.fieller_ci)
    assert found.cuped.lift == float(adjusted.lift)
    assert found.cuped.variance_ratio == pytest.approx((found.cuped.difference_se / found.difference_se) ** 2)
    always = one_look(plain.difference, plain.variance, 1500, 1500)
    assert found.always_valid_p == pytest.approx(float(always.p_value))
    assert found.always_valid_ci == pytest.approx(tuple(always.ci))
    of_log = one_look(plain.log_lift, plain.log_variance, 1500, 1500)
    assert found.always_valid_lift_ci == pytest.approx(tuple(np.expm1(of_log.ci)))
    assert (found.method.n_control, found.method.n_treatment, found.method.planned_users) == (800, 700, 1500)
    assert found.method.q == pytest.approx(1.959964)


def test_the_chance_to_win_is_that_of_the_p_value():
    rng = np.random.default_rng(8)
    for lift in (0.6, 0.95, 1.4, 2.5):
        found = compare(arm(rng, 60), arm(rng, 60, lift))
        better = found.difference > 0
        assert found.bayes.chance_to_win == pytest.approx(
            1 - found.p_value / 2 if better else found.p_value / 2
        )
        assert found.bayes.lift == found.lift


def test_looks_of_a_handful_of_users_do_not_count():
    """Two users who happen to vary hardly at all would decide the experiment for good."""
    few = Moments.from_users([1.0, 1.0], [10.0, 10.1]), Moments.from_users([2.0, 2.0], [10.0, 10.1])
    found = compare(*(stack([cell, cell]) for cell in few))
    assert found.p_value < 1e-9
    assert (found.always_valid_p, found.always_valid_ci, found.always_valid_look_ci) == (None, None, None)
    assert compare(*few).always_valid_p < 1e-9  # of one look alone nothing is remembered
    rng = np.random.default_rng(4)
    a, b, many = arm(rng, 29), arm(rng, 30), arm(rng, 300)
    assert compare(stack([a, a]), stack([many, many])).always_valid_p is None
    assert compare(stack([a, b]), stack([many, many])).always_valid_p is not None


def test_the_always_valid_level_holds_where_users_come_one_by_one():
    rng = np.random.default_rng(5)
    rejected = 0
    for _ in range(300):
        looks = []
        for _ in range(2):
            y = 10.0 * (1 + rng.poisson(1, 60))
            x = rng.binomial(y.astype(int), rng.beta(0.6, 1.4, 60))
            looks.append(stack([Moments.from_users(x[:n], y[:n]) for n in range(2, 61)]))
        rejected += (compare(*looks).always_valid_p or 1.0) < 0.05
    assert rejected <= 15


def test_a_look_by_itself_is_the_size_of_an_effect_that_moves():
    rng = np.random.default_rng(9)
    days = [(arm(rng, 3000, 1.0, pre=False), arm(rng, 3000, lift, pre=False)) for lift in (2.0, 0.7, 0.7)]
    control, treatment = (stack(list(accumulate(x, operator.add))) for x in zip(*days, strict=True))
    found = analyse({"c": control, "t": treatment}, "c", days=[1, 2, 3])
    (last,), looks = found.comparisons, found.days
    assert last.always_valid_look_lift_ci == looks[-1].always_valid_look_lift_ci
    assert last.always_valid_look_ci == looks[-1].always_valid_look_ci
    low, high = last.always_valid_look_lift_ci
    assert low < last.lift < high
    assert looks[0].always_valid_look_lift_ci == pytest.approx(looks[0].always_valid_lift_ci)
    assert last.always_valid_lift_ci is None or last.always_valid_lift_ci[0] > low


def test_planned_users_move_the_always_valid_figures_alone():
    rng = np.random.default_rng(2)
    a, b = arm(rng), arm(rng, lift=1.3)
    seen, far = compare(a, b), compare(a, b, planned_users=20000)
    assert far.always_valid_ci[1] - far.always_valid_ci[0] > seen.always_valid_ci[1] - seen.always_valid_ci[0]
    assert far.lift_ci == seen.lift_ci
    plain = contrast(a, b)
    assert far.always_valid_p == pytest.approx(
        float(one_look(plain.difference, plain.variance, 1600, 20000).p_value)
    )


def test_the_family_is_corrected_as_a_family():
    rng = np.random.default_rng(3)
    arms = {"c": arm(rng), "a": arm(rng, lift=1.15), "b": arm(rng, lift=1.1), "none": Moments.empty(pre=True)}
    found = analyse(arms, "c")
    always = holm([np.nan if c.always_valid_p is None else c.always_valid_p for c in found.comparisons])
    assert [c.always_valid_p_holm for c in found.comparisons[:2]] == pytest.approx(always[:2])
    assert found.comparisons[2].always_valid_p_holm is None
    p = [c.p_value for c in found.comparisons]
    assert [c.arm for c in found.comparisons] == ["a", "b", "none"]
    assert p[2] is None
    assert found.comparisons[2].p_holm is None
    assert [c.p_holm for c in found.comparisons[:2]] == pytest.approx(list(holm(p[:2])))
    assert found.comparisons[2].status == "no_users"
    assert (found.arms["none"].users, found.arms["none"].rate) == (0, None)
    assert false_discovery(found.comparisons)[2] is None


def test_pairs_may_be_named():
    rng = np.random.default_rng(4)
    arms = {name: arm(rng) for name in ("wide", "deep", "wide_deep")}
    pairs = [("deep", "wide"), ("wide_deep", "wide"), ("wide_deep", "deep")]
    found = analyse(arms, "wide", pairs=pairs)
    assert [(c.arm, c.control) for c in found.comparisons] == pairs


def looks(rng, days=7, n=400, lift=1.0):
    own = rng.beta(0.3, 4.7, n)
    totals = np.zeros((2, n))
    cells = []
    for _ in range(days):
        y = rng.poisson(4, n)
        totals += np.stack([rng.binomial(y, np.minimum(own * lift, 1)), y])
        cells.append(Moments.from_users(*totals))
    return stack(cells)


def test_days_run_and_the_comparison_shows_the_last():
    rng = np.random.default_rng(5)
    arms = {"c": looks(rng), "t": looks(rng, lift=1.5)}
    found = analyse(arms, "c", days=list(range(1, 8)))
    comparison = found.comparisons[0]
    assert [look.day for look in found.days] == list(range(1, 8))
    assert found.days[-1].always_valid_p == comparison.always_valid_p
    assert found.days[-1].always_valid_ci == comparison.always_valid_ci
    assert found.days[-1].difference == comparison.difference
    p = [look.always_valid_p for look in found.days]
    assert p == sorted(p, reverse=True)
    last = compare(arms["c"][-1], arms["t"][-1])
    assert comparison.p_value == last.p_value
    assert comparison.always_valid_p <= last.always_valid_p


def test_a_plan_fixes_the_boundary_before_the_looks():
    rng = np.random.default_rng(6)
    c, t = looks(rng), looks(rng)
    rate = rates(c[-1])
    fixed = plan(float(rate.rate), float(rate.v), 800)
    early = compare(c[:3], t[:3], planned=fixed)
    late = analyse({"c": c, "t": t}, "c", days=list(range(7)), planned=fixed)
    assert late.days[2].always_valid_p == early.always_valid_p
    assert early.method.planned_users is None


def test_a_zero_treatment_keeps_its_p_and_has_no_interval_of_the_lift():
    rng = np.random.default_rng(7)
    found = compare(arm(rng), Moments.from_users([0] * 50, [20] * 50, [1] * 50, [20] * 50))
    assert found.status == "zero_treatment"
    assert found.lift == -1
    assert found.p_value < 0.05
    assert found.always_valid_ci is not None
    for value in (
        found.lift_ci,
        found.lift_fieller_ci,
        found.always_valid_lift_ci,
        found.cuped.lift_ci,
        found.bayes,
    ):
        assert value is None


def test_everything_undefined_is_none_never_nan():
    nobody, one = Moments.empty(pre=True), Moments.from_users([1], [3], [0], [2])
    for a, b in [(nobody, nobody), (one, one), (nobody, one), (one, Moments.from_users([0], [0], [0], [0]))]:
        json.dumps(dataclasses.asdict(compare(a, b)), allow_nan=False)
        assert compare(a, b).p_value is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha: got 1.5, numbers above 0 and below 1 are allowed"),
        ({"planned_users": 0}, "planned_users: got 0, finite numbers above 0 are allowed"),
    ],
)
def test_bad_settings_are_named(settings, message):
    cell = arm(np.random.default_rng(8), 10)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        compare(cell, cell, **settings)
    assert str(error.value) == message


def test_unknown_arms_and_looks_that_do_not_fit_are_named():
    cell = arm(np.random.default_rng(9), 10)
    with pytest.raises(ValueError, match=r"^arm: got 'x', one of a, b is allowed$"):
        analyse({"a": cell, "b": cell}, "x")
    with pytest.raises(ValueError, match=r"^days: got 2 for looks of shape \(\), one per look is allowed$"):
        analyse({"a": cell, "b": cell}, "a", days=[1, 2])
    with pytest.raises(
        ValueError, match=r"^shapes: got \(\) and \(1,\), one cell or equal looks are allowed$"
    ):
        compare(cell, stack([cell]))
