import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiment import loading
from experiment.cli import app
from experiment.config import Config
from experiment.errors import BadInput
from experiment.folder.journal import read_events, read_status
from experiment.folder.rundir import RunFolder
from experiment.reporting.report import Report

STORELIFT = Path(sys.executable).parent / "storelift"

DOCUMENT = {
    "run": {
        "preset": "tiny",
        "seed": 0,
        "control": "wide",
        "alpha": 0.05,
        "days": 3,
        "days_run": 3,
        "pre_days": 3,
        "apps": 800,
        "stopped": None,
        "identical_models": False,
        "training": "own",
        "config_hash": "0",
        "version": "0",
        "clock": {},
    },
    "verdict": "One arm only: there is nothing to compare.",
    "arms": {
        "wide": {"assigned": 3, "users": 2, "impressions": 9, "acquisition_rate": 0.1, "offline_auc": 0.7}
    },
    "comparisons": [],
    "health": {
        "srm": {"alarm": False, "p_value": 0.5},
        "pre_period": {"alarm": False, "p_value": None},
        "gate_refusals": 0,
    },
    "gate": [],
}


def storelift(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="storelift")


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch):
    """Replaces the loop: it does what it is told, and remembers with what it was called."""
    from experiment import loop

    calls: list[Config] = []

    def run(folder: RunFolder, progress: object) -> Report:
        calls.append(folder.config)
        if run.raises is not None:
            raise run.raises
        folder.finish(DOCUMENT, "# report")
        return Report(DOCUMENT)

    run.raises = None
    run.calls = calls
    monkeypatch.setattr(loop, "run", run)
    return run


def test_run_prints_the_table(loop, tmp_path: Path) -> None:
    result = storelift(
        "run", "--preset", "tiny", "--seed", 5, "--out", tmp_path / "r", "--arms", "wide", "-q"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Wide (control)" in result.stdout
    assert "Verdict  One arm only" in result.stdout
    (config,) = loop.calls
    assert (config.seed, list(config.arms), config.preset) == (5, ["wide"], "tiny")
    assert read_status(tmp_path / "r")["state"] == "done"
    assert [e["event"] for e in read_events(tmp_path / "r")] == ["started", "done"]


def test_json_is_all_there_is_on_standard_output(loop, tmp_path: Path) -> None:
    result = storelift("run", "--preset", "tiny", "--out", tmp_path / "r", "--json")
    assert json.loads(result.stdout) == DOCUMENT
    assert json.loads(storelift("report", tmp_path / "r", "--json").stdout) == DOCUMENT
    assert json.loads(storelift("resume", tmp_path / "r", "--json").stdout) == DOCUMENT
    (run,) = json.loads(storelift("list", tmp_path, "--json").stdout)
    assert (run["path"], run["state"], run["seed"]) == (str(tmp_path / "r"), "done", 0)
    assert json.loads(storelift("verify", tmp_path / "r", "--json").stdout) == {"files": 3, "problems": []}


def test_flags_reach_the_configuration(loop, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('preset = "tiny"\n[world]\nturnover = 0.1\n')
    options = ["--arms", "wide", "--arm", "mine=simulator.oracle:Oracle", "--set", "world.drift=.05"]
    options += ["--stop-when", "decided", "--executor", "local", "--workers", 1, "-q"]
    result = storelift("run", "--config", file, "--out", tmp_path / "r", *options)
    assert result.exit_code == 0, result.output
    (config,) = loop.calls
    assert list(config.arms) == ["wide", "mine"]
    assert (config.world.turnover, config.world.drift) == (0.1, 0.05)
    assert (config.experiment.stop_when, config.run.workers) == ("decided", 1)


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--set", "world.drift=-1", "--set", "a=1"],
         ["world.drift: got -1, allowed: a number from 0 to 1", "a: got an unknown key, allowed: "]),
        (["--arms", "wide,deep,wide"], ["arms: got 'wide' 2 times, allowed: once"]),
        (["--set", "experiment.bucket_share=1.1"],
         ["experiment.bucket_share: got 1.1, allowed: a number more than 0, at most 1"]),
        (["--arm", "mine"], ["arm: got 'mine', allowed: NAME=module:Class"]),
        (["--arm", "a=b:C", "--arm", "a=b:C"], ["arm: got 'a' twice, allowed: once"]),
        (["--stop-when", "soon"], ["experiment.stop_when: got 'soon', allowed: 'never' or 'decided'"]),
        (["--preset", "huge"], ["preset: got 'huge', allowed: "]),
        (["--set", "world.turnover=1"], ["world.turnover: got 1, allowed: a number from 0 to 0.9"]),
        (["--set", "world.apps=200", "--set", "world.turnover=0.9"],
         ["world.apps: got 200, of which 58 are released on the first day, allowed: 148 or more of them"]),
        (["--set", "preset=paper"], ["preset: got 'paper' among the settings, allowed: --preset, under "]),
        (["--set", "experiment.slots=2"], ["experiment.slots: got 2, allowed: 0, or at least one per arm, "]),
        (["--set", "world.horizon_start=3000000000"], ["world.horizon_start: got 3000000000, allowed: "]),
        (["--set", "production.share=0.00001", "--set", "users.population=30000"],
         ["production.share: got a share without a single user, allowed: at least "]),
        (["--set", "arms.deep.settings.deep.device=hal"],
         ["arms.deep.settings.deep.device: got 'hal', this machine has cpu"]),
    ],
)  # fmt: skip
def test_bad_input_exits_2_with_a_line_per_problem(
    loop, tmp_path: Path, arguments: list[str], lines: list[str]
) -> None:
    result = storelift("run", "--preset", "tiny", "--out", tmp_path / "r", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    said = result.stderr.splitlines()
    assert len(said) == len(lines)
    for line, expected in zip(said, lines, strict=True):
        assert line.startswith(f"storelift: {expected}")
    assert loop.calls == []
    assert not (tmp_path / "r").exists()


def test_misuse_exits_2(tmp_path: Path) -> None:
    assert storelift("rnu").exit_code == 2
    assert "Did you mean 'run'" in storelift("rnu").stderr
    assert storelift("run", "--nonsense").exit_code == 2
    assert storelift("run", "--seed", "x").exit_code == 2
    result = storelift("report", tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"storelift: {tmp_path}: got no run folder, allowed: one with a manifest.json\n"


def test_a_failure_exits_1_with_its_cause_in_a_line(loop, tmp_path: Path) -> None:
    loop.raises = MemoryError("no room\nfor more")
    result = storelift("run", "--preset", "tiny", "--out", tmp_path / "r", "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "storelift: MemoryError: no room",
        f"Finished days are kept. Go on with: storelift resume {tmp_path / 'r'}",
    ]
    status = read_status(tmp_path / "r")
    assert (status["state"], status["message"]) == ("failed", "MemoryError: no room")
    (event,) = [e for e in read_events(tmp_path / "r") if e["event"] == "failed"]
    assert "Traceback" in event["traceback"]


def test_a_traceback_is_shown_on_demand(loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORELIFT_DEBUG", "1")
    loop.raises = RuntimeError("broken")
    result = storelift("run", "--preset", "tiny", "--out", tmp_path / "r", "-q")
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr


def test_an_interruption_exits_130_and_says_how_to_go_on(loop, tmp_path: Path) -> None:
    loop.raises = KeyboardInterrupt()
    path = tmp_path / "r"
    result = storelift("run", "--preset", "tiny", "--out", path, "-q")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.splitlines() == [
        "storelift: interrupted",
        f"Finished days are kept. Go on with: storelift resume {path}",
    ]
    assert read_status(path)["state"] == "interrupted"
    again = storelift("run", "--preset", "tiny", "--out", path, "-q")
    assert again.exit_code == 2
    assert again.stderr.startswith(
        f"storelift: out: got {path}, an unfinished run, allowed: a new folder; go on with"
    )
    loop.raises = None
    assert storelift("resume", path, "-q").exit_code == 0
    assert read_status(path)["state"] == "done"
    (run,) = json.loads(storelift("list", tmp_path, "--json").stdout)
    assert run["state"] == "done"


def test_verify_names_the_file_that_was_changed(loop, tmp_path: Path) -> None:
    path = tmp_path / "r"
    storelift("run", "--preset", "tiny", "--out", path, "-q")
    (path / "report.md").write_text("changed")
    result = storelift("verify", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{path}/report.md: got 7 bytes, allowed: 8 as written",
        "3 files, 1 not as written",
    ]


def test_config_show_prints_what_run_would_take(loop) -> None:
    result = storelift("config", "show", "--preset", "tiny", "--set", "world.drift=0.05", "--arms", "wide")
    assert result.exit_code == 0
    from experiment.config import parse

    assert parse(result.stdout) == loading.load("tiny", ["world.drift=0.05"], arms="wide")
    document = json.loads(storelift("config", "show", "--preset", "tiny", "--json").stdout)
    assert document["world"]["apps"] == 800
    schema = json.loads(storelift("config", "schema").stdout)
    assert schema["$defs"]["WorldSettings"]["properties"]["drift"]["maximum"] == 1.0


def test_the_list_of_nothing_says_how_to_begin(tmp_path: Path) -> None:
    assert "storelift run --preset tiny" in storelift("list", tmp_path).stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'scipy', 'pandas', 'numba', 'numpy', 'pyarrow', 'pydantic', 'duckdb', 'statsmodels'}"
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom experiment.cli import app\n"
        "r = CliRunner().invoke(app, ['--help'])\nassert r.exit_code == 0\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    done = subprocess.run([STORELIFT, "--help"], capture_output=True, text=True, check=True)
    assert "run" in done.stdout


def test_commands_of_other_modules_are_named_and_found() -> None:
    assert "analyze" in storelift("--help").stdout
    result = storelift("analyze", "--help")
    assert result.exit_code == 0
    assert "--control" in result.stdout


def test_the_entry_points_are_lazy() -> None:
    import experiment

    assert experiment.load_config is loading.load
    assert callable(experiment.run)
    with pytest.raises(AttributeError, match="module 'experiment' has no attribute 'nothing'"):
        _ = experiment.nothing


def test_from_the_shell_to_the_report(tmp_path: Path) -> None:
    path = tmp_path / "r"
    done = subprocess.run(
        [STORELIFT, "run", "--preset", "tiny", "--arms", "wide,popularity", "--out", path, "--json",
         "--set", "experiment.days=1", "--set", "experiment.pre_days=2", "--workers", "1"],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert list(report["arms"]) == ["wide", "popularity"]
    assert report == json.loads((path / "report.json").read_text())
    assert (path / "report.md").exists()
    assert RunFolder.open(path).verify() == []
    with pytest.raises(BadInput):
        RunFolder.create(path, loading.load("tiny"))
