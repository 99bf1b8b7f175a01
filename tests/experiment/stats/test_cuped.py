"""CUPED: against regression, unbiased, and as narrow as it says."""

import numpy as np
import pytest
import statsmodels.api as sm

from experiment.stats.cuped import adjust
from experiment.stats.moments import Moments
from experiment.stats.ratio import contrast


def users(rng, shape, lift=1.0, rate=0.06):
    own = rng.beta(5 * rate, 5 * (1 - rate), shape)
    y, py = rng.poisson(20, shape), rng.poisson(15, shape)
    return rng.binomial(y, np.minimum(own * lift, 1)), y, rng.binomial(py, own), py


def linearised(x, y):
    return (x - x.sum() / y.sum() * y) / y.mean()


def test_equal_arms_of_means_give_the_regression_on_the_covariate():
    rng = np.random.default_rng(1)
    before = rng.normal(3, 1, 1000)
    treated = np.repeat([0.0, 1.0], 500)
    after = 10 + before + 0.3 * treated + rng.normal(0, 0.5, 1000)
    ones = np.ones(500)
    arms = [Moments.from_users(after[i : i + 500], ones, before[i : i + 500], ones) for i in (0, 500)]
    found = adjust(*arms)
    fit = sm.OLS(after, sm.add_constant(np.column_stack([treated, before]))).fit()
    assert float(found.difference) == pytest.approx(fit.params[1], rel=1e-10)
    assert float(found.theta) == pytest.approx(fit.params[2], rel=1e-10)
    assert float(found.se) == pytest.approx(fit.bse[1], rel=0.02)


def test_a_pre_period_that_explains_everything_leaves_no_variance_rather_than_a_p_of_1():
    rng = np.random.default_rng(7)
    for _ in range(20):
        x, y, *_ = users(rng, 500)
        u, w, *_ = users(rng, 500, 1.1)
        found = adjust(Moments.from_users(x, y, x, y), Moments.from_users(u, w, u, w))
        assert float(found.variance) == 0
        assert np.isnan(found.p_value)
        assert np.isnan(found.lift_ci).all()


def test_it_agrees_with_lins_regression_on_the_linearised_values():
    rng = np.random.default_rng(2)
    control, treatment = users(rng, 4000), users(rng, 4000, 1.1)
    found = adjust(*(Moments.from_users(*arm) for arm in (control, treatment)))
    now, before, treated = [], [], np.repeat([0.0, 1.0], 4000)
    for x, y, px, py in (control, treatment):
        now.append(linearised(x, y) + x.sum() / y.sum())
        before.append(linearised(px, py) + px.sum() / py.sum())
    e, p = np.concatenate(now), np.concatenate(before)
    centred = p - p.mean()
    design = sm.add_constant(np.column_stack([treated, centred, treated * centred]))
    lin = sm.OLS(e, design).fit(cov_type="HC1")
    assert float(found.difference) == pytest.approx(lin.params[1], abs=0.02 * lin.bse[1])
    assert float(found.se) == pytest.approx(lin.bse[1], rel=0.02)


def test_it_is_unbiased_covers_and_knows_its_variance():
    rng = np.random.default_rng(3)
    replays = 4000
    control = Moments.from_users(*users(rng, (replays, 400)))
    treatment = Moments.from_users(*users(rng, (replays, 400), 1.1))
    plain, found = contrast(control, treatment), adjust(control, treatment)
    spread = found.difference.std()
    assert found.difference.mean() == pytest.approx(0.006, abs=4 * spread / replays**0.5)
    assert spread == pytest.approx(found.se.mean(), rel=0.05)
    realised = (spread / plain.difference.std()) ** 2
    assert realised < 0.7
    assert found.variance_ratio.mean() == pytest.approx(realised, rel=0.07)
    covered = (found.lift_ci[:, 0] <= 0.1) & (found.lift_ci[:, 1] >= 0.1)
    assert covered.mean() == pytest.approx(0.95, abs=0.015)


def test_under_no_effect_it_holds_its_level():
    rng = np.random.default_rng(4)
    arms = [Moments.from_users(*users(rng, (6000, 300))) for _ in range(2)]
    assert np.mean(adjust(*arms).p_value < 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 6000))


def test_the_lift_is_over_the_adjusted_control():
    rng = np.random.default_rng(5)
    arms = [users(rng, 300), users(rng, 350)]
    found = adjust(*(Moments.from_users(*arm) for arm in arms))
    (x, y, px, py), (_, _, pu, pw) = arms
    pooled = (px.sum() + pu.sum()) / (py.sum() + pw.sum())
    adjusted = x.sum() / y.sum() - found.theta * (px.sum() / py.sum() - pooled)
    assert float(found.control.rate) == pytest.approx(float(adjusted))
    assert float(found.lift) == pytest.approx(float(found.difference / adjusted))
    assert float(found.treatment.rate / found.control.rate - 1) == pytest.approx(float(found.lift))


def test_swapping_the_arms_inverts_it():
    rng = np.random.default_rng(6)
    a, b = (Moments.from_users(*users(rng, n)) for n in (300, 400))
    there, back = adjust(a, b), adjust(b, a)
    assert float(there.difference) == pytest.approx(-float(back.difference))
    assert 1 + there.lift_ci == pytest.approx(1 / (1 + back.lift_ci[::-1]))


@pytest.mark.parametrize("pre", [([0, 0, 0], [0, 0, 0]), ([1, 1, 1], [5, 5, 5])])
def test_without_a_pre_period_rate_or_its_variance_it_is_undefined(pre):
    arm = Moments.from_users([1, 0, 2], [5, 6, 7], *pre)
    found = adjust(arm, arm)
    for value in (found.theta, found.difference, found.p_value, found.lift, found.variance_ratio):
        assert np.isnan(value)


def test_without_pre_columns_it_is_refused():
    arm = Moments.from_users([1, 0], [5, 6])
    with pytest.raises(
        ValueError, match=r"^pre-period: got none, columns px and py are needed in both arms$"
    ):
        adjust(arm, arm)
