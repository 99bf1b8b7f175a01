"""Several comparisons, sample ratios, guardrails and the Bayesian view."""

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.multitest import multipletests

from experiment.stats.bayes import posterior
from experiment.stats.guardrail import guardrail
from experiment.stats.moments import Moments
from experiment.stats.multiplicity import benjamini_hochberg, holm
from experiment.stats.srm import arrivals, sample_ratio, sequential_sample_ratio


@pytest.mark.parametrize(("ours", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_families_are_statsmodels_own(ours, method):
    rng = np.random.default_rng(1)
    families = np.concatenate([rng.random((12, 6)), rng.integers(1, 4, (12, 6)) / 40])
    expected = [multipletests(family, method=method)[1] for family in families]
    assert ours(families) == pytest.approx(np.array(expected), rel=1e-12)


def test_benjamini_hochberg_is_scipys():
    p = np.random.default_rng(2).random(20) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p), rel=1e-12)


@pytest.mark.parametrize("ours", [holm, benjamini_hochberg])
def test_an_undefined_p_stays_outside_the_family(ours):
    p = np.array([0.01, np.nan, 0.04, 0.03])
    found = ours(p)
    assert np.isnan(found[1])
    assert found[[0, 2, 3]] == pytest.approx(ours(p[[0, 2, 3]]))
    assert np.isnan(ours([np.nan, np.nan])).all()
    assert ours([0.02]) == pytest.approx([0.02])
    assert len(ours([])) == 0


def test_holm_holds_the_chance_of_any_false_rejection():
    p = np.random.default_rng(3).random((20000, 3))
    assert np.mean(holm(p).min(axis=1) < 0.05) == pytest.approx(0.0490, abs=0.006)
    assert np.mean(p.min(axis=1) < 0.05) > 0.13  # row by row does nothing


def test_sample_ratio_is_scipys_chi_square():
    users = {"a": 10040, "b": 9890, "c": 5120}
    found = sample_ratio(users, {"a": 2, "b": 2, "c": 1})
    whole = sum(users.values())
    expected = stats.chisquare(list(users.values()), [whole * 0.4, whole * 0.4, whole * 0.2])
    assert (found.chi2, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.df, found.alarm) == (2, False)
    assert sample_ratio({"a": 5000, "b": 5400}).alarm


def test_an_arm_of_weight_zero_is_not_in_the_degrees_of_freedom():
    found = sample_ratio({"a": 510, "b": 490, "off": 0}, {"a": 1, "b": 1, "off": 0})
    assert found.df == 1
    assert found == sample_ratio({"a": 510, "b": 490}, {"a": 1, "b": 1, "off": 0})
    visited = sample_ratio({"a": 510, "b": 490, "off": 3}, {"a": 1, "b": 1, "off": 0})
    assert (visited.chi2, visited.p_value, visited.alarm) == (None, 0.0, True)


def test_sample_ratio_without_anything_to_test_is_undefined():
    assert sample_ratio({"a": 0, "b": 0}).p_value is None
    alone = sample_ratio({"a": 10})
    assert (alone.df, alone.p_value, alone.alarm) == (0, None, False)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1}, "weights: got none for arm 'b', a number from 0 is allowed for each arm"),
        ({"a": 1, "b": -1}, "weights: got -1 for arm 'b', finite numbers from 0 are allowed"),
        ({"a": 0, "b": 0}, "weights: got only zeros, at least one above 0 is allowed"),
    ],
)
def test_weights_that_make_no_sense_are_named(weights, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        sample_ratio({"a": 1, "b": 1}, weights)
    assert str(error.value) == message


def test_arrivals_are_scipys_chi_square_of_who_came():
    from scipy import stats

    came, assigned = {"a": 8900, "b": 9000, "c": 4460}, {"a": 10_000, "b": 10_000, "c": 5000}
    table = [list(came.values()), [assigned[arm] - came[arm] for arm in came]]
    expected = stats.chi2_contingency(table, correction=False)
    found = arrivals(came, assigned)
    assert (found.chi2, found.df) == (pytest.approx(expected.statistic), 2)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert list(found.expected.values()) == pytest.approx(expected.expected_freq[0])
    assert not found.alarm
    with pytest.raises(ValueError, match=r"^users: got 11 in arm 'a', 0 to the 10 assigned are allowed$"):
        arrivals({"a": 11}, {"a": 10})


def test_arrivals_of_fixed_buckets_are_right_as_often_as_they_say_and_find_a_leak():
    """Against the shares the same visits look too even to be true, and hide a loss of 2%."""
    rng = np.random.default_rng(6)
    assigned = dict.fromkeys("abc", 10_000)
    draws = rng.binomial(10_000, 0.895, (4000, 3))
    p_values = np.array([arrivals(dict(zip("abc", row, strict=True)), assigned).p_value for row in draws])
    for level in (0.01, 0.05, 0.5):
        assert (p_values < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 4000))
    leaked = draws - np.array([0, 0, 179])
    found = [arrivals(dict(zip("abc", row, strict=True)), assigned).alarm for row in leaked[:500].tolist()]
    assert np.mean(found) > 0.8
    blind = [sample_ratio(dict(zip("abc", row, strict=True))).alarm for row in leaked[:500].tolist()]
    assert not any(blind)


@pytest.mark.parametrize("came", [{"a": 0, "b": 0}, {"a": 7}])
def test_arrivals_without_anything_to_test_are_undefined(came):
    found = arrivals(came, dict.fromkeys(came, 10))
    assert (found.chi2, found.p_value, found.alarm) == (None, None, False)
    assert arrivals({"a": 10, "b": 10}, {"a": 10, "b": 10}).p_value == 1


def test_sequential_sample_ratio_holds_over_looks_and_finds_a_leak():
    rng = np.random.default_rng(4)
    fine = rng.multinomial(600, [0.5, 0.3, 0.2], (3000, 21)).cumsum(axis=1)
    p = sequential_sample_ratio(fine, [5, 3, 2])
    assert np.mean(p[:, -1] < 0.05) <= 0.05
    assert (np.diff(p) <= 0).all()
    leak = rng.multinomial(6000, [0.5, 0.31, 0.19], (100, 21)).cumsum(axis=1)
    assert np.mean(sequential_sample_ratio(leak, [5, 3, 2])[:, -1] < 0.001) > 0.95


def test_sequential_sample_ratio_is_the_dirichlet_bayes_factor():
    counts, shares = np.array([12, 5, 3]), np.array([0.5, 0.3, 0.2])
    prior = stats.dirichlet_multinomial(40 * shares, 20).pmf(counts)
    null = stats.multinomial(20, shares).pmf(counts)
    found = sequential_sample_ratio(counts[None], shares, concentration=40)
    assert found[0] == pytest.approx(min(1, null / prior))
    with pytest.raises(ValueError, match=r"^weights: got \[1\.0, 0\.0\], numbers above 0 are allowed$"):
        sequential_sample_ratio([[1, 2]], [1, 0])


@pytest.mark.parametrize("prior", [None, (0.0, 0.02)])
def test_posterior_is_the_integral_of_prior_times_likelihood(prior):
    lift, se = 0.015, 0.01

    def weight(d):
        return stats.norm.pdf(lift, d, se) * (1 if prior is None else stats.norm.pdf(d, *prior))

    def mean(f):
        whole = integrate.quad(weight, -0.2, 0.2, points=[lift])[0]
        return integrate.quad(lambda d: f(d) * weight(d), -0.2, 0.2, points=[0, lift])[0] / whole

    found = posterior(lift, se, prior=prior)
    assert float(found.mean) == pytest.approx(mean(lambda d: d), rel=1e-6)
    assert float(found.chance_to_win) == pytest.approx(mean(lambda d: d > 0), rel=1e-5)
    assert float(found.expected_loss) == pytest.approx(mean(lambda d: max(0, -d)), rel=1e-4)
    assert float(found.expected_loss_control) == pytest.approx(mean(lambda d: max(0, d)), rel=1e-4)


def test_posterior_of_the_undefined_is_undefined():
    found = posterior([np.nan, 0.1, 0.1], [0.1, np.nan, 0.0])
    assert np.isnan(found.chance_to_win).all()
    with pytest.raises(
        ValueError, match=r"^prior: got a standard deviation of 0, numbers above 0 are allowed$"
    ):
        posterior(0.1, 0.1, prior=(0, 0))


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_guardrail_holds_its_level_at_the_margin_and_its_bound_is_its_test(better):
    rng = np.random.default_rng(5)
    sign = 1 if better == "higher" else -1
    control = Moments.from_users(rng.normal(10, 2, (6000, 200)), np.ones((6000, 200)))
    treatment = Moments.from_users(rng.normal(10 * (1 - sign * 0.03), 2, (6000, 250)), np.ones((6000, 250)))
    found = guardrail(control, treatment, margin=0.03, better=better)
    assert found.passed.mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 6000))
    assert (found.passed == (sign * found.bound > -0.03)).all()


def test_guardrail_formula_and_undefined():
    a, b = Moments.from_users([1, 2, 1], [10, 9, 12]), Moments.from_users([1, 1, 2], [11, 9, 10])
    found = guardrail(a, b, margin=0.1)
    from experiment.stats.ratio import rates

    c, t = rates(a), rates(b)
    assert float(found.z) == pytest.approx(
        float((t.rate - 0.9 * c.rate) / (t.variance + 0.81 * c.variance) ** 0.5)
    )
    assert float(found.p_value) == pytest.approx(stats.norm.sf(float(found.z)))
    empty = guardrail(Moments.empty(), b, margin=0.1)
    assert np.isnan(empty.z)
    assert not empty.passed
    with pytest.raises(ValueError, match=r"^margin: got 1, numbers above 0 and below 1 are allowed$"):
        guardrail(a, b, margin=1)
