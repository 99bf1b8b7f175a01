"""What the gate lets through, and what it says when it does not."""

import dataclasses
import time

import numpy as np
import pytest

from models import evaluation, registry
from models.gate import Limits, dry_run, judge, latency
from models.scorer import Published
from simulator.schema import Log

LIMITS = Limits(
    auc_margin=0.005, log_loss_margin=0.01, alpha=0.05, calibration_min=0.5, calibration_max=2.0,
    score_limit=30.0, memory_limit=100.0,
)  # fmt: skip


class Fixed:
    """A ranker with given scores."""

    def __init__(self, scores, nbytes=None):
        self.scores, self.calls = np.asarray(scores, np.float32), 0
        if nbytes is not None:
            self.nbytes = nbytes

    def score(self, requests):
        self.calls += 1
        return self.scores[: len(requests)]


@pytest.fixture(scope="module")
def traffic(lab):
    store = lab.store(seed=1, smooth=1.5)
    log = store.log(np.random.default_rng(4), 600, [1])
    return log, store.log_odds(log.requests)


def refused(verdict):
    assert not verdict.accepted
    (reason,) = verdict.reasons
    return reason


def test_a_good_model_passes_with_its_measures(traffic):
    log, truth = traffic
    verdict = judge(Fixed(truth, 2**20), Fixed(np.full_like(truth, -1.5)), log, LIMITS)
    assert verdict.accepted
    assert verdict.reasons == ()
    labels, odds = log.labels.ravel(), truth.astype(np.float32).ravel()
    assert verdict.auc == pytest.approx(evaluation.auc(labels, odds))
    assert verdict.log_loss == pytest.approx(evaluation.log_loss(labels, odds))
    assert verdict.incumbent_auc == pytest.approx(0.5)
    assert verdict.log_loss_z < -3
    assert verdict.memory == 1.0


def test_without_an_incumbent_there_is_nothing_to_compare(traffic):
    log, truth = traffic
    verdict = judge(Fixed(truth), None, log, LIMITS)
    assert verdict.accepted
    assert (verdict.incumbent_auc, verdict.auc_z, verdict.incumbent_log_loss, verdict.memory) == (None,) * 4


def test_a_right_model_passes_however_little_users_look_down(traffic):
    log, truth = traffic
    seen = np.exp(-0.9 * np.arange(truth.shape[1]))
    labels = (np.random.default_rng(2).random(truth.shape) < seen / (1 + np.exp(-truth))).astype(np.int8)
    log = dataclasses.replace(log, labels=labels)
    verdict = judge(Fixed(truth), None, log, dataclasses.replace(LIMITS, calibration_max=1.5))
    assert verdict.accepted
    assert verdict.calibration > 1.5
    (reason,) = judge(Fixed(truth + 3), None, log, LIMITS).reasons
    assert reason.startswith("holdout: predicted over observed acquisitions is ")


def test_a_model_that_promises_too_little_does_not_push_out_a_right_one(traffic):
    """Where users do not look far its log loss over all positions is the lower one."""
    log, truth = traffic
    seen = np.exp(-0.9 * np.arange(truth.shape[1]))
    labels = (np.random.default_rng(2).random(truth.shape) < seen / (1 + np.exp(-truth))).astype(np.int8)
    log = dataclasses.replace(log, labels=labels)
    limits = dataclasses.replace(LIMITS, calibration_max=1e9)
    low = Fixed(truth - 1.0)
    verdict = judge(Fixed(truth), low, log, limits)
    assert verdict.accepted
    assert verdict.log_loss > verdict.incumbent_log_loss + limits.log_loss_margin
    assert verdict.log_loss_z > 3
    worse = np.random.default_rng(3).permuted(truth, axis=1) + 2.0
    assert "log loss" in " ".join(judge(Fixed(worse), low, log, limits).reasons)


def test_the_paired_tests_are_those_of_the_clustered_estimates(traffic):
    log, truth = traffic
    rng = np.random.default_rng(0)
    old = truth + rng.normal(size=truth.shape)
    verdict = judge(Fixed(truth), Fixed(old), log, LIMITS)
    users = np.repeat(log.requests.user_id, log.labels.shape[1])
    scores = np.stack([truth.astype(np.float32).ravel(), old.astype(np.float32).ravel()])
    test = evaluation.paired_test(evaluation.clustered_auc(log.labels.ravel(), scores, users))
    assert verdict.auc_z == pytest.approx(test.z)
    assert verdict.auc - verdict.incumbent_auc == pytest.approx(test.difference)


def test_independent_impressions_are_compared_by_delong(lab):
    log = lab.store(seed=1).log(np.random.default_rng(4), 900, [1], width=1)
    log = dataclasses.replace(
        log, requests=dataclasses.replace(log.requests, user_id=np.arange(len(log), dtype=np.int64))
    )
    rng = np.random.default_rng(1)
    ours = log.labels + rng.normal(size=log.labels.shape)
    theirs = log.labels + 2 * rng.normal(size=log.labels.shape)
    verdict = judge(Fixed(ours), Fixed(theirs), log, dataclasses.replace(LIMITS, calibration_max=1e9))
    scores = np.stack([ours.astype(np.float32).ravel(), theirs.astype(np.float32).ravel()])
    expected = evaluation.paired_test(evaluation.delong(log.labels.ravel(), scores)).z
    assert verdict.auc_z == pytest.approx(expected, rel=0.01)


def test_the_log_loss_test_is_a_clustered_mean(traffic):
    log, truth = traffic
    users = np.arange(len(log)) // 3  # several requests of one user
    log = dataclasses.replace(log, requests=dataclasses.replace(log.requests, user_id=users))
    new, old = truth.astype(np.float32).astype(float), (0.5 * truth).astype(np.float32).astype(float)
    verdict = judge(Fixed(new), Fixed(old), log, LIMITS)
    losses = [np.logaddexp(0, s) - log.labels * s for s in (new, old)]
    worse = (losses[0] - losses[1]).sum(axis=1)
    mean = worse.sum() / log.labels.size
    sums = np.bincount(users, worse - mean * log.labels.shape[1])
    se = np.sqrt((sums**2).sum() * 200 / 199) / log.labels.size
    assert verdict.log_loss_z == pytest.approx(mean / se)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (lambda s: np.where(np.arange(10) == 3, np.nan, s), "dry run: 600 of 6000 scores are not finite"),
        (lambda s: np.full_like(s, np.inf), "dry run: 6000 of 6000 scores are not finite"),
        (lambda s: s * 0 - 31.04, "dry run: a score of 31.0 log odds, allowed are 30"),
        (lambda s: s[:, :4], "dry run: scores of shape (600, 4) for candidates of shape (600, 10)"),
    ],
)  # fmt: skip
def test_the_dry_run_refuses(traffic, scores, reason):
    log, truth = traffic
    assert refused(judge(Fixed(scores(truth)), Fixed(truth), log, LIMITS)) == reason


NET = {"training": {"batch_requests": 64}, "deep": {"hidden": [16, 8], "embedding_dim": 4}}


@pytest.fixture(scope="module")
def published(lab, traffic):
    log, _ = traffic
    store = lab.store(seed=1, smooth=1.5)
    models = {}
    for kind, settings in (("wide_deep", NET), ("fm", {})):
        ranker = registry.create(kind, store.apps, lab.cardinalities, settings, 7)
        ranker.fit(log.take(slice(0, 300)), 1)
        models[kind] = ranker.publish()
    return store.apps, models


def broken(apps, model, name, where=slice(None), value=np.nan):
    array = model.arrays[name].copy()
    array[where] = value
    return Published(apps, model.kind, model.meta, {**model.arrays, name: array})


def test_weights_that_are_not_finite_are_refused_by_name(traffic, published):
    log, _ = traffic
    apps, models = published
    lenient = dataclasses.replace(LIMITS, calibration_min=0.0, calibration_max=1e9)
    for kind, model in models.items():
        assert judge(model, None, log, lenient).accepted
        for name, array in model.arrays.items():
            if array.dtype.kind != "f":
                continue
            one = tuple(n // 2 for n in array.shape)
            for poisoned in (broken(apps, model, name), broken(apps, model, name, one)):
                reason = refused(judge(poisoned, model, log, lenient))
                assert reason == f"dry run: numbers that are not finite in {name}", (kind, name)
    twice = broken(apps, broken(apps, models["fm"], "fm.installed", 1, np.inf), "fm.bias")
    reason = refused(judge(twice, None, log, lenient))
    assert reason.startswith("dry run: numbers that are not finite in fm.")
    assert reason.endswith(" and 1 more")


@pytest.mark.parametrize(
    "name",
    ["user1", "app1", "bias1", "layer2", "bias2", "out", "attributes", "apps", "installed", "position1"],
)
@pytest.mark.parametrize("hidden", [(16, 8), (12, 6)])
def test_weights_that_are_not_a_number_show_in_the_scores(lab, traffic, name, hidden):
    """Also where nobody looks at the weights."""
    log, _ = traffic
    apps = lab.store(seed=1, smooth=1.5).apps
    settings = {**NET, "deep": {**NET["deep"], "hidden": hidden}}
    ranker = registry.create("deep", apps, lab.cardinalities, settings, 7)
    ranker.fit(log.take(slice(0, 100)), 1)
    model = ranker.publish()
    assert np.isfinite(model.score(log.requests)).all()
    scores = broken(apps, model, f"deep.{name}").score(log.requests)
    assert np.isnan(scores).mean() > 0.5


def test_a_model_too_large_is_not_even_called(traffic):
    log, truth = traffic
    giant = Fixed(truth, nbytes=101 * 2**20)
    assert refused(judge(giant, None, log, LIMITS)) == "dry run: the model holds 101 MiB, allowed are 100"
    assert giant.calls == 0


def test_the_holdout_refuses_what_ranks_worse(traffic):
    log, truth = traffic
    flat = np.random.default_rng(3).permutation(truth.ravel()).reshape(truth.shape)
    verdict = judge(Fixed(flat), Fixed(truth), log, LIMITS)
    assert not verdict.accepted
    assert verdict.reasons[0].startswith("holdout: AUC 0.")
    assert verdict.reasons[0].endswith("allowed is 0.005")
    assert verdict.reasons[1].startswith("holdout: log loss ")


def test_the_holdout_refuses_what_is_less_sure_of_the_same_order(traffic):
    log, truth = traffic
    verdict = judge(Fixed(truth * 0.3 - 1.0), Fixed(truth), log, LIMITS)
    assert verdict.auc == pytest.approx(verdict.incumbent_auc)
    assert refused(verdict).startswith("holdout: log loss ")
    assert refused(verdict).endswith("allowed is 0.01")
    wide = dataclasses.replace(LIMITS, log_loss_margin=1.0)
    assert judge(Fixed(truth * 0.3 - 1.0), Fixed(truth), log, wide).accepted


def test_the_holdout_refuses_what_promises_too_much(traffic):
    log, truth = traffic
    reason = refused(judge(Fixed(truth + 3.0), None, log, LIMITS))
    assert reason.startswith("holdout: predicted over observed acquisitions is ")
    assert reason.endswith("allowed are 0.5 to 2")


def test_a_loss_that_may_be_luck_refuses_nothing(traffic):
    log, truth = traffic
    few = log.take(slice(0, 6))
    strict = dataclasses.replace(LIMITS, auc_margin=0.0, log_loss_margin=0.0, alpha=1e-6)
    worse = truth + np.random.default_rng(0).normal(size=truth.shape) * 0.2
    assert judge(Fixed(worse), Fixed(truth), few, strict).accepted


def test_an_equal_model_passes(traffic):
    log, truth = traffic
    strict = dataclasses.replace(LIMITS, auc_margin=0.0, log_loss_margin=0.0)
    verdict = judge(Fixed(truth), Fixed(truth), log, strict)
    assert verdict.accepted
    assert verdict.auc_z == 0
    assert verdict.log_loss_z is None


def test_with_nothing_held_out_the_recorded_requests_try_the_model(traffic):
    log, truth = traffic
    none = log.take(slice(0, 0))
    assert judge(Fixed(truth * np.nan), None, none, LIMITS).accepted  # nothing was scored
    reason = refused(judge(Fixed(truth * np.nan), None, none, LIMITS, log.requests))
    assert reason == "dry run: 6000 of 6000 scores are not finite"
    assert judge(Fixed(truth), None, none, LIMITS, log.requests).holdout == 0


def test_labels_of_one_kind_leave_only_the_calibration(traffic):
    log, truth = traffic
    full = dataclasses.replace(log, labels=np.ones_like(log.labels))
    low = np.full_like(truth, -3.0)
    assert refused(judge(Fixed(low), Fixed(truth), full, LIMITS)).startswith(
        "holdout: predicted over observed"
    )
    assert judge(Fixed(low), Fixed(truth), full, dataclasses.replace(LIMITS, calibration_min=0.01)).accepted
    empty = dataclasses.replace(log, labels=np.zeros_like(log.labels))
    verdict = judge(Fixed(truth), Fixed(-truth), empty, LIMITS)
    assert verdict.accepted
    assert (verdict.auc, verdict.calibration) == (None, None)


def test_latency_is_a_median_of_single_requests(traffic):
    log, truth = traffic

    class Slow(Fixed):
        def score(self, requests):
            assert len(requests) == 1
            time.sleep(0.05 if self.calls == 0 else 0.002)
            return super().score(requests)

    slow = Slow(truth)
    assert 2.0 <= latency(slow, log.requests, tries=5) < 45.0
    assert slow.calls == 6


def test_the_verdict_is_of_the_scores_alone(traffic):
    log, truth = traffic
    order = np.random.default_rng(2).permutation(len(log))
    mixed: Log = log.take(order)
    ours, theirs = judge(Fixed(truth), Fixed(truth * 0.9), log, LIMITS), None
    theirs = judge(Fixed(truth[order]), Fixed(truth[order] * 0.9), mixed, LIMITS)
    assert ours.accepted == theirs.accepted
    assert ours.auc_z == pytest.approx(theirs.auc_z)
    assert dry_run(Fixed(truth), log.requests, 30.0, 1.0)[0] == []
