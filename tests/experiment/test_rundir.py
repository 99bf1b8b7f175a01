import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pytest
from rich.console import Console

from experiment.config import Config
from experiment.errors import BadInput
from experiment.folder import atomic, lock
from experiment.folder.journal import Journal, read_events, read_status
from experiment.folder.lock import Holder, LockedError, holder, locked
from experiment.folder.manifest import Manifest, RunFolderError
from experiment.folder.rundir import RunFolder, default_path
from experiment.listing import render, runs_in, summary
from experiment.loading import load


@pytest.fixture
def config() -> Config:
    return load("tiny", seed=7)


@pytest.fixture
def folder(tmp_path: Path, config: Config) -> RunFolder:
    return RunFolder.create(tmp_path / "runs" / "one", config)


def fill(folder: RunFolder, day: int) -> Path:
    """A day's artefact, registered."""
    part = folder.path / "log" / "arm=wide" / f"day={day}" / "part-00000.parquet"
    folder.write_table(part, pa.table({"x": [day]}))
    return part


def test_a_new_folder_can_be_opened_again(folder: RunFolder, config: Config) -> None:
    again = RunFolder.open(folder.path)
    assert again.config == config
    assert (again.manifest.finished_day, again.manifest.complete) == (None, False)
    assert sorted(p.name for p in folder.path.parent.iterdir()) == ["one"]


def test_the_name_says_when_what_and_seed(config: Config, tmp_path: Path) -> None:
    first = default_path(config, tmp_path)
    assert re.fullmatch(r"\d{8}-\d{6}-tiny-seed7", first.name)
    first.mkdir()
    second = default_path(config, tmp_path)
    assert second != first


def test_an_empty_folder_may_be_used(tmp_path: Path, config: Config) -> None:
    assert RunFolder.create(tmp_path, config).path == tmp_path


def test_what_is_there_is_never_overwritten(folder: RunFolder, config: Config, tmp_path: Path) -> None:
    path = folder.path
    for state, message in (
        ("unfinished", f"an unfinished run, allowed: a new folder; go on with: storelift resume {path}"),
        ("finished", "a finished run, allowed: a new folder"),
    ):
        if state == "finished":
            folder.finish({}, "")
        before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
        with pytest.raises(BadInput) as error:
            RunFolder.create(path, config)
        assert str(error.value) == f"out: got {path}, {message}"
        assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    (tmp_path / "note").write_text("mine")
    for other, what in ((tmp_path, "a folder that is not empty"), (tmp_path / "note", "a file")):
        with pytest.raises(BadInput) as error:
            RunFolder.create(other, config)
        assert str(error.value) == f"out: got {other}, {what}, allowed: a new folder"


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path, config: Config) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"^out: got .*file/run, allowed: a folder that can be made \("):
        RunFolder.create(tmp_path / "file" / "run", config)


def test_only_finished_days_count(folder: RunFolder) -> None:
    first = fill(folder, 1)
    folder.finish_day(1)
    second = fill(folder, 2)
    half = second.with_name(".part-00001.parquet.tmp")
    half.write_bytes(b"half")
    again = RunFolder.open(folder.path)
    assert again.manifest.finished_day == 1
    assert again.discard_unfinished() == [
        "log/arm=wide/day=2/.part-00001.parquet.tmp",
        "log/arm=wide/day=2/part-00000.parquet",
    ]
    assert first.exists()
    assert not second.parent.exists()
    assert again.discard_unfinished() == []


def test_who_takes_the_lock_knows_what_the_last_holder_wrote(folder: RunFolder) -> None:
    other = RunFolder.open(folder.path)
    with other.locked():
        written = fill(other, 1)
        other.finish_day(1)
        other.finish({"format": 1}, "# one\n")
    with folder.locked():
        fill(folder, 2)
        with folder.locked():  # a block inside another does not lose what is not listed yet
            folder.finish_day(2)
    found = RunFolder.open(folder.path)
    assert found.verify() == []
    assert found.trusted(written) == written
    assert found.report() == {"format": 1}
    assert found.manifest.finished_day == 2


def test_what_retires_stays_until_the_day_is_finished(folder: RunFolder) -> None:
    part = fill(folder, 1)
    folder.finish_day(1)
    folder.retire([part.parent])
    assert part.exists()
    folder.finish_day(2)
    assert not part.parent.exists()
    assert folder.verify() == []
    assert RunFolder.open(folder.path).verify() == []


def test_a_folder_of_files_appears_whole_or_not_at_all(folder: RunFolder) -> None:
    model = folder.path / "models" / "arm=wide" / "day=1"

    def broken() -> None:
        with folder.new_folder(model) as beside:
            (beside / "weights").write_bytes(b"w")
            assert not model.exists()
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        broken()
    assert list(model.parent.iterdir()) == []
    with folder.new_folder(model) as beside:
        (beside / "weights").write_bytes(b"w")
        (beside / "meta.json").write_text("{}")
    assert {n for n in folder.manifest.artefacts if n.startswith("models/")} == {
        "models/arm=wide/day=1/weights",
        "models/arm=wide/day=1/meta.json",
    }
    with pytest.raises(FileExistsError), folder.new_folder(model):
        pass


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        atomic.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}

    def fails() -> None:
        with atomic.writing(path) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fails()
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["deleted", "truncated", "flipped"])
@pytest.mark.parametrize(
    "name", ["config.toml", "manifest.json", "report.json", "log/arm=wide/day=1/part-00000.parquet"]
)
def test_a_damaged_file_is_noticed_and_named(folder: RunFolder, name: str, how: str) -> None:
    fill(folder, 1)
    folder.finish_day(1)
    folder.finish({"arms": {}}, "# report")
    damage(folder.path / name, how)

    def read() -> None:
        opened = RunFolder.open(folder.path)
        opened.report()
        assert opened.verify() != []
        raise RunFolderError(opened.verify()[0])

    with pytest.raises(RunFolderError) as error:
        read()
    missing = name == "manifest.json" and how == "deleted"
    assert str(folder.path if missing else folder.path / name) in str(error.value)


def test_messages_of_damaged_files(folder: RunFolder, tmp_path: Path) -> None:
    part = fill(folder, 1)
    size = part.stat().st_size
    damage(part, "flipped")
    assert folder.verify() == [f"{part}: got other content than was written, allowed: its checksum"]
    damage(part, "truncated")
    assert folder.verify() == [f"{part}: got {size // 2} bytes, allowed: {size} as written"]
    damage(part, "deleted")
    assert folder.verify() == [f"{part}: got no readable file, allowed: {size} bytes"]
    with pytest.raises(RunFolderError) as error:
        folder.trusted(folder.path / "events.jsonl")
    assert str(error.value).endswith("got a file that the manifest does not list, allowed: listed files")
    with pytest.raises(RunFolderError) as error:
        RunFolder.open(tmp_path / "nowhere")
    assert str(error.value) == f"{tmp_path}/nowhere: got no run folder, allowed: one with a manifest.json"
    with pytest.raises(RunFolderError) as error:
        folder.report()
    assert str(error.value) == f"{folder.path}: got a run without a report, allowed: a finished run"


def test_another_version_is_refused(folder: RunFolder) -> None:
    path = folder.path / "manifest.json"
    document = atomic.read_sealed(path)
    atomic.write_sealed(path, document | {"format": 99})
    with pytest.raises(RunFolderError) as error:
        RunFolder.open(folder.path)
    assert str(error.value) == f"{path}: got format 99, allowed: 2 or 3"


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "log/../../x", "a\\b", ""])
def test_no_artefact_lies_outside(folder: RunFolder, name: str) -> None:
    path = folder.path / "manifest.json"
    document = atomic.read_sealed(path)
    document["artefacts"][name] = {"size": 1, "sha256": "0"}
    atomic.write_sealed(path, document)
    with pytest.raises(RunFolderError) as error:
        Manifest.read(folder.path)
    assert str(error.value) == f"{path}: got the artefact {name!r}, allowed: paths inside the run folder"


def test_a_second_writer_is_refused_with_the_first_ones_name(folder: RunFolder) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom experiment.folder.lock import locked\n"
        f"with locked(Path({str(folder.path / 'lock')!r})):\n"
        "    print('held', flush=True)\n    sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockedError) as error, folder.locked():
            pass
        assert str(error.value) == (
            f"{folder.path}: got a run that process {other.pid} on {socket.gethostname()} is writing, "
            "allowed: one writer at a time"
        )
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # a zombie, until it is waited for
        assert holder(folder.path / "lock") is None
        other.wait()
    with folder.locked():  # what a killed process left behind does not matter
        assert holder(folder.path / "lock") == Holder.me()
        with folder.locked():  # nor does this process itself
            pass
        assert holder(folder.path / "lock") == Holder.me()
    assert not (folder.path / "lock").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"pid": 1}', b"\xff", b'{"pid": "x", "host": "y", "began": 0}']
)
def test_a_lock_that_cannot_be_read_is_stale_or_refused(folder: RunFolder, content: bytes) -> None:
    path = folder.path / "lock"
    path.write_bytes(content)
    os.utime(path, (0, 0))
    with folder.locked():
        assert holder(path) == Holder.me()


def test_a_pid_that_was_reused_is_not_the_holder(folder: RunFolder) -> None:
    path = folder.path / "lock"
    me = Holder.me()
    path.write_text(json.dumps({"pid": me.pid, "host": me.host, "began": me.began + 1}))
    assert holder(path) is None


def test_a_lock_of_another_host_holds_until_it_is_old(folder: RunFolder) -> None:
    path = folder.path / "lock"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "began": 0}))
    with pytest.raises(LockedError, match="process 1 on elsewhere"), locked(path):
        pass
    old = time.time() - lock.STRANGER_SECONDS - 1
    os.utime(path, (old, old))
    with locked(path):
        pass


def test_whoever_holds_a_lock_shows_it_to_other_hosts(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    path = folder.path / "lock"
    with locked(path):
        os.utime(path, (0, 0))
        ends = time.monotonic() + 60
        while path.stat().st_mtime == 0 and time.monotonic() < ends:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
        with locked(path):
            pass
        assert [one.name for one in threading.enumerate()].count(f"lock {path}") == 1
    assert f"lock {path}" not in [one.name for one in threading.enumerate()]


def test_status_says_how_the_run_is_doing(folder: RunFolder, config: Config) -> None:
    with folder.locked():
        journal = Journal(folder.path, config)
        journal.update(phase="serving", sim_day=1)
        status = read_status(folder.path)
        assert (status["state"], status["phase"], status["sim_day"]) == ("running", "serving", 1)
        assert (status["days"], status["pre_days"], status["pid"]) == (3, 3, os.getpid())
        started = status["started_wall_s"]
    status = read_status(folder.path)
    assert (status["state"], status["message"]) == ("interrupted", "its process is gone")
    with folder.locked():
        later = Journal(folder.path, config)
        later.update("failed", message="x")
    assert read_status(folder.path)["started_wall_s"] == started
    damage(folder.path / "status.json", "flipped")
    with pytest.raises(RunFolderError, match=r"status\.json: got no status \("):
        read_status(folder.path)


def test_events_survive_a_line_that_was_cut_off(folder: RunFolder, config: Config) -> None:
    assert list(read_events(folder.path)) == []
    journal = Journal(folder.path, config)
    journal.event("started", arms=["wide"])
    with (folder.path / "events.jsonl").open("a") as file:
        file.write('{"event": "hal')
    (event,) = read_events(folder.path)
    assert (event["event"], event["arms"]) == ("started", ["wide"])


def test_runs_are_listed_in_any_state(folder: RunFolder, config: Config) -> None:
    root = folder.path.parent
    done = RunFolder.create(root / "done", config)
    done.finish(
        {"run": {"control": "wide"}, "comparisons": [{"arm": "deep", "control": "wide", "lift": 0.03}]}, ""
    )
    with done.locked():
        Journal(done.path, config).update("done")
    broken = RunFolder.create(root / "broken", config)
    damage(broken.path / "config.toml", "flipped")
    (root / "other").mkdir()
    runs = {run.path.name: run for run in runs_in(root)}
    assert {name: run.state for name, run in runs.items()} == {
        "one": "interrupted", "done": "done", "broken": "damaged",
    }  # fmt: skip
    assert runs["done"].lifts == {"deep": 0.03}
    assert "config.toml" in str(runs["broken"].message)
    assert summary(root / "one").seed == 7
    assert runs_in(root / "nowhere") == []
    console = Console(file=io.StringIO(), width=1000)
    console.print(render(list(runs.values()), root))
    shown = {line.split()[0]: line for line in console.file.getvalue().splitlines()}
    assert {name: shown[name].split()[1] for name in runs} == {name: run.state for name, run in runs.items()}
    assert "Deep +3.0%" in shown["done"]
    assert "config.toml" in shown["broken"]


def test_a_renewal_is_whole_at_any_instant(folder: RunFolder) -> None:
    folder.finish({"arms": {}}, "# first")
    folder.write_json(folder.path / "report.json", {"arms": {"wide": 1}})
    assert RunFolder.open(folder.path).report() == {
        "arms": {}
    }  # killed before the manifest names the new one
    folder.manifest.write(folder.path)
    opened = RunFolder.open(folder.path)  # killed after it: a reader finishes what was begun
    assert opened.report() == {"arms": {"wide": 1}}
    assert opened.verify() == []
    folder.finish_day(1)
    assert sorted(p.name for p in folder.path.glob(".*")) == []


@pytest.mark.parametrize("how", ["cut", "flipped", "deleted", "other run"])
def test_damaged_events_and_statuses_are_named(folder: RunFolder, config: Config, how: str) -> None:
    with folder.locked():
        journal = Journal(folder.path, config)
        for number in range(3):
            journal.event("served", number=number)
        journal.update("done")
    assert folder.verify() == []
    other = RunFolder.create(folder.path.parent / "two", load("tiny", seed=8))
    with other.locked():
        theirs = Journal(other.path, other.config)
        theirs.event("served", number=0)
        theirs.update("done")
    for name in ("events.jsonl", "status.json"):
        path = folder.path / name
        kept = path.read_bytes()
        if how == "cut":
            path.write_bytes(kept[: kept.index(b"\n", len(kept) // 2) + 1] if name[0] == "e" else kept[:40])
        elif how == "flipped":
            path.write_bytes(kept.replace(b'"number": 1', b'"number": 3').replace(b"tiny", b"tinz"))
        elif how == "deleted":
            path.unlink()
        else:
            path.write_bytes((other.path / name).read_bytes())
        (problem,) = folder.verify()
        assert problem.startswith(f"{path}: got ")
        path.write_bytes(kept)


def test_the_next_event_begins_a_line_of_its_own(folder: RunFolder, config: Config) -> None:
    Journal(folder.path, config).event("started")
    with (folder.path / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "hal')
    journal = Journal(folder.path, config)
    journal.event("resumed")
    journal.update("running")
    assert [event["event"] for event in read_events(folder.path)] == ["started", "resumed"]
    assert folder.verify() == []


def test_an_event_may_hold_what_others_take_for_the_end_of_a_line(folder: RunFolder, config: Config) -> None:
    journal = Journal(folder.path, config)
    journal.event("failed", cause="one\u2028two\x85three\x0cfour")
    journal.update("failed")
    (event,) = read_events(folder.path)
    assert event["cause"] == "one\u2028two\x85three\x0cfour"
    assert folder.verify() == []


def test_on_a_full_disk_nothing_is_left_of_an_event(
    folder: RunFolder, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(folder.path, config)
    journal.event("started")
    real = Path.open

    class Full:
        """A file that takes ten bytes."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, line: bytes) -> int:
            return self.file.write(line[:10])

    monkeypatch.setattr(Path, "open", lambda path, *a, **k: Full(real(path, *a, **k)))
    with pytest.raises(OSError, match="No space left on device"):
        journal.event("resumed")
    monkeypatch.undo()
    journal.event("failed")
    journal.update("failed")
    assert [event["event"] for event in read_events(folder.path)] == ["started", "failed"]
    assert folder.verify() == []


def test_a_run_is_resumed_only_as_it_was_written(folder: RunFolder) -> None:
    from experiment import running

    part = fill(folder, 1)
    folder.finish_day(1)
    damage(part, "flipped")
    with pytest.raises(RunFolderError) as error:
        running.resume(folder.path)
    assert str(error.value) == f"{part}: got other content than was written, allowed: its checksum"
    (note,) = error.value.__notes__
    assert note == (
        "Nothing was changed. Put the files back from a copy, or begin anew with: storelift run --config "
        f"{folder.path}/config.toml"
    )
