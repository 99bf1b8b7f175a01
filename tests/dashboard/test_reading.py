import os
import shutil
import signal
import subprocess
import sys

import pytest

from dashboard import diaries, measures, reading
from experiment.folder import lock
from experiment.folder.journal import LOCK
from experiment.folder.rundir import RunFolder


def by_name(shared):
    return {run.name: run for run in reading.runs_in(shared.root)}


def test_every_state_is_read(shared):
    states = {name: run.state for name, run in by_name(shared).items()}
    assert states["done"] == "done"
    assert states["failed"] == "failed"
    assert states["interrupted"] == "interrupted"
    assert states["gone"] == "interrupted"  # its status says running, but nobody holds the lock
    assert (states["torn"], states["older"]) == ("damaged", "older")


def test_a_new_folder_without_a_status_is_starting_and_an_old_one_is_not(maker, monkeypatch):
    path = maker.run(finished=-2, requests=False)
    (path / "status.json").unlink(missing_ok=True)
    assert reading.read(path).state == "running"
    monkeypatch.setattr(reading, "STARTING_SECONDS", -1.0)
    assert reading.read(path).state == "interrupted"


def test_newest_first(shared):
    started = [run.started or 0.0 for run in reading.runs_in(shared.root)]
    assert started == sorted(started, reverse=True)


def test_a_damaged_run_says_what_is_wrong_and_nothing_else(shared):
    runs = by_name(shared)
    assert runs["torn"].report is None
    assert "manifest.json" in runs["torn"].message
    assert "format 0" in runs["older"].message


def test_a_failed_run_says_why(shared):
    assert by_name(shared)["failed"].message == "ValueError: <b>no</b>"


def test_a_run_that_works_is_running_until_its_process_is_gone(maker):
    path = maker.run(finished=1, requests=False)
    with lock.locked(path / LOCK):
        maker.told(path, "running")
        assert reading.read(path).state == "running"
    assert reading.read(path).state == "interrupted"


def test_a_killed_process_is_noticed_though_no_file_changes(maker):
    path = maker.run(finished=1, requests=False)
    lines = [
        "import time",
        "from pathlib import Path",
        "from experiment.folder import lock",
        f"with lock.locked(Path({str(path / LOCK)!r})):",
        "  print(1, flush=True)",
        "  time.sleep(60)",
    ]
    code = "\n".join(lines)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    maker.told(path, "running")
    assert reading.read(path).state == "running"
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie until it is waited for
    assert reading.read(path).state == "interrupted"
    process.wait()
    process.stdout.close()
    assert reading.read(path).state == "interrupted"


def test_what_was_read_is_read_again_only_when_it_changes(maker):
    path = maker.run(requests=False)
    assert reading.read(path) is reading.read(path)
    before = reading.read(path)
    os.utime(path / "report.json", ns=(0, 0))
    assert reading.read(path) is not before


def test_a_report_that_was_changed_is_not_used(maker):
    path = maker.run(requests=False)
    report = path / "report.json"
    report.write_bytes(
        report.read_bytes().replace(b"quick", b"quack").replace(b'"preset": "tiny"', b'"preset": "tiNy"')
    )
    run = reading.read(path)
    assert run.report is None
    assert any("checksum" in warning for warning in run.warnings)


@pytest.mark.parametrize("damage", ["cut", "flip", "swap"])
def test_days_that_are_not_as_written_are_left_out(maker, damage):
    path = maker.run(requests=False)
    file = path / "metrics" / "user_days" / "day=2.parquet"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    else:
        shutil.copy(path / "metrics" / "user_days" / "day=1.parquet", file)
    run = reading.read(path)
    assert diaries.untrusted(run) == ["metrics/user_days/day=2.parquet"]
    assert {int(day) for users in measures.arms(run).values() for day in users.window["day"]} == {1, 3}


def test_empty_and_missing_roots(tmp_path):
    assert reading.runs_in(tmp_path) == []
    assert reading.runs_in(tmp_path / "none") == []
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    assert reading.runs_in(tmp_path) == []


def test_the_root_may_be_a_run(shared):
    assert [run.name for run in reading.runs_in(shared.done)] == ["done"]


def test_a_hundred_runs(maker):
    first = maker.run("run-000", requests=False)
    for number in range(1, 100):
        shutil.copytree(first, maker.root / f"run-{number:03d}")
    found = reading.runs_in(maker.root)
    assert sorted(run.name for run in found) == [f"run-{number:03d}" for number in range(100)]


def test_documents_that_are_no_json_are_none(maker):
    path = maker.run(requests=False)
    run = reading.read(path)
    assert reading.document(run, "truth.json") is None
    for text in ("{", "[1]", '{"users": 3}'):  # the last one is JSON, but nobody has listed it
        (path / "truth.json").write_text(text)
        assert reading.document(run, "truth.json") is None
    folder = RunFolder.open(path)
    folder.write_json(path / "truth.json", {"users": 3})
    folder.finish_day(3)
    assert reading.document(run, "truth.json") == {"users": 3}
    (path / "truth.json").write_text('{"users": 4}')
    assert reading.document(run, "truth.json") is None
    assert diaries.untrusted(run) == ["truth.json"]
