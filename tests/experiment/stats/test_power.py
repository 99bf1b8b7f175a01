"""Power against statsmodels and simulation; days left."""

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from experiment.stats.power import (
    days_left,
    design_effect,
    distance,
    minimum_detectable,
    power,
    user_variance,
    users_needed,
)


@pytest.mark.parametrize(("effect", "n", "ratio"), [(0.1, 500, 1.0), (0.02, 30000, 2.0), (0.0, 100, 1.0)])
def test_power_is_statsmodels(effect, n, ratio):
    se = np.sqrt((1 + 1 / ratio) / n)
    expected = NormalIndPower().power(effect, n, 0.05, ratio)
    assert float(power(effect, se)) == pytest.approx(expected, rel=1e-9)


def test_users_needed_are_statsmodels():
    n = NormalIndPower().solve_power(effect_size=0.05, alpha=0.01, power=0.9, ratio=1.5)
    assert users_needed(0.05, 1.0, target=0.9, alpha=0.01, ratio=1.5) == int(np.ceil(n))


def test_one_percent_buckets_need_the_users_that_the_contract_names():
    v = user_variance(0.057, 20, 1.462)
    assert users_needed(0.039 * 0.057, v) == pytest.approx(12481, rel=0.001)
    assert users_needed(0.029 * 0.057, v) == pytest.approx(22573, rel=0.001)
    assert float(design_effect(0.057, v, 20)) == pytest.approx(1.462)
    assert np.isnan(design_effect(0.0, 0.0, 20))


def test_detectable_difference_has_the_power():
    assert distance() == pytest.approx(2.8016, abs=1e-4)
    assert float(power(minimum_detectable(0.003, target=0.9), 0.003)) == pytest.approx(0.9)
    assert np.isnan(power(0.1, 0.0))


def test_days_left_follow_the_curve_of_returning_users():
    days = np.arange(1, 8)
    variances = 2e-7 + 9e-6 / days
    assert days_left(days, variances, 2e-7 + 9e-6 / 21) == 14
    assert days_left(days, variances, variances[-1]) == 0
    assert days_left(days, variances, 1e-7) is None
    assert days_left([], [], 1.0) is None
    assert days_left([1], [4.0], 1.0) == 3
    assert days_left([1, 2], [np.nan, np.nan], 1.0) is None
    assert days_left([1, 2, 4], [8.0, 4.0, 2.0], 1.0) == 4
    assert days_left([1, 2, 3], [9.0, 4.0, 2.5], 1.0) >= 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: users_needed(0, 1), "difference: got 0, finite numbers other than 0 are allowed"),
        (lambda: users_needed(1, 0), "v: got 0, finite numbers above 0 are allowed"),
        (lambda: users_needed(1, 1, ratio=0), "ratio: got 0, finite numbers above 0 are allowed"),
        (
            lambda: distance(1.0),
            "power: got 1.0 at alpha 0.05, numbers with 0 < alpha < power < 1 are allowed",
        ),
    ],
)
def test_bad_figures_are_named(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        call()
    assert str(error.value) == message
