"""Runs side by side."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiment.cli import app
from experiment.errors import BadInput
from experiment.folder.manifest import RunFolderError
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.reporting.compare import compare, differing


def made(path: Path, overrides=(), *, true_lift=None, **options) -> Path:
    """A finished run folder with a report of a few numbers."""
    config = load("tiny", list(overrides), **options)
    arms = {
        arm: {"offline_auc": 0.7 + at / 100, "expected_auc": 0.7, "gauc": None, "acquisition_rate": 0.05,
              "expected_rate": 0.05}
        for at, arm in enumerate(config.arms)
    }  # fmt: skip
    compared = [
        {"arm": arm, "control": "wide", "lift": 0.039, "ci": [0.01, 0.07], "p_adjusted": 0.01,
         "expected_lift": 0.03, "true_lift": true_lift, "status": "ok"}
        for arm in config.arms if arm != "wide"
    ]  # fmt: skip
    run = {"preset": config.preset, "seed": config.seed, "days_run": 3, "control": "wide"}
    folder = RunFolder.create(path, config)
    folder.finish({"run": run, "arms": arms, "comparisons": compared}, "")
    return path


def test_only_settings_that_differ_are_shown(tmp_path):
    one = made(tmp_path / "one")
    two = made(tmp_path / "two", ["world.drift=0.05", "run.workers=1"], seed=3, arms="wide,deep")
    document = compare([one, two])
    assert document["settings"]["seed"] == [0, 3]
    assert document["settings"]["world.drift"] == [load("tiny").world.drift, 0.05]
    gone = {name for name in document["settings"] if name not in ("seed", "world.drift")}
    assert gone
    assert all(name.startswith("arms.wide_deep.") for name in gone)
    assert all(document["settings"][name][1] is None for name in gone)
    assert [run["name"] for run in document["runs"]] == ["one", "two"]
    assert document["runs"][0]["comparisons"][0] == {
        "arm": "deep", "control": "wide", "lift": 0.039, "ci": [0.01, 0.07], "p_adjusted": 0.01,
        "expected_lift": 0.03, "true_lift": None, "status": "ok",
    }  # fmt: skip


def test_the_table_has_a_column_per_run(tmp_path):
    paths = [
        made(tmp_path / "a" / "run", true_lift=0.042),
        made(tmp_path / "b" / "run", ["world.drift=0.05"], arms="wide,deep"),
    ]
    result = CliRunner().invoke(app, ["compare", *map(str, paths)], env={"COLUMNS": "400"})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == [str(path) for path in paths]
    (drift,) = [line for line in lines if line.startswith("world.drift")]
    assert drift.split()[-1] == "0.05"
    (lift,) = [line for line in lines if line.startswith("Deep against Wide, lift")]
    assert lift.split()[-2:] == ["+3.9%", "+3.9%"]
    truths = [line.split()[-2:] for line in lines if "true lift" in line]
    assert truths == [["+4.2%", "–"], ["+4.2%", "–"]]
    (only,) = [line for line in lines if line.startswith("Wide & Deep, offline AUC")]
    assert only.split()[-2:] == ["0.720", "–"]
    plain = CliRunner().invoke(app, ["compare", *map(str, paths), "--json"])
    assert json.loads(plain.stdout) == compare(paths)


def test_equal_runs_differ_in_nothing(tmp_path):
    document = compare([made(tmp_path / "one"), made(tmp_path / "two")])
    assert document["settings"] == {}
    assert differing([{"a": 1, "b": 2}, {"a": 1, "b": 3}]) == {"b": [2, 3]}


def test_bad_input_is_named(tmp_path):
    one = made(tmp_path / "one")
    with pytest.raises(BadInput, match="runs: got 1, allowed: at least two run folders"):
        compare([one])
    with pytest.raises(BadInput, match="runs: got one folder twice, allowed: different ones"):
        compare([one, tmp_path / "." / "one"])
    unfinished = RunFolder.create(tmp_path / "unfinished", load("tiny")).path
    with pytest.raises(RunFolderError, match="got a run without a report, allowed: a finished run"):
        compare([one, unfinished])
    result = CliRunner().invoke(app, ["compare", str(one), str(tmp_path / "none")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "got no run folder" in result.stderr
