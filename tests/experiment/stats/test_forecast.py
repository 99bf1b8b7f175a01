"""What is foreseen from a few days is what the whole experiment then has."""

import numpy as np
import pytest

from experiment.stats import cuped, ratio
from experiment.stats.forecast import forecast
from experiment.stats.moments import Moments
from experiment.stats.power import design_effect, minimum_detectable


def visits(rng, users, days, spread):
    """Acquisitions and impressions [days, users]; `spread` is the sd of users' log odds."""
    chance = 1 / (1 + np.exp(2.5 - spread * rng.normal(size=users)))
    shown = 10 * (rng.random((days, users)) < rng.uniform(0.05, 0.95, users))
    return rng.binomial(shown, chance), shown


@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_it_is_what_the_experiment_then_has(spread):
    rng = np.random.default_rng(11)
    users, before, days = 40_000, 12, 21
    x, y = visits(rng, users, before + days, spread)
    came = y[:before].sum(axis=0) > 0
    found = forecast(
        x[:before, came], y[:before, came], sampled=users, users=users, days=days, pre_days=before
    )
    m = Moments.from_users(x[before:].sum(0), y[before:].sum(0), x[:before].sum(0), y[:before].sum(0))
    rates = ratio.rates(m)
    actual = minimum_detectable(np.sqrt(2 * rates.v / users) / rates.rate)
    assert found.detectable_lift == pytest.approx(float(actual), rel=0.04)
    assert found.rate == pytest.approx(float(rates.rate), rel=0.01)
    assert found.impressions_per_user == pytest.approx(y[before:].sum() / users, rel=0.01)
    adjusted = cuped.adjust(m, m)
    actual_cuped = found.detectable_lift * np.sqrt(float(adjusted.variance_ratio))
    assert found.detectable_lift_cuped == pytest.approx(actual_cuped, rel=0.04)
    effect = float(design_effect(rates.rate, rates.v, y[before:].sum() / users))
    assert found.design_effect == pytest.approx(effect, rel=0.08)
    assert (effect > 2) == (spread > 0)


def test_of_too_little_nothing_is_said():
    some = np.ones((2, 3))
    ask = {"sampled": 3, "users": 3, "days": 7, "pre_days": 2}
    assert forecast(some[:1], some[:1], **ask) is None
    assert forecast(0 * some, some, **ask) is None
    assert forecast(some, 10 * some, **{**ask, "users": 0}) is None
    assert forecast(some, 10 * some, **ask) is None
    varied = np.arange(6.0).reshape(2, 3)
    assert forecast(varied, 10 * some, **ask) is not None
