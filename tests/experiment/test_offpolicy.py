"""Off-policy estimates: unbiased by simulation under the position-based policy, and of a whole run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from experiment import running
from experiment.cli import app
from experiment.errors import BadInput
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.folder.tensors import read_arrays, write_arrays
from experiment.loading import load
from experiment.offpolicy import estimators
from experiment.offpolicy.command import OFFPOLICY, offpolicy, render
from experiment.offpolicy.evaluate import ESTIMATORS, evaluate
from experiment.offpolicy.logged import chances_by_position, targets
from experiment.truth.replay import ReplayError
from simulator import exploration

B, C, S, SCALE = 40_000, 8, 3, 0.7
THETA = np.array([1.0, 0.7, 0.4])


@pytest.fixture(scope="module")
def store():
    """Requests of one day with a logging and a target ranker, and each app's relevance."""
    rng = np.random.default_rng(3)
    relevance = rng.uniform(0.05, 0.5, (B, C))
    users, days = np.arange(B), np.zeros(B, np.int32)
    apps = np.tile(np.arange(C, dtype=np.int32), (B, 1))
    logging = (np.log(relevance) + rng.normal(0, 0.6, (B, C))).astype(np.float32)
    wanted = (np.log(relevance) + rng.normal(0, 0.6, (B, C))).astype(np.float32)
    logged = exploration.slates(1, users, days, apps, logging, S, SCALE)
    target = exploration.slates(1, users, days, apps, wanted, S, 0.0)
    return relevance, logging, logged, target


def labels_of(store, factorised=True):
    """Labels of the logged slates and the target's true rate; else only liked apps are seen at position 2."""
    relevance, _, logged, target = store
    rng = np.random.default_rng(4)

    def chances(slate):
        r = np.take_along_axis(relevance, slate, 1)
        return r * THETA if factorised else r * np.where(np.arange(S) == 2, r > 0.3, 1.0)

    return (rng.random((B, S)) < chances(logged)).astype(np.int8), chances(target).mean()


def weights_of(store):
    _, logging, logged, target = store
    hits = logged[:, :, None] == target[:, None, :]
    places = np.where(hits.any(2), hits.argmax(2), -1)
    own = exploration.propensities(logging, logged, SCALE)
    everywhere = chances_by_position(logging, logged, SCALE)
    return (
        estimators.item_weights(places == np.arange(S), own),
        estimators.position_weights(places, everywhere, THETA),
    )


def z(estimate, truth):
    return (estimate.rate - truth) / estimate.se


def test_chances_at_all_positions_are_those_of_sampled_slates(store):
    _, logging, logged, _ = store
    scores, slate = np.repeat(logging[:1], B, 0), np.repeat(logged[:1], B, 0)
    drawn = exploration.slates(
        5,
        np.arange(B),
        np.zeros(B, np.int32),
        np.tile(np.arange(C, dtype=np.int32), (B, 1)),
        scores,
        S,
        SCALE,
    )
    shares = [[(drawn[:, p] == slate[0, s]).mean() for p in range(S)] for s in range(S)]
    chances = chances_by_position(scores[:1], slate[:1], SCALE)[0]
    np.testing.assert_allclose(chances, shares, atol=0.01)
    np.testing.assert_array_equal(np.diag(chances), exploration.propensities(scores[:1], slate[:1], SCALE)[0])


def test_ips_snips_and_dr_are_unbiased_on_position_based_propensities(store):
    labels, truth = labels_of(store)
    for weights in weights_of(store):
        wrong = np.full(labels.shape, 0.2)  # a model of acquisition that knows nothing
        found = {
            "ips": estimators.ips(labels, weights),
            "snips": estimators.snips(labels, weights, THETA),
            "dr": estimators.doubly_robust(labels, weights, wrong * THETA, wrong * THETA),
        }
        assert {name for name, one in found.items() if abs(z(one, truth)) > 3.5} == set()
        assert all(one.se < 0.1 * truth for one in found.values())
    naive = labels.mean()
    assert abs(naive - truth) > 0.01, "the log's own rate is another"


def test_their_intervals_cover_the_truth(store):
    labels, truth = labels_of(store)
    item, position = weights_of(store)
    for weights in (item, position):
        rows = np.arange(B).reshape(200, -1)
        found = [estimators.snips(labels[at], weights[at], THETA) for at in rows]
        assert 0.89 < np.mean([abs(z(one, truth)) < 1.96 for one in found]) < 0.99


def test_position_based_weights_are_of_lower_variance(store):
    labels, _ = labels_of(store)
    item, position = (estimators.ips(labels, weights) for weights in weights_of(store))
    assert position.se < 0.6 * item.se


def test_position_based_weights_are_wrong_where_positions_do_not_factorise(store):
    labels, truth = labels_of(store, factorised=False)
    item, position = (estimators.ips(labels, weights) for weights in weights_of(store))
    assert abs(z(item, truth)) < 3.5
    assert abs(z(position, truth)) > 5


def test_a_right_model_makes_the_direct_method_right_and_dr_precise(store):
    relevance, _, logged, target = store
    labels, truth = labels_of(store)
    there, wanted = (np.take_along_axis(relevance, slate, 1) * THETA for slate in (logged, target))
    weights, _ = weights_of(store)
    assert abs(z(estimators.direct(np.random.default_rng(3).binomial(1, wanted)), truth)) < 3.5
    assert estimators.direct(1.2 * wanted).rate == pytest.approx(1.2 * truth)
    dr, ips = estimators.doubly_robust(labels, weights, there, wanted), estimators.ips(labels, weights)
    assert abs(z(dr, truth)) < 3.5
    assert dr.se < ips.se


def test_a_propensity_that_the_log_rounds_to_0_has_a_finite_weight():
    weights = estimators.item_weights(
        np.array([[True, True, False]]), np.array([[0.0, 0.5, 0.0]], np.float32)
    )
    assert weights[0, 1:].tolist() == [2.0, 0.0]
    _, support = estimators.clipped(weights, None)
    assert np.isfinite(support.largest)
    assert support.effective_sample == pytest.approx(1.0)


def test_clipping_is_stated_and_lowers_the_estimate(store):
    labels, _ = labels_of(store)
    weights, _ = weights_of(store)
    cut, support = estimators.clipped(weights, 2.0)
    assert cut.max() == 2.0
    assert support.clipped_share == pytest.approx((weights > 2).sum() / (weights > 0).sum())
    assert support.largest == weights.max()
    assert support.matched_share == pytest.approx((weights > 0).mean())
    assert support.effective_sample == pytest.approx(cut.sum() ** 2 / (cut**2).sum())
    assert estimators.ips(labels, cut).rate < estimators.ips(labels, weights).rate
    same, free = estimators.clipped(weights, None)
    assert same is weights
    assert free.clipped_share == 0
    assert free.effective_sample < support.effective_sample


def test_without_a_match_ips_is_0_and_snips_undefined():
    nothing = np.zeros((4, S))
    _, support = estimators.clipped(nothing, 5.0)
    assert (support.effective_sample, support.matched_share, support.clipped_share) == (0.0, 0.0, 0.0)
    assert estimators.ips(nothing, nothing).rate == 0
    assert np.isnan(estimators.snips(nothing, nothing, THETA).rate)
    assert estimators.lift(estimators.snips(nothing, nothing, THETA), estimators.direct(nothing + 1)) == (
        None,
        None,
    )


def test_a_lift_is_paired_by_request(store):
    labels, _ = labels_of(store)
    weights, _ = weights_of(store)
    one = estimators.ips(labels, weights)
    assert estimators.lift(one, one) == (0.0, (0.0, 0.0))
    double = estimators.Estimate(2 * one.rate, 2 * one.se, 2 * one.values)
    assert estimators.lift(double, one)[1] == pytest.approx((1.0, 1.0))
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.2, 0.1, 4000), rng.normal(0.1, 0.1, 4000)
    found, ci = estimators.lift(*(estimators.Estimate(x.mean(), 0, x) for x in (a, b)))
    drawn = [a[at].mean() / b[at].mean() - 1 for at in rng.integers(0, 4000, (500, 4000))]
    assert found == pytest.approx(a.mean() / b.mean() - 1)
    np.testing.assert_allclose(ci, np.quantile(drawn, [0.025, 0.975]), atol=0.02)


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.4])
def test_the_decay_of_examination_is_found(decay):
    predicted = np.linspace(900, 200, 10)
    scale, found = estimators.decay_of(1.3 * predicted * np.exp(-decay * np.arange(10)), predicted)
    assert (scale, found) == (pytest.approx(1.3), pytest.approx(decay, abs=1e-9))
    assert estimators.decay_of(np.zeros(10), predicted) == (1.0, 0.0)


# --- a run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    settings = ["world.apps=400", "users.population=20000", "experiment.days=1"]
    running.run(load("tiny", settings, arms="wide,deep,oracle", workers=1), folder)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_a_run_gets_its_document(copy):
    document = offpolicy(copy)
    folder = RunFolder.open(copy)
    assert folder.verify() == []
    assert json.loads((copy / OFFPOLICY).read_text()) == document
    assert list(document["arms"]) == ["wide", "deep"]
    assert [(c["arm"], c["control"]) for c in document["comparisons"]] == [("deep", "wide")]
    report = folder.report()
    for arm, one in document["arms"].items():
        assert list(one["estimates"]) == list(ESTIMATORS)
        assert one["gauc"] == report["arms"][arm]["gauc"]
        for name, found in one["estimates"].items():
            if name != "direct":
                assert abs(found["rate"] - one["expected_rate"]) < 6 * found["se"], name
        assert one["support"]["item"]["matched_share"] < one["support"]["position"]["matched_share"] < 1
    assert document == evaluate(folder)


def test_the_command(copy):
    result = CliRunner().invoke(app, ["offpolicy", str(copy), "--json", "--clip", "0"])
    document = json.loads(result.stdout)
    assert document["clip"] is None
    assert all(one["support"]["item"]["clipped_share"] == 0 for one in document["arms"].values())
    shown = CliRunner().invoke(app, ["offpolicy", str(copy)]).output
    assert "Deep" in shown
    assert "vs Wide" in shown
    assert "weights are cut at 100" in shown
    assert "SNIPS by positions" in shown
    assert render(document) is not None


def test_targets_are_the_models_behind_the_offline_auc(copy, monkeypatch):
    folder = RunFolder.open(copy)
    with monkeypatch.context() as patch:
        patch.setattr("experiment.nightly.trained", None)  # they were kept
        assert list(targets(folder)) == ["wide", "deep"]
    shutil.rmtree(RunPaths(copy).offline_model("deep"))
    assert list(targets(folder)) == ["wide", "deep"]  # it was trained again, to the same scores
    path = RunPaths(copy).offline("deep")
    write_arrays(path, {"scores": read_arrays(path)["scores"] + 1})
    with pytest.raises(
        ReplayError, match=r"^offpolicy: got a model of deep that scores the holdout otherwise"
    ):
        targets(folder)


def test_refusals(run, copy, tmp_path):
    with pytest.raises(BadInput, match=r"^clip: got -1, allowed: 0 \(no limit\) or more$"):
        offpolicy(run, -1)
    greedy = RunFolder.create(tmp_path / "greedy", load("tiny", ["production.exploration=0"]))
    with pytest.raises(BadInput, match=r"got a run with production\.exploration = 0, allowed: more than 0$"):
        evaluate(greedy)
    short = RunFolder.create(tmp_path / "short", load("tiny", ["experiment.pre_days=2"]))
    with pytest.raises(BadInput, match=r"got a run with experiment\.pre_days = 2, allowed: 3 or more, so"):
        evaluate(short)
    unfinished = RunFolder.create(tmp_path / "unfinished", load("tiny"))
    with pytest.raises(BadInput, match="stopped before a day was done"):
        offpolicy(unfinished.path)
    folder = RunFolder.open(copy)
    with folder.locked():
        folder.retire([copy / "log"])
        folder.finish_day(1)
    with pytest.raises(BadInput, match="got a run without log/arm=production/, allowed: a whole run folder"):
        offpolicy(copy)
