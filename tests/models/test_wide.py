"""The wide part against the definition: features spelled out one by one, learned by the generic FTRL."""

import dataclasses

import numpy as np
import pytest

from models.features import Features
from models.ftrl import FTRL
from models.scorer import Published
from models.settings import RICH_CROSSES, FeatureSettings, LinearSettings, WideSettings
from models.training import residuals
from models.wide import LinearPart
from models.wide_deep import Wide

USER = ("country", "language", "age_band", "gender", "device", "hour", "weekday")


@pytest.fixture(scope="module")
def world(lab):
    store = lab.store(seed=1, exception=2.0)
    log = store.log(np.random.default_rng(2), 200, [1, 2])
    installed = log.requests.installed.copy()
    installed[:, -1] = installed[:, 0]  # an app listed twice counts once
    return store, dataclasses.replace(log, requests=dataclasses.replace(log.requests, installed=installed))


def prepared(lab, world, crosses):
    store, log = world
    features = Features(store.apps, lab.cardinalities, FeatureSettings(app_min_count=12))
    part = LinearPart(features, LinearSettings(crosses=crosses, cross_min_count=2, alpha=0.3, l1=0.2, l2=0.1))
    first, second = (log.take(log.requests.sim_day == day) for day in (1, 2))
    features.grow(first)
    part.grow(features.day(first))
    features.learn(first)
    features.grow(second)
    day = features.day(second)
    part.grow(day)
    return features, part, day


def named_features(features, part, day, crosses):
    """For each impression, {name: value}, as section 3.1 of the paper describes them."""
    found = []
    for b in range(len(day)):
        user = dict(zip(USER, day.codes[b].tolist(), strict=True))
        own = [int(i) for i in dict.fromkeys(day.installed[b].tolist()) if i >= 0]
        for s, a in enumerate(day.apps[b].tolist()):
            category, tag, price, rating = features.codes[a].tolist()
            names = {
                ("bias",): 1.0,
                ("position", int(day.positions[b, s])): 1.0,
                ("age", int(day.ages[a])): 1.0,
            }
            for pair in user.items():
                names[pair] = 1.0
            for pair in (("category", category), ("tag", tag), ("price", price), ("rating", rating)):
                names[pair] = 1.0
            for d in range(2):
                names["dense", d] = float(features.dense[a, d])
            for name, code in user.items():
                if f"{name}_x_category" in crosses:
                    names[name, code, "category", category] = 1.0
                if f"{name}_x_app" in crosses and features.app_rows[a]:
                    names[name, code, "app", a] = 1.0
            if features.app_rows[a]:
                names["app", a] = 1.0
            if "installed_category_x_category" in crosses:
                for k in {int(features.codes[i, 0]) for i in own}:
                    names["installed category", k, "category", category] = 1.0
            if "installed_x_app" in crosses:
                for i in own:
                    if part.crosses.lookup(i, a) > 0:
                        names["installed", i, "app", a] = 1.0
            found.append(names)
    return found


@pytest.mark.parametrize(
    "crosses", [(), ("installed_x_app",), ("gender_x_app", "hour_x_category"), RICH_CROSSES]
)
def test_it_is_ftrl_on_the_features_of_the_paper(lab, world, crosses):
    features, part, day = prepared(lab, world, crosses)
    named = named_features(features, part, day, crosses)
    ids = {name: k for k, name in enumerate(dict.fromkeys(n for names in named for n in names))}
    s = part.settings
    plain = FTRL(len(ids), s.alpha, s.beta, s.l1, s.l2, np.float64)
    for start in (0, 60, 120):
        batch, rows = day.rows(start, start + 60), named[start * 10 : (start + 60) * 10]
        flat = np.array([ids[n] for names in rows for n in names])
        values = np.array([v for names in rows for v in names.values()])
        offsets = np.cumsum([0] + [len(names) for names in rows])
        expected = plain.logits(flat, offsets, values)
        logits = part.logits(batch)
        np.testing.assert_allclose(logits.ravel(), expected, atol=2e-5)
        gradients = np.empty_like(logits)
        residuals(logits, batch.labels, gradients)
        part.step(gradients)
        plain.step(flat, offsets, gradients.ravel(), values)
    assert np.abs(expected).max() > 0.1
    assert np.count_nonzero(part.first.weights()) + np.count_nonzero(part.pairs.weights()) == pytest.approx(
        np.count_nonzero(plain.weights()), abs=3
    )


def test_dense_gradients_are_weighted_by_their_values(lab, world):
    features, part, day = prepared(lab, world, ())
    batch = day.rows(0, 5)
    part.logits(batch)
    part.step(np.ones((5, 10), np.float32))
    expected = features.dense[batch.apps].sum((0, 1)).astype(np.float64)
    np.testing.assert_allclose(np.sqrt(part.first.n[part.layout.dense :][:2]), expected, rtol=1e-5)


def test_an_app_or_pair_without_an_id_adds_exactly_nothing(lab, world):
    store, log = world
    settings = WideSettings(features=FeatureSettings(app_min_count=10**6))
    settings = settings.model_copy(
        update={"wide": LinearSettings(crosses=RICH_CROSSES, cross_min_count=10**6)}
    )
    ranker = Wide(store.apps, lab.cardinalities, settings, 0)
    ranker.fit(log, 1)
    assert ranker.publish().meta["nonzero"]["crosses"] == 0
    shares = ranker.publish().explain(log.requests, 0, 0)
    assert not [name for name in shares if "app=" in name]


def test_only_non_zero_weights_are_published(lab, world):
    store, log = world
    ranker = Wide(store.apps, lab.cardinalities, {"wide": {"crosses": ["installed_x_app"], "l1": 3.0}}, 0)
    ranker.fit(log, 1)
    arrays = ranker.parts["wide"].published()
    assert (arrays["weights"] != 0).all()
    assert (arrays["cross_weights"] != 0).all()
    assert 0 < len(arrays["cross_weights"]) < ranker.parts["wide"].crosses.size - 1
    weights = dict(zip(arrays["lefts"].tolist(), arrays["rights"].tolist(), strict=True))
    assert max(weights) < len(store.apps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wide": {"crosses": ["app_x_app"]}}, "wide.crosses.0"),
        ({"wide": {"crosses": ["hour_x_category"] * 2}}, "each may be named once"),
        ({"wide": {"alpha": 0}}, "wide.alpha"),
        ({"features": {"age_boundaries": [3, 2]}}, "they must ascend strictly"),
        ({"features": {"age_boundaries": [0]}}, r"features.age_boundaries.0\n.* greater than or equal to 1 "),
        (
            {"features": {"age_boundaries": [-3]}},
            r"features.age_boundaries.0\n.* greater than or equal to 1 ",
        ),
        (
            {"features": {"age_boundaries": [1, 150_000]}},
            r"features.age_boundaries.1\n.* or equal to 100000 ",
        ),
        ({"training": {"batch_requests": 0}}, "training.batch_requests"),
    ],
)
def test_settings_are_checked(lab, world, settings, message):
    with pytest.raises(ValueError, match=message):
        Wide(world[0].apps, lab.cardinalities, settings, 0)


def test_the_outermost_age_boundaries_are_published(lab, world, tmp_path):
    store, log = world
    settings = {"features": {"age_boundaries": [1, 100_000]}}
    ranker = Wide(store.apps, lab.cardinalities, settings, 0)
    ranker.fit(log, 1)
    ranker.publish().save(tmp_path)
    loaded = Published.load(tmp_path, store.apps)
    assert np.array_equal(loaded.score(log.requests), ranker.score(log.requests))


def test_a_cold_start_counts_pairs_anew(lab, world):
    store, log = world
    settings = {"wide": {"cross_min_count": 3}, "training": {"warm_start": False}}
    cold, once = (Wide(store.apps, lab.cardinalities, settings, 0) for _ in range(2))
    for _ in range(2):
        cold.fit(log, 1)
    once.fit(log, 1)
    assert cold.features.app_vocabulary.size >= once.features.app_vocabulary.size > 1
    assert cold.parts["wide"].crosses.size == once.parts["wide"].crosses.size > 1
