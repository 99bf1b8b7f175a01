"""run.keep_log_days: what is dropped is said, what is needed stays, and nothing else changes."""

import json

import pytest

from experiment import explanation, loop, running
from experiment.errors import BadInput
from experiment.folder.journal import read_events
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.offpolicy.command import offpolicy
from experiment.slices.command import find_slices
from experiment.truth.command import find_truth
from simulator.log import read_log

SMALL = ["world.apps=300", "users.population=4000", "experiment.bucket_share=0.02", "experiment.days=3"]
SMALL += ["run.workers=1", "arms.wide_deep.settings.deep.hidden=[8]"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    running.run(load("tiny", SMALL, arms="wide,wide_deep"), path)
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "run"
    running.run(load("tiny", [*SMALL, "run.keep_log_days=1"], arms="wide,wide_deep"), path)
    return path


def report_of(path):
    document = RunFolder.open(path).report()
    document["run"] = {k: v for k, v in document["run"].items() if k not in ("clock", "log_from_day")}
    return json.dumps(document)


def test_the_old_log_is_gone_and_the_result_is_the_same(whole, kept):
    folder = RunFolder.open(kept)
    assert folder.verify() == []
    assert folder.manifest.log_from_day == 1  # from day 1 on a resumed run would train again
    days = {part.parent.name for part in (kept / "log" / "arm=production").glob("*/part-*.parquet")}
    assert days == {"day=0", "day=1", "day=2", "day=3"}  # day 0 is the offline holdout
    assert {p.parent.name for p in (kept / "truth" / "arm=production").glob("*/*.parquet")} == days
    assert report_of(kept) == report_of(whole)
    assert folder.config.config_hash() == RunFolder.open(whole).config.config_hash()


def test_what_was_dropped_is_said(kept, whole):
    dropped = [event for event in read_events(kept) if event["event"] == "dropped"]
    assert [(event["sim_day"], event["log_days"]) for event in dropped] == [(0, [-2, -1]), (1, [0])]
    assert RunFolder.open(kept).report()["run"]["log_from_day"] == 1
    words = "the log before day 1 was dropped (run.keep_log_days): no truth, no explain of it"
    assert words in (kept / "report.md").read_text()
    assert "dropped" not in (whole / "report.md").read_text()


def test_what_cannot_be_done_any_more_is_said(kept, whole):
    for work in (find_truth, find_slices, offpolicy):
        with pytest.raises(BadInput) as error:
            work(kept)
        assert str(error.value) == (
            f"{kept}: got a run that has dropped its log before day 1 (run.keep_log_days = 1), "
            "allowed: a run with its whole log"
        )
    part = next((whole / "log" / "arm=production" / "day=-1").glob("part-*.parquet"))
    request = int(read_log(part, 48).requests.request_id[0])
    with pytest.raises(BadInput, match=r"of day -1, allowed: days from 1 on; the log before it was dropped"):
        explanation.explain(RunFolder.open(kept), request)


def test_a_run_that_drops_its_log_is_resumed_to_the_same_end(kept, tmp_path, monkeypatch):
    from experiment import nightly, serving

    night = loop.learn_overnight

    def killed(diary, workers, day, progress):
        if day == 3:
            raise KeyboardInterrupt
        night(diary, workers, day, progress)

    monkeypatch.setattr(loop, "learn_overnight", killed)
    config = RunFolder.open(kept).config
    with pytest.raises(KeyboardInterrupt):
        running.run(config, tmp_path / "run")
    monkeypatch.undo()
    nightly.forget()
    serving.forget()
    running.resume(tmp_path / "run")
    assert report_of(tmp_path / "run") == report_of(kept)


def test_a_cold_start_needs_every_day():
    with pytest.raises(BadInput) as error:
        load("tiny", ["run.keep_log_days=3", "experiment.warm_start=false"])
    assert str(error.value) == (
        "run.keep_log_days: got 3, allowed: 0 with experiment.warm_start = false, which trains on every day"
    )
