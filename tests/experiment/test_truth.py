"""The replay of a run under every arm, held against the run's own log and report."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from experiment import running
from experiment.cli import app
from experiment.errors import BadInput
from experiment.executor import InProcess
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.truth import command as truth
from experiment.truth.document import covers
from experiment.truth.potential import MEASURES, Potential, days_path, users_path
from experiment.truth.replay import RefitTask, ReplayError, part_path, refit, replay

SMALL = ["world.apps=800", "users.population=20000", "experiment.bucket_share=0.01", "run.shard_users=100"]

LENIENT = [
    "gate.calibration_min=0", "gate.calibration_max=100", "gate.auc_margin=0.5", "gate.log_loss_margin=10",
]  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A finished run of two learning arms and one that knows, two shards each; nothing replayed yet."""
    folder = tmp_path_factory.mktemp("run") / "plain"
    settings = [*SMALL, *LENIENT, "experiment.days=2"]
    running.run(load("tiny", settings, arms="wide,deep,oracle", workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def replayed(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "replayed"
    shutil.copytree(plain, folder)
    told: list[tuple[int, int]] = []
    document = truth.find_truth(folder, tell=lambda done, total: told.append((done, total)))
    return folder, document, told


@pytest.fixture
def copy(plain, tmp_path):
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def test_own_users_come_to_the_totals_of_the_report(replayed):
    folder, document, _ = replayed
    potential, report = Potential.read(folder), RunFolder.open(folder).report()
    assert len(potential) == document["users"] == 600
    for at, arm in enumerate(potential.arms):
        own = potential.group == at
        found = report["arms"][arm]
        assert potential.daily("impressions", arm, own).sum() == found["impressions"]
        assert potential.daily("acquisitions", arm, own).sum() == found["acquisitions"]
        assert potential.daily("expected", arm, own).sum() / found["impressions"] == pytest.approx(
            found["expected_rate"], rel=1e-12
        )
        assert (own & potential.visited).sum() == found["users"]
        assert own.sum() == found["assigned"]


def test_the_run_stays_whole_and_keeps_nothing_of_the_work(replayed):
    folder, _, told = replayed
    opened = RunFolder.open(folder)
    assert opened.verify() == []
    assert opened.manifest.complete
    assert {"truth.json", "metrics/potential.parquet", "metrics/potential_days.parquet"} <= set(
        opened.manifest.artefacts
    )
    assert sorted(path.name for path in (folder / "state").iterdir()) == ["checkpoints", "day=2"]
    assert told == [(done, 6) for done in range(7)]


def test_the_report_shows_the_truth_beside_each_estimate(replayed, plain):
    folder, document, _ = replayed
    report, before = RunFolder.open(folder).report(), RunFolder.open(plain).report()
    truths = [c["true_lift"] for c in document["comparisons"]]
    assert [c["true_lift"] for c in report["comparisons"]] == truths
    assert None not in truths
    for c in report["comparisons"]:
        c["true_lift"] = None
    assert report == before
    text = (folder / "report.md").read_text()
    assert text != (plain / "report.md").read_text()


def test_lifts_are_of_realised_totals_and_add_up_over_days(replayed):
    folder, document, _ = replayed
    users = pq.read_table(users_path(folder)).to_pandas()
    assert [(c["arm"], c["control"]) for c in document["comparisons"]] == [
        ("deep", "wide"),
        ("oracle", "wide"),
    ]
    for c in document["comparisons"]:
        for name, kind in (("true_lift", "acquisitions"), ("expected_lift", "expected")):
            rate = {
                arm: users[f"{kind}_{arm}"].sum() / users[f"impressions_{arm}"].sum()
                for arm in (c["arm"], c["control"])
            }
            assert c[name] == pytest.approx(rate[c["arm"]] / rate[c["control"]] - 1, rel=1e-12)
        assert sum(day["contribution"] for day in c["days"]) == pytest.approx(c["true_lift"], rel=1e-9)
        assert [day["day"] for day in c["days"]] == [1, 2]
    assert document["comparisons"][1]["expected_lift"] > 0.3  # the one that knows


def test_the_tables_are_read_back_as_written(replayed):
    folder = replayed[0]
    potential = Potential.read(folder)
    users, by_day = potential.tables()
    assert users.equals(pq.read_table(users_path(folder)))
    assert by_day.equals(pq.read_table(days_path(folder)))
    assert (potential.impressions == potential.impressions[0]).all()
    assert set(users.column("group").to_pylist()) == {"wide", "deep", "oracle"}
    assert (potential.acquisitions <= potential.impressions).all()
    logged = pq.read_table(folder / "metrics" / "user_days" / "day=-1.parquet").to_pandas()
    seen = logged[logged.user_id.isin(potential.user_id)]
    assert potential.pre_impressions.sum() >= seen.impressions.sum() > 0


def test_a_second_call_only_reads(replayed):
    folder, document, _ = replayed
    before = (folder / "manifest.json").read_bytes()
    assert truth.find_truth(folder, tell=lambda *_: pytest.fail("replayed again")) == document
    assert (folder / "manifest.json").read_bytes() == before


def test_workers_do_not_show_and_an_interrupted_replay_goes_on(replayed, copy):
    folder, document, _ = replayed

    def interrupt(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        truth.find_truth(copy, workers=1, tell=interrupt)
    assert not (copy / "state" / "day=1").exists()
    assert RunFolder.open(copy).verify() == []
    told: list[int] = []
    assert truth.find_truth(copy, workers=2, tell=lambda done, _: told.append(done)) == document
    assert told == [2, 3, 4, 5, 6]
    for path in (users_path, days_path):
        assert path(copy).read_bytes() == path(folder).read_bytes()


def test_a_replay_that_is_not_the_log_is_refused(copy):
    folder = RunFolder.open(copy)
    task = truth.replay_tasks(folder)[0]
    assert task.model_days == {"wide": (1, 2), "deep": (1, 2), "oracle": (None, None)}
    refit(RefitTask(copy, folder.config, tuple(range(-2, 2))))
    (done,) = InProcess().map(replay, [task], [0])
    logged = sum(
        pq.read_metadata(copy / f"log/arm=wide/day={day}/part-00000.parquet").num_rows for day in (1, 2)
    )
    assert (done.compared, done.visits) == (logged, 3 * logged)
    assert part_path(copy, 0).exists()
    stale = dataclasses.replace(task, model_days={**task.model_days, "wide": (1, 1)})
    with pytest.raises(ReplayError, match=r"replay of wide, shard 0, day 2 that differs from the log in "):
        InProcess().map(replay, [stale], [0])
    others = dataclasses.replace(task, model_days={**task.model_days, "deep": (1, 1)})
    InProcess().map(replay, [others], [0])  # nobody of this shard was logged under deep


def test_a_changed_model_is_named(copy):
    (model,) = sorted((copy / "models" / "arm=deep" / "day=2").glob("*.safetensors"))[:1]
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    result = CliRunner().invoke(app, ["truth", str(copy), "-q"])
    assert result.exit_code == 2
    assert model.name in result.stderr


def test_a_replay_that_misses_the_report_is_refused(replayed):
    from experiment.truth.document import check_report

    folder = replayed[0]
    report = RunFolder.open(folder).report()
    report["arms"]["deep"]["acquisitions"] += 1
    with pytest.raises(ReplayError, match="acquisitions of deep's own users"):
        check_report(Potential.read(folder), report)


def test_an_unfinished_run_is_refused_with_how_to_go_on(tmp_path):
    folder = RunFolder.create(tmp_path / "run", load("tiny"))
    with pytest.raises(
        BadInput,
        match=r"a run of 3 days that stopped before a day was done, allowed: a finished run; go on with: ",
    ):
        truth.find_truth(folder.path)
    folder.finish_day(2)
    result = CliRunner().invoke(app, ["truth", str(folder.path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"storelift: {folder.path}: got a run of 3 days that stopped after day 2, allowed: a finished run; "
        f"go on with: storelift resume {folder.path}\n"
    )
    assert CliRunner().invoke(app, ["truth", str(tmp_path)]).exit_code == 2


def test_a_run_that_was_killed_once_decided_ends_the_same(tmp_path, monkeypatch):
    config = load(
        "tiny", [*SMALL, "experiment.stop_when=decided", "experiment.alpha=0.49"], arms=["wide", "oracle"]
    )
    whole = running.run(config, tmp_path / "whole").document
    assert whole["run"]["stopped"]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("experiment.analysis.conclude", killed)
        with pytest.raises(KeyboardInterrupt):
            running.run(config, tmp_path / "killed")
    resumed = running.resume(tmp_path / "killed").document
    for document in (whole, resumed):
        del document["run"]["clock"]
    assert resumed == whole


def test_a_run_that_stopped_once_decided_is_replayed_as_far_as_it_went(tmp_path):
    config = load("tiny", [*SMALL, "experiment.stop_when=decided", "experiment.alpha=0.49"],
                  arms="wide,oracle", workers=1)  # fmt: skip
    running.run(config, tmp_path / "run")
    days = RunFolder.open(tmp_path / "run").report()["run"]["days_run"]
    assert days < 3
    document = truth.find_truth(tmp_path / "run")
    assert document["days"] == list(range(1, days + 1))
    assert document["comparisons"][0]["true_lift"] > 0.3


def test_a_refused_night_leaves_the_older_model():
    names = ["models/arm=deep/day=1/a.json", "models/arm=deep/day=3/a.json", "models/arm=deep_2/day=2/a.json"]
    folder = SimpleNamespace(manifest=SimpleNamespace(artefacts=dict.fromkeys(names)))
    assert [truth.model_day(folder, "deep", day) for day in (1, 2, 3, 4)] == [1, 1, 3, 3]
    assert truth.model_day(folder, "wide", 1) is None


def test_the_command_prints_a_table_or_json(replayed):
    folder, document, _ = replayed
    result = CliRunner().invoke(app, ["truth", str(folder)], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert "Deep vs Wide" in result.stdout
    assert f"storelift calibrate {folder}" in result.stdout.replace("\n", "")
    assert json.loads(CliRunner().invoke(app, ["truth", str(folder), "--json"]).stdout) == document


def test_intervals_hold_or_do_not():
    assert covers([-0.1, 0.1], 0.1) is True
    assert covers([-0.1, 0.1], 0.2) is False
    assert covers(None, 0.2) is None
    assert covers([0, 1], None) is None


def test_rows_of_strangers_are_refused():
    none = np.zeros(0)
    rows = {"user_id": np.array([7]), "day": np.array([1]), **{f"{m}_wide": np.ones(1) for m in MEASURES}}
    users = dict.fromkeys(("group", "country", "pre_impressions", "pre_acquisitions"), none)
    with pytest.raises(ValueError, match="users that are not among the users"):
        Potential.of_rows(("wide",), {"user_id": np.array([1, 2]), **users}, rows)


def test_an_empty_arm_has_no_lift():
    shape = (2, 1, 1)
    zero, one = np.zeros(1, np.int64), np.ones(shape, np.int32)
    potential = Potential(("a", "b"), (1,), zero, zero, zero, zero, zero, one, 0 * one, 0.0 * one)
    assert potential.lift("a", "b") is None
    assert np.array_equal(potential.visited, [True])
    assert len(potential.take(np.array([False]))) == 0


def test_an_interrupted_command_says_how_to_go_on(copy, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(truth, "_replay_all", interrupted)
    result = CliRunner().invoke(app, ["truth", str(copy), "-q"])
    assert result.exit_code == 130
    assert f"finished shards are kept; go on with: storelift truth {copy}" in result.stderr
