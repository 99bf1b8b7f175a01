"""The rate, its difference and its lift: against statsmodels and scipy, by simulation, and by symmetry."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from experiment.stats.moments import Moments
from experiment.stats.ratio import STATUSES, contrast, fieller, rates


def users(rng, shape, lift=1.0, rate=0.057, visits=20):
    """Clustered users: each has a rate of its own, beta distributed."""
    y = rng.poisson(visits, shape)
    return rng.binomial(y, np.minimum(rng.beta(4 * rate, 4 * (1 - rate), shape) * lift, 1)), y


def test_standard_error_is_the_cluster_robust_one_of_a_weighted_regression():
    x, y = users(np.random.default_rng(1), 3000)
    shown = y > 0
    x, y = x[shown], y[shown]
    fit = sm.WLS(x / y, np.ones(len(x)), weights=y).fit(cov_type="HC1")
    found = rates(Moments.from_users(x, y))
    assert float(found.rate) == pytest.approx(fit.params[0])
    assert float(found.se) == pytest.approx(fit.bse[0], rel=1e-10)


def test_means_per_user_give_welchs_t_and_the_z_test():
    rng = np.random.default_rng(2)
    a, b = rng.normal(5, 1, 40), rng.normal(5.4, 2, 60)
    control, treatment = Moments.from_users(a, np.ones(40)), Moments.from_users(b, np.ones(60))
    welch = stats.ttest_ind(b, a, equal_var=False)
    found = contrast(control, treatment, use_t=True)
    assert float(found.p_value) == pytest.approx(welch.pvalue, rel=1e-9)
    assert float(found.df) == pytest.approx(welch.df, rel=1e-9)
    assert found.difference_ci == pytest.approx(np.array(welch.confidence_interval()), rel=1e-9)
    z = CompareMeans(DescrStatsW(b), DescrStatsW(a)).ztest_ind(usevar="unequal")
    assert float(contrast(control, treatment).p_value) == pytest.approx(z[1], rel=1e-9)


def test_shares_of_users_give_the_log_interval_of_two_proportions():
    a, b = np.repeat([1, 0], [800, 9200]), np.repeat([1, 0], [880, 9120])
    ones = np.ones(10000)
    found = contrast(Moments.from_users(a, ones), Moments.from_users(b, ones))
    ratio = confint_proportions_2indep(880, 10000, 800, 10000, compare="ratio", method="log")
    assert found.lift_ci == pytest.approx(np.array(ratio) - 1, abs=2e-5)


def test_fiellers_ends_are_where_the_test_just_rejects():
    rng = np.random.default_rng(3)
    found = contrast(Moments.from_users(*users(rng, 800)), Moments.from_users(*users(rng, 700)))
    for end in found.fieller_ci:
        gap = found.treatment.rate - (1 + end) * found.control.rate
        spread = found.treatment.variance + (1 + end) ** 2 * found.control.variance
        assert float(gap**2) == pytest.approx(float(found.q**2 * spread), rel=1e-9)
    assert found.fieller_ci == pytest.approx(found.lift_ci, abs=0.03)


def test_fieller_is_nan_where_unbounded():
    control = Moments.from_users([0, 0, 0, 0, 1], [5, 5, 5, 5, 5])
    treatment = Moments.from_users([1, 0, 2, 0, 1], [5, 5, 5, 5, 5])
    found = contrast(control, treatment)
    assert STATUSES[int(found.status)] == "ok"
    assert np.isnan(found.fieller_ci).all()
    assert np.isfinite(found.lift_ci).all()
    c, t = rates(control), rates(treatment)
    assert np.isfinite(fieller(c, t, np.array(0.5))).all()


HEALTHY = ([1, 0, 2, 1], [10, 12, 9, 11])
CASES = [
    ("no_users", ([], []), HEALTHY),
    ("no_users", HEALTHY, ([], [])),
    ("no_users", ([], []), ([0], [0])),
    ("no_impressions", HEALTHY, ([0, 0], [0, 0])),
    ("no_impressions", ([0], [0]), HEALTHY),
    ("one_user", HEALTHY, ([1], [5])),
    ("no_variance", ([1, 1], [5, 5]), ([2, 2, 2], [5, 5, 5])),
    ("no_variance", ([0, 0], [5, 3]), ([0, 0], [5, 4])),
    ("no_variance", ([1, 2, 3], [7, 14, 21]), ([3, 3, 3], [9, 9, 9])),
    ("zero_control", ([0, 0, 0], [5, 6, 7]), HEALTHY),
    ("zero_treatment", HEALTHY, ([0, 0, 0], [5, 6, 7])),
    ("ok", HEALTHY, HEALTHY),
    ("ok", HEALTHY, ([1, 1], [5, 5])),
]


@pytest.mark.parametrize(("status", "control", "treatment"), CASES)
def test_status_says_what_is_undefined(status, control, treatment):
    found = contrast(Moments.from_users(*control), Moments.from_users(*treatment))
    assert STATUSES[int(found.status)] == status
    defined = {
        "difference": status not in {"no_users", "no_impressions"},
        "p_value": status in {"zero_control", "zero_treatment", "ok"},
        "lift": status in {"one_user", "zero_treatment", "ok"}
        or (status == "no_variance" and any(control[0])),
        "log_variance": status == "ok",
    }
    for name, there in defined.items():
        assert np.isfinite(getattr(found, name)) == there, name
    assert np.isfinite(found.lift_ci).all() == (status == "ok")
    if status == "zero_treatment":
        assert found.lift == -1


def test_cells_of_any_shape_are_each_cells_result():
    rng = np.random.default_rng(4)
    control, treatment = (Moments.from_users(*users(rng, (3, 4, 200))) for _ in range(2))
    whole = contrast(control, treatment, use_t=True)
    for at in np.ndindex(3, 4):
        one = contrast(control[at], treatment[at], use_t=True)
        assert whole.p_value[at] == pytest.approx(float(one.p_value))
        assert whole.lift_ci[at] == pytest.approx(one.lift_ci)


def test_swapping_the_arms_inverts_the_interval():
    rng = np.random.default_rng(5)
    a, b = Moments.from_users(*users(rng, 500)), Moments.from_users(*users(rng, 400))
    there, back = contrast(a, b), contrast(b, a)
    assert there.p_value == back.p_value
    assert there.difference == -back.difference
    assert 1 + there.lift_ci == pytest.approx(1 / (1 + back.lift_ci[::-1]))
    assert 1 + there.fieller_ci == pytest.approx(1 / (1 + back.fieller_ci[::-1]))


def test_scaled_denominators_scale_the_rate_and_nothing_else():
    rng = np.random.default_rng(6)
    arms = [users(rng, 500), users(rng, 400)]
    plain = contrast(*(Moments.from_users(x, y) for x, y in arms))
    scaled = contrast(*(Moments.from_users(x, y * 1000) for x, y in arms))
    assert scaled.difference * 1000 == pytest.approx(plain.difference)
    assert scaled.p_value == pytest.approx(plain.p_value)
    assert scaled.lift_ci == pytest.approx(plain.lift_ci)


def test_order_and_names_of_users_do_not_matter():
    rng = np.random.default_rng(7)
    x, y = users(rng, 500)
    control, mixed = Moments.from_users(*users(rng, 500)), rng.permutation(500)
    one = contrast(control, Moments.from_users(x, y))
    other = contrast(control, Moments.from_users(x[mixed], y[mixed]))
    assert one.lift_ci == pytest.approx(other.lift_ci, rel=1e-10)


@pytest.mark.parametrize("use_t", [False, True])
def test_intervals_cover_and_the_test_holds_its_level(use_t):
    rng = np.random.default_rng(8)
    replays, lift = 6000, 1.0
    control = Moments.from_users(*users(rng, (replays, 400)))
    treatment = Moments.from_users(*users(rng, (replays, 300), lift))
    found = contrast(control, treatment, use_t=use_t)
    noise = 4 * np.sqrt(0.05 * 0.95 / replays)
    assert np.mean(found.p_value < 0.05) == pytest.approx(0.05, abs=noise)
    for ci in (found.lift_ci, found.fieller_ci):
        assert np.mean((ci[:, 0] <= 0) & (ci[:, 1] >= 0)) == pytest.approx(0.95, abs=noise)


def test_the_impression_as_unit_rejects_far_too_often():
    rng = np.random.default_rng(9)
    arms = [users(rng, (3000, 300)) for _ in range(2)]
    (x, y), (u, w) = [(a.sum(axis=1), b.sum(axis=1)) for a, b in arms]
    pooled = (x + u) / (y + w)
    z = (u / w - x / y) / np.sqrt(pooled * (1 - pooled) * (1 / y + 1 / w))
    naive = np.mean(np.abs(z) > stats.norm.ppf(0.975))
    assert naive > 0.2
    right = contrast(*(Moments.from_users(*arm) for arm in arms))
    assert np.mean(right.p_value < 0.05) < 0.07
