"""The whole experiment on a tiny world: nothing of how the work is spread may show in what comes out."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dashboard.reading import read
from dashboard.words import health
from experiment import plan, running
from experiment.daily import day_log, day_truth
from experiment.executor import balanced
from experiment.folder.journal import read_events, read_status
from experiment.folder.paths import RunPaths
from experiment.loading import load
from experiment.reporting.report import Report
from experiment.serving import policy_of
from experiment.worlds import world_of
from simulator import traffic
from simulator.schema import Log
from simulator.traffic import Audience
from simulator.world import user_and_day

SMALL = ["world.apps=800", "users.population=20000", "experiment.bucket_share=0.01", "experiment.days=2"]


def _run(folder, overrides=(), **options):
    config = load("tiny", [*SMALL, *overrides], **options)
    return config, running.run(config, folder)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "first"
    config, report = _run(folder, ["run.workers=1"])
    return folder, config, report


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """The same experiment by two processes, in small shards, with the arms named in another order."""
    folder = tmp_path_factory.mktemp("run") / "spread"
    config, report = _run(folder, ["run.workers=2", "run.shard_users=61"], arms="wide_deep,wide,deep")
    return folder, config, report


def _without_clock(report: Report) -> str:
    document = dict(report.document)
    document["run"] = {k: v for k, v in document["run"].items() if k != "clock"}
    return json.dumps(document)


def _equal(a, b):
    for name, values in a.arrays().items():
        other = getattr(b, name)
        if hasattr(values, "arrays"):
            _equal(values, other)
        else:
            assert np.array_equal(values, other, equal_nan=values.dtype.kind == "f"), name


def test_workers_shards_and_arm_order_do_not_change_a_row_of_the_log(first, spread):
    one, config, _ = first
    two = spread[0]
    compared = 0
    for day in plan.all_days(config):
        for arm in plan.serving_arms(config, day):
            log, other = day_log(one, config, (arm,), day), day_log(two, config, (arm,), day)
            _equal(log, other)
            _equal(day_truth(one, (arm,), day), day_truth(two, (arm,), day))
            compared += len(log)
    assert compared > 1000


def test_the_report_is_the_same_but_for_the_clock(first, spread):
    assert _without_clock(first[2]) == _without_clock(spread[2])
    written = json.loads((first[0] / "report.json").read_text())
    assert json.dumps(written) == json.dumps(first[2].document)
    assert first[2].document["run"]["clock"]["seconds"] > 0


def test_published_models_are_the_same_bytes(first, spread):
    names = sorted(p.relative_to(first[0]) for p in (first[0] / "models").rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(spread[0]) for p in (spread[0] / "models").rglob("*") if p.is_file())
    assert names
    for name in names:
        assert (first[0] / name).read_bytes() == (spread[0] / name).read_bytes(), name


def test_every_user_is_served_by_the_arm_of_its_bucket(first):
    folder, config, _ = first
    members = {shard.group: set(plan.shard_members(config, shard).tolist()) for shard in plan.shards(config)}
    for arm in config.arms:
        log = day_log(folder, config, (arm,), 1)
        assert set(log.requests.user_id.tolist()) <= members[arm]
        assert set(log.model_version) == {f"{arm}/1"}
    everybody = day_log(folder, config, ("production",), 0)
    assert set(everybody.requests.user_id.tolist()) <= set().union(*members.values())
    assert len(set.intersection(*members.values())) == 0


def test_a_visit_replayed_alone_equals_the_logged_one(first):
    folder, config, _ = first
    world = world_of(config)
    log, truth = day_log(folder, config, ("wide_deep",), 2), day_truth(folder, ("wide_deep",), 2)
    row = int(np.argmax(log.labels.sum(axis=1)))
    request = log.requests.take(slice(row, row + 1))
    user, day = user_and_day(int(request.request_id[0]))
    audience = Audience(world.profiles(np.array([user])), request.installed.copy())
    served = int(log.model_version[row].split("/")[1])
    policy = policy_of(folder, config, "wide_deep", day, served)
    again, again_truth = traffic.serve(world, audience, day, policy, index_after(folder, config, day))
    _equal(log.take(slice(row, row + 1)), again)
    _equal(truth.take(slice(row, row + 1)), again_truth)


def index_after(folder, config, day):
    """Retrieval's state of older days is retired, so it is learned from production's log again."""
    from simulator import retrieval

    world = world_of(config)
    counts = retrieval.Counts.empty()
    for earlier in range(plan.all_days(config)[0], day):
        log = day_log(folder, config, ("production",), earlier)
        counts = counts.updated(log, world.retrieval.log_decay)
    return retrieval.build_index(world.retrieval, world.users.countries, world.catalogue, counts, day)


def test_only_production_explores_and_logs_propensities(first):
    folder, config, _ = first
    assert np.isfinite(day_log(folder, config, ("production",), 1).propensities).all()
    assert np.isnan(day_log(folder, config, ("deep",), 1).propensities).all()


def test_the_report_adds_up_to_the_log(first):
    folder, config, report = first
    for arm in config.arms:
        logs = [day_log(folder, config, (arm,), day) for day in config.days()]
        truths = [day_truth(folder, (arm,), day) for day in config.days()]
        log = Log.concatenate(logs)
        found = report.arms[arm]
        assert found["impressions"] == log.labels.size
        assert found["acquisitions"] == log.labels.sum()
        assert found["users"] == len(np.unique(log.requests.user_id))
        expected = sum(t.probabilities.sum() for t in truths) / log.labels.size
        assert found["expected_rate"] == pytest.approx(expected)


def test_an_interrupted_run_goes_on_to_the_same_end(first, tmp_path, monkeypatch):
    from experiment import loop

    night = loop.learn_overnight

    def interrupted(diary, workers, day, progress):
        if day == 1:
            raise KeyboardInterrupt
        night(diary, workers, day, progress)

    monkeypatch.setattr(loop, "learn_overnight", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "run", ["run.workers=1"])
    monkeypatch.undo()
    report = running.resume(tmp_path / "run")
    assert _without_clock(report) == _without_clock(first[2])
    counted, whole = (read_status(root) for root in (tmp_path / "run", first[0]))
    assert (counted["impressions"], counted["arms"]) == (whole["impressions"], whole["arms"])
    for arm in first[1].arms:
        _equal(day_log(first[0], first[1], (arm,), 2), day_log(tmp_path / "run", first[1], (arm,), 2))


def test_a_folder_that_is_used_again_is_served_by_its_own_models(tmp_path):
    """Runs of one process that were deleted leave nothing that another run could be served with."""
    settings = ["run.workers=1", "experiment.training=none", "experiment.days=1"]
    _run(tmp_path / "run", [*settings, "production.exploration=2.0"])
    shutil.rmtree(tmp_path / "run")
    _, again = _run(tmp_path / "run", settings)
    _, fresh = _run(tmp_path / "other", settings)
    assert _without_clock(again) == _without_clock(fresh)


def test_users_who_stay_away_for_a_day_stop_nothing(tmp_path):
    """A sample of production of three users, of whom none comes on some days."""
    _, report = _run(tmp_path / "run", ["run.workers=1", "production.share=0.0001", "experiment.days=1"])
    assert report.document["run"]["days_run"] == 1


def test_many_arms_of_one_learner_find_room_in_a_folder_name():
    rankers = [f"arms.popular_ranker_{n:02}.kind=popularity" for n in range(14)]
    config = load("tiny", [*rankers, "experiment.bucket_share=0.01", "experiment.training=all"])
    (learner,) = (one for one in plan.learners(config, 1) if one.kind == "popularity")
    assert len(learner.arms) == 14
    assert len(learner.name) <= plan.LONGEST
    assert RunPaths(Path()).checkpoint(learner.name, 1).name == "day=1"
    assert learner.name != dataclasses.replace(learner, arms=learner.arms[:13]).name


def test_all_logs_or_own_logs(tmp_path):
    config = load("tiny", SMALL)
    assert {learner.sources for learner in plan.learners(config, 1)} == {
        ("wide",), ("deep",), ("wide_deep",), ("production",),
    }  # fmt: skip
    assert {learner.sources for learner in plan.learners(config, 0)} == {("production",)}
    shared = load("tiny", [*SMALL, "experiment.training='all'"])
    assert {learner.sources for learner in plan.learners(shared, 1)} == {
        ("wide", "deep", "wide_deep"), ("production",),
    }  # fmt: skip


def test_production_and_an_equal_control_share_their_training_before_the_experiment():
    config = load("tiny", SMALL)
    assert ("wide", "production") in {learner.arms for learner in plan.learners(config, 0)}
    assert ("wide",) in {learner.arms for learner in plan.learners(config, 1)}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("faults.poison_labels_on_day=1", "holdout"),
        ("faults.nan_weights_on_day=1", "not finite"),
        ("faults.stale_vocabulary=1", "holdout"),
        ("faults.empty_log=1", "no rows"),
    ],
)
def test_the_gate_catches_faults_and_the_incumbent_serves_on(tmp_path, fault, words):
    overrides = ["run.workers=1", "faults.arm='wide_deep'", fault, "experiment.bucket_share=0.03"]
    config, report = _run(tmp_path / "run", overrides, arms="wide,wide_deep")
    refused = [g for g in report.document["gate"] if not g["accepted"]]
    assert next((g["day"], g["arm"]) for g in refused if g["day"] == 1) == (1, "wide_deep")
    assert any(words in reason for g in refused for reason in g["reasons"])
    told = [e for e in read_events(tmp_path / "run") if e["event"] == "learned" and e["accepted"] is False]
    assert (told[0]["sim_day"], told[0]["arms"]) == (1, ["wide_deep"])
    assert any(words in reason for e in told for reason in e["reasons"])
    checks = health(read(tmp_path / "run"), report.document)  # what the dashboard says
    (shown,) = (check for check in checks if check.words.startswith(f"Gate refused {len(refused)} of "))
    assert "Wide & Deep after day 1: " in shown.detail
    assert words in shown.detail
    log = day_log(tmp_path / "run", config, ("wide_deep",), 2)
    assert set(log.model_version) == {"wide_deep/1"}
    assert not RunPaths(tmp_path / "run").model("wide_deep", 2).exists()


def test_shards_are_equal_parts_of_each_group():
    config = load("tiny", ["run.shard_users=61"])
    for group in plan.groups(config):
        parts = [shard for shard in plan.shards(config) if shard.group == group]
        sizes = [shard.stop - shard.start for shard in parts]
        assert [shard.start for shard in parts] == [0, *(shard.stop for shard in parts[:-1])]
        assert max(sizes) <= 61
        assert max(sizes) - min(sizes) <= 1
        assert sum(sizes) == len(np.concatenate([plan.shard_members(config, shard) for shard in parts]))


def test_work_is_spread_by_its_cost():
    assert balanced([5.0, 1.0, 4.0, 2.0, 2.0], 2) == [0, 1, 1, 1, 0]
    assert balanced([1.0, 1.0], 1) == [0, 0]
    config = load("quick")
    tasks = plan.shards(config)
    for day in (0, 1):
        costs = [plan.serving_cost(config, shard, day) for shard in tasks]
        loads = np.bincount(balanced(costs, 2), costs)
        assert loads.max() < 1.2 * loads.mean()
    nights = plan.learners(config, 0)
    assert [night.arms for night in nights] == [("wide", "production"), ("deep",), ("wide_deep",)]
    costs = [plan.learning_cost(config, night, 0) for night in nights]
    assert balanced(costs, 2) == [1, 1, 0]
