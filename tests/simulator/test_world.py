"""The world: standardised components, users that are functions of their ids, responses by the formula."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from simulator.keys import Stream, uniform
from simulator.preferences import _intercept
from simulator.retrieval import Counts, build_index
from simulator.schema import NO_APP
from simulator.world import request_ids, user_and_day, with_apps


def _day(world, users, day):
    profiles = world.profiles(users)
    installed = world.initial_installs(profiles)
    index = build_index(world.retrieval, world.users.countries, world.catalogue, Counts.empty(), day)
    rows = world.visitors(profiles, day)
    requests, sources = world.requests(profiles, rows, installed, day, index)
    return profiles, rows, requests, sources


def test_a_user_is_a_function_of_its_id(world):
    many = world.profiles(np.arange(0, 40_000, 7))
    few = world.profiles(np.array([21_007, 7, 0]))
    for name in ("country", "language", "age_band", "gender", "device", "visit_rate", "taste", "propensity"):
        assert np.array_equal(getattr(many, name)[[3001, 1, 0]], getattr(few, name)), name
    assert np.array_equal(world.initial_installs(many)[[3001, 1, 0]], world.initial_installs(few))


def test_worlds_of_different_seeds_have_the_stated_deviations_and_base_rate(make_world):
    for seed in range(4):
        world = make_world(seed)
        users = np.arange(20_000)
        profiles = world.profiles(users)
        old = np.flatnonzero(world.apps.store_installs > 0)
        apps = old[np.random.default_rng(seed).integers(0, len(old), len(users))]
        preferences = world.preferences
        taste = np.einsum("nk,nk->n", profiles.taste, preferences.app_vectors[apps])
        assert taste.std() == pytest.approx(world.settings.taste_sd, rel=0.04)
        assert taste.mean() - preferences.taste_centre == pytest.approx(0, abs=0.05)
        propensity = preferences.user_value(profiles)
        assert propensity.std() == pytest.approx(world.settings.propensity_sd, rel=0.04)
        hours = np.random.default_rng(seed + 1).integers(0, 24, len(users))
        smooth = taste - preferences.taste_centre + propensity + preferences.app_value[apps]
        smooth += preferences.hour_category[hours, world.apps.category[apps]]
        assert expit(smooth).mean() == pytest.approx(world.settings.base_rate, rel=0.1)
        assert np.corrcoef(taste, propensity)[0, 1] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    "settings",
    [{"quality_sd": 10.0, "propensity_sd": 10.0}, {"taste_sd": 10.0, "base_rate": 0.4}, {"base_rate": 1e-14}],
)
def test_the_widest_settings_make_a_world(make_world, settings):
    assert np.isfinite(make_world(0, **settings).preferences.app_value).all()


@pytest.mark.parametrize("spread", [0.0, 1.0, 60.0])
@pytest.mark.parametrize("rate", [1e-300, 1e-14, 0.012, 0.49])
def test_the_intercept_gives_the_base_rate(spread, rate):
    smooth = np.random.default_rng(0).normal(0.0, spread, 5000)
    found = _intercept(smooth, rate)
    assert expit(smooth + found).mean() == pytest.approx(rate, rel=1e-6)


def test_the_intercept_is_bit_for_bit_that_of_the_usual_interval():
    smooth = np.random.default_rng(0).normal(0.0, 2.0, 5000)
    assert _intercept(smooth, 0.012) == brentq(lambda b: expit(smooth + b).mean() - 0.012, -30.0, 30.0)


def test_popularity_is_zipf_like_and_follows_quality_a_little(world):
    popularity = np.sort(world.catalogue.popularity)[::-1]
    ranks = np.arange(len(popularity)) + world.settings.popularity_offset
    assert np.allclose(popularity * ranks, popularity[0] * ranks[0])
    rho = np.corrcoef(np.argsort(np.argsort(world.catalogue.popularity)), world.catalogue.quality)[0, 1]
    assert rho == pytest.approx(world.settings.popularity_quality, abs=0.08)


def test_the_catalogue_turns_over_within_the_horizon(world):
    late = world.apps.release_day > -(10**5)
    assert late.mean() == pytest.approx(world.settings.turnover, abs=0.04)
    assert world.apps.release_day[late].min() >= world.settings.horizon_start
    assert world.apps.release_day[late].max() < world.settings.horizon_start + world.settings.horizon_days
    assert (world.apps.store_installs[late] == 0).all()


def test_exceptions_expire_at_the_stated_rate_and_a_quarter_is_negative(make_world):
    world = make_world(1, drift=0.1)
    first, later = world.exceptions(3), world.exceptions(10)
    kept = (first.companions == later.companions) & (first.weights == later.weights)
    assert kept.mean() == pytest.approx(0.9**7, abs=0.02)
    assert (first.weights < 0).mean() == pytest.approx(0.25, abs=0.02)
    weight = world.settings.exception_weight
    assert np.abs(first.weights).min() >= 0.5 * weight
    assert np.abs(first.weights).max() <= 1.5 * weight


def test_exceptions_of_a_day_do_not_depend_on_days_asked_before(make_world):
    forward = [make_world(2).exceptions(day).companions for day in (1, 2, 3)]
    assert np.array_equal(make_world(2).exceptions(3).companions, forward[2])


def test_no_drift_keeps_exceptions_and_full_drift_redraws_them_daily(make_world):
    still = make_world(1, drift=0.0)
    assert np.array_equal(still.exceptions(1).companions, still.exceptions(20).companions)
    wild = make_world(1, drift=1.0)
    same = wild.exceptions(1).companions == wild.exceptions(2).companions
    assert same.mean() < 0.05


def test_log_odds_follow_the_formula(world):
    profiles, rows, requests, _ = _day(world, np.arange(300), 4)
    odds, exceptions = world.log_odds(profiles, rows, requests)
    preferences, today = world.preferences, world.exceptions(4)
    value = preferences.user_value(profiles)
    for b in (0, 17, len(rows) - 1):
        user = rows[b]
        owned = set(requests.installed[b]) - {NO_APP}
        for c in (0, 31, 59):
            app = requests.apps[b, c]
            extra = sum(
                w for i, w in zip(today.companions[app], today.weights[app], strict=True) if i in owned
            )
            taste = profiles.taste[user] @ preferences.app_vectors[app] - preferences.taste_centre
            hour = preferences.hour_category[requests.hour[b], world.apps.category[app]]
            expected = value[user] + preferences.app_value[app] + hour + taste + extra
            assert exceptions[b, c] == pytest.approx(extra)
            assert odds[b, c] == pytest.approx(expected)
    assert (exceptions != 0).any()


def test_examination_falls_with_the_position_and_the_coin_is_keyed(world):
    profiles, rows, requests, _ = _day(world, np.arange(500), 2)
    shown = with_apps(requests, np.ascontiguousarray(requests.apps[:, :10]))
    odds, _ = world.log_odds(profiles, rows, shown)
    chances, labels = world.respond(shown, odds)
    decay = world.settings.examination_decay
    assert np.allclose(chances, expit(odds) * np.exp(-decay * np.arange(10)))
    coins = uniform(world.seed, Stream.ACQUISITION, requests.user_id[:, None], shown.apps, 2)
    assert np.array_equal(labels, coins < chances)


def test_the_same_app_has_the_same_luck_in_another_place(world):
    profiles, rows, requests, _ = _day(world, np.arange(500), 2)
    shown = with_apps(requests, np.ascontiguousarray(requests.apps[:, :10]))
    turned = with_apps(requests, np.ascontiguousarray(requests.apps[:, 9::-1]))
    one = world.respond(shown, world.log_odds(profiles, rows, shown)[0])
    two = world.respond(turned, world.log_odds(profiles, rows, turned)[0])
    higher = two[0][:, ::-1] > one[0]
    assert (two[1][:, ::-1] >= one[1])[higher].all()
    assert (two[1][:, ::-1] <= one[1])[~higher].all()


def test_visits_follow_the_users_rates(world):
    profiles = world.profiles(np.arange(4000))
    days = np.zeros(len(profiles))
    for day in range(1, 41):
        days[world.visitors(profiles, day)] += 1
    z = (days - 40 * profiles.visit_rate) / np.sqrt(40 * profiles.visit_rate * (1 - profiles.visit_rate))
    assert abs(z.mean()) < 0.07
    assert z.std() == pytest.approx(1, abs=0.05)


def test_a_request_id_holds_user_and_day():
    for user, day in ((0, -13), (999_999_999, 21), (5, 0)):
        assert user_and_day(int(request_ids(np.array([user]), day)[0])) == (user, day)


def test_hours_are_busier_in_the_evening(world):
    _, _, requests, _ = _day(world, np.arange(20_000), 1)
    counts = np.bincount(requests.hour, minlength=24)
    assert counts[17:20].sum() > 1.7 * counts[5:8].sum()
    assert math.isclose(counts.sum(), len(requests))


def test_exceptions_of_apps_that_were_asked_for_are_those_of_all(make_world):
    every = make_world(2).exceptions(3)
    some = np.array([[7, 3, 7], [0, 11, 199]])
    drawn = make_world(2).exception_source.on(3)
    few = drawn.of(some)
    assert drawn.drawn.sum() == 5
    assert np.array_equal(few.companions[some], every.companions[some])
    assert np.array_equal(few.weights[some], every.weights[some])
