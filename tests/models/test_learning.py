"""What each kind learns: memorised exceptions, smooth taste, or both; and how a score is explained."""

import numpy as np
import pytest

from models import registry

PAPER = {"wide": {"crosses": ["installed_x_app"]}}


def learned(lab, store, kinds, rows=6000, **settings):
    """AUC above that of chance for each kind, as a share of what the true log odds reach."""
    rng = np.random.default_rng(4)
    log, held_out = store.log(rng, rows // 4, [1, 2, 3, 4]), store.log(rng, 1500, [4])
    best = lab.auc(store.log_odds(held_out.requests), held_out.labels) - 0.5
    shares = {}
    for kind in kinds:
        own = {k: v for k, v in settings.items() if k in registry.kinds[kind].Settings.model_fields}
        ranker = registry.create(kind, store.apps, lab.cardinalities, own, 1)
        ranker.fit(log, 2)
        shares[kind] = (lab.auc(ranker.score(held_out.requests), held_out.labels) - 0.5) / best
    return shares


@pytest.fixture(scope="module")
def exceptions(lab):
    return learned(
        lab, lab.store(n_apps=60, smooth=0.0, exception=2.5, slots=6), ["wide", "deep", "wide_deep"], **PAPER
    )


@pytest.fixture(scope="module")
def taste(lab):
    store = lab.store(smooth=1.2)
    return learned(lab, store, ["wide", "deep", "wide_deep", "fm", "popularity", "random"], **PAPER)


def test_wide_learns_exceptions_and_deep_does_not(exceptions):
    assert exceptions["wide"] > exceptions["deep"] + 0.2


def test_deep_learns_taste_and_a_linear_model_does_not(taste):
    assert taste["deep"] > taste["wide"] + 0.2
    assert taste["fm"] > taste["wide"] + 0.1
    assert taste["wide"] > taste["random"]


def test_wide_deep_learns_both(exceptions, taste):
    assert exceptions["wide_deep"] > exceptions["deep"] + 0.2
    assert taste["wide_deep"] > taste["wide"] + 0.2


def test_both_at_once_want_both_parts(lab):
    store = lab.store(n_apps=60, smooth=1.0, exception=2.5, slots=6)
    shares = learned(lab, store, ["wide", "deep", "wide_deep", "ensemble"], rows=16_000, **PAPER)
    assert shares["wide_deep"] > max(shares["wide"], shares["deep"]) + 0.05
    assert shares["wide_deep"] > shares["ensemble"] + 0.02 > shares["wide"] + 0.02


@pytest.mark.parametrize("kind", ["wide", "deep", "wide_deep", "ensemble", "fm"])
def test_scores_are_calibrated(lab, kind):
    store = lab.store(smooth=0.5)
    rng = np.random.default_rng(4)
    ranker = registry.create(kind, store.apps, lab.cardinalities, {}, 1)
    ranker.fit(store.log(rng, 4000, [1, 2, 3]), 2)
    held_out = store.log(rng, 4000, [3])
    mean = (1 / (1 + np.exp(-ranker.score(held_out.requests).astype(np.float64)))).mean()
    assert mean / held_out.labels.mean() == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("kind", ["wide", "deep", "wide_deep", "ensemble", "fm"])
def test_shares_explain_the_score(lab, kind):
    store = lab.store(smooth=0.5, exception=2.0)
    ranker = registry.create(kind, store.apps, lab.cardinalities, {}, 1)
    log = store.log(np.random.default_rng(4), 800, [1, 2])
    ranker.fit(log, 2)
    published = ranker.publish()
    scores = published.score(log.requests)
    names = set()
    for row in range(0, 400, 7):
        shares = published.explain(log.requests, row, row % 10)
        assert sum(shares.values()) == pytest.approx(float(scores[row, row % 10]), abs=1e-5)
        assert all(shares.values())
        names |= {
            name.split("=")[0] for name in shares if " x app=" in name and name.startswith("installed=")
        }
        assert ("deep logit" in shares) == (kind in ("deep", "wide_deep", "ensemble"))
    assert bool(names) == (kind in ("wide", "wide_deep", "ensemble"))


def test_cold_start_forgets_the_weights(lab):
    store = lab.store()
    log = store.log(np.random.default_rng(4), 200, [1, 2])
    scores = []
    for first in ([1], []):
        ranker = registry.create(
            "deep", store.apps, lab.cardinalities, {"training": {"warm_start": False}}, 1
        )
        for day in [*first, 2]:
            ranker.fit(log.take(log.requests.sim_day == day), 2)
        scores.append(ranker.parts["deep"].weights["layer2"])
    assert not np.array_equal(*scores)  # the app history of day 1 stays
    other = registry.create("deep", store.apps, lab.cardinalities, {}, 1)
    other.fit(log.take(log.requests.sim_day == 1), 2)
    other.fit(log.take(log.requests.sim_day == 2), 2)
    assert not np.array_equal(other.parts["deep"].weights["layer2"], scores[0])
