"""Run folders of every format so far: what is readable opens, others are refused with their number."""

import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dashboard import reading
from experiment.cli import app
from experiment.folder.journal import read_events, read_status
from experiment.folder.manifest import FORMAT, READABLE, RunFolderError
from experiment.folder.rundir import RunFolder

KEPT = Path(__file__).parents[1] / "formats"


def unpacked(number: int, folder: Path) -> Path:
    with zipfile.ZipFile(KEPT / f"format-{number}.zip") as kept:
        kept.extractall(folder)
    return folder


def storelift(*arguments: object):
    return CliRunner().invoke(app, [str(one) for one in arguments], prog_name="storelift")


def test_each_format_is_kept_and_small():
    kept = {int(file.stem.split("-")[1]) for file in KEPT.glob("format-*.zip")}
    assert kept == set(range(1, FORMAT + 1))
    assert all(file.stat().st_size < 300_000 for file in KEPT.glob("*.zip"))


@pytest.mark.parametrize("number", READABLE)
def test_a_readable_format_opens_in_every_reader(number, tmp_path):
    path = unpacked(number, tmp_path / "run")
    folder = RunFolder.open(path)
    assert folder.manifest.format == number
    assert folder.verify() == []
    assert read_status(path)["state"] == "done"
    assert [event["event"] for event in read_events(path)][-1] == "done"
    for command in (("report", "--json"), ("truth", "--json", "-q"), ("verify",), ("resume", "--json", "-q")):
        result = storelift(command[0], path, *command[1:])
        assert result.exit_code == 0, result.output
    run = reading.read(path)
    assert (run.state, run.warnings) == ("done", ())
    assert reading.documents(run, "explanations/*.json")
    assert reading.document(run, "truth.json") is not None


@pytest.mark.parametrize("number", [n for n in range(1, FORMAT) if n not in READABLE])
def test_another_format_is_refused_with_its_number(number, tmp_path):
    path = unpacked(number, tmp_path / "run")
    for command in ("report", "resume", "verify", "truth", "calibrate"):
        result = storelift(command, path)
        assert result.exit_code == 2
        assert result.stderr == f"storelift: {path}/manifest.json: got format {number}, allowed: 2 or 3\n"
    assert f"format {number}" in str(reading.read(path).message)


def test_a_run_goes_on_in_the_format_that_it_was_begun_in(tmp_path):
    path = unpacked(READABLE[0], tmp_path / "run")
    folder = RunFolder.open(path)
    folder.write_json(path / "calibration.json", {"replays": 2})
    folder.finish_day(1)
    assert RunFolder.open(path).manifest.format == READABLE[0]


def test_a_configuration_that_this_version_does_not_know_is_named(tmp_path):
    path = unpacked(FORMAT, tmp_path / "run")
    folder = RunFolder.open(path)
    (path / "config.toml").write_text(
        (path / "config.toml").read_text().replace("[gate]", "[gate]\nolder = 1")
    )
    folder.register([path / "config.toml"])
    folder.finish_day(1)
    with pytest.raises(RunFolderError) as error:
        RunFolder.open(path)
    first, second = str(error.value).split("\n")
    assert first.startswith(f"{path}/config.toml: gate.older: got an unknown key, allowed: ")
    assert second == f"{path}: got a run of another version of the program"


def test_a_document_of_another_version_is_refused(tmp_path):
    path = unpacked(FORMAT, tmp_path / "run")
    folder = RunFolder.open(path)
    folder.write_json(path / "report.json", {**folder.report(), "format": 7})
    folder.finish_day(1)
    with pytest.raises(RunFolderError) as error:
        RunFolder.open(path).report()
    assert str(error.value) == f"{path}/report.json: got format 7, allowed: 1"


def test_a_copy_of_a_run_is_the_run(tmp_path):
    path = unpacked(FORMAT, tmp_path / "run")
    shutil.copytree(path, tmp_path / "copy")
    assert RunFolder.open(tmp_path / "copy").verify() == []
