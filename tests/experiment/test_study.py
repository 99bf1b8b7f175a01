"""Studies: what a file states, what a cell measures, how cells are kept, and what is said of them."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from experiment import program
from experiment.cli import app
from experiment.errors import BadInput
from experiment.folder.lock import LockedError
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.study import cell as study_cell
from experiment.study import exploration as study_exploration
from experiment.study import markdown as study_markdown
from experiment.study import plan as study_plan
from experiment.study import sweep as study_command
from experiment.study.measures import MEASURES
from experiment.study.sweep import run_study
from simulator.schema import NO_APP

SMALL = {
    "title": "Small",
    "preset": "tiny",
    "seeds": 2,
    "set": {"users.population": 20_000, "experiment.days": 2},
    "arms": ["wide", "deep"],
    "variant": [{"name": "default"}, {"name": "frozen", "set": {"experiment.training": "none"}}],
    "claim": [
        {"name": "AUC", "measure": "expected_auc", "observed": "offline_auc", "ascending": ["deep", "wide"]}
    ],
}


def small(**changes):
    return study_plan.validated(SMALL | changes, "small")


def refusal(**changes) -> list[str]:
    with pytest.raises(BadInput) as caught:
        small(**changes)
    return str(caught.value).split("\n")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study of two variants and two seeds; what was told on the way."""
    root, told = tmp_path_factory.mktemp("root"), []
    document = run_study("small", small(), root, workers=1, tell=lambda a, b: told.append((a, b)))
    return root, document, told


# --- what a file states -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(study_plan.shipped()))
def test_shipped_studies_are_configurations(name):
    study = study_plan.shipped()[name]
    cells = study_plan.cells(study_plan.changed(study, name, seeds=1))
    assert len({cell.name for cell in cells}) == len(cells) == len(study.points())
    hashes = {cell.config.config_hash() for cell in cells}
    assert len(hashes) == len(cells), "two variants are the same configuration"
    assert study.question


def test_the_default_is_among_the_values_of_each_knob():
    for name, study in study_plan.shipped().items():
        plain = study_plan.changed(study, name, seeds=1).model_copy(update={"sweep": [], "claim": []})
        config = study_plan.cells(plain)[0].config.model_dump()
        for sweep in study.sweep:
            for path in sweep.paths or [sweep.knob]:
                node = config
                for part in path.split("."):
                    node = node[part]
                assert node in sweep.values, f"{name}: {path}"


def test_points_of_two_knobs_and_of_paths():
    sweep = [
        {"knob": "world.drift", "values": [0.0, 0.5]},
        {
            "knob": "l1",
            "paths": ["arms.wide.settings.wide.l1", "production.settings.wide.l1"],
            "values": [1.0, 2.0],
        },
    ]
    study = small(variant=[], sweep=sweep)
    points = study.points()
    assert [point.values for point in points] == [(0.0, 1.0), (0.0, 2.0), (0.5, 1.0), (0.5, 2.0)]
    cell = study_plan.cells(study)[3]
    assert (cell.config.world.drift, cell.seed, cell.config.run.workers) == (0.5, 0, 1)
    assert cell.config.arms["wide"].settings["wide"]["l1"] == 2.0
    assert cell.config.production.settings["wide"]["l1"] == 2.0
    assert cell.config.arms["deep"].settings.keys() == {"features", "training", "deep"}


def test_cells_are_whole_seeds_in_order():
    cells = study_plan.cells(small(first_seed=7))
    assert [(cell.seed, cell.point.name) for cell in cells] == [
        (7, "default"), (7, "frozen"), (8, "default"), (8, "frozen"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seeds": 0}, "small: seeds: got 0, allowed: a whole number from 1 to 10,000"),
        ({"knobs": 1}, "small: knobs: got an unknown key, allowed: "),
        ({"sweep": [{"knob": "x", "values": [0]}]}, "small: : got both sweep and variant, allowed: "),
        ({"figure": "auc"}, "small: : got the measure 'auc', allowed: expected_auc, "),
        ({"variant": [{"name": "a"}, {"name": "a"}]}, "small: : got a variant twice among a, a, "),
        ({"extras": ["cold"]}, "small: : got the extra 'cold', allowed: warm_start"),
        (
            {"claim": [{"name": "c", "measure": "gauc", "arm": "deep"}]},
            "small: claim.0: got neither an order nor a bound, allowed: ascending = [A, B], or arm and bound",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_study_is_named(changes, line):
    assert refusal(**changes)[0].startswith(line)


def test_a_cell_that_is_no_configuration_is_named():
    study = small(variant=[{"name": "odd", "set": {"world.drift": 2}}])
    with pytest.raises(BadInput, match=r"^odd: world\.drift: got 2"):
        study_plan.cells(study)
    claim = {"name": "c", "measure": "gauc", "ascending": ["deep", "fm"]}
    with pytest.raises(BadInput, match=r"^claim 'c': got the arm 'fm', allowed: wide, deep$"):
        study_plan.cells(small(claim=[claim]))


def test_unknown_studies_and_files():
    with pytest.raises(BadInput, match=r"got 'drit', allowed: .*did you mean drift"):
        study_plan.find("drit")
    with pytest.raises(BadInput, match="allowed: a readable TOML file"):
        study_plan.find("nowhere.toml")
    with pytest.raises(BadInput, match="got no TOML"):
        study_plan.parse("title = ", "x.toml")


# --- cells --------------------------------------------------------------------------------------------------


def test_a_cell_is_measured_and_its_bulk_dropped(done):
    root, document, told = done
    assert told == [(at, 4) for at in range(5)]
    assert document["cells_done"] == document["cells"] == 4
    runs = sorted((root / "studies" / "small" / "runs").iterdir())
    assert len(runs) == 4
    for path in runs:
        folder = RunFolder.open(path)
        assert folder.verify() == []
        assert not any((path / name).exists() for name in study_cell.BULKY)
        cell = json.loads((root / "studies" / "small" / "cells" / f"{path.name}.json").read_bytes())
        report, truth = folder.report(), json.loads((path / "truth.json").read_bytes())
        deep = cell["arms"]["deep"]
        assert deep["expected_auc"] == report["arms"]["deep"]["expected_auc"]
        assert deep["expected_lift"] == truth["comparisons"][0]["expected_lift"]
        assert deep["true_lift"] == report["comparisons"][0]["true_lift"]
        assert deep["observed_lift"] == report["comparisons"][0]["lift"]
        assert cell["arms"]["wide"]["expected_lift"] == 0.0
        assert 0 < deep["distinct_apps"] <= folder.config.world.apps
        assert 0 < deep["new_pair_share"] < 1
        assert cell["arms"]["wide"]["wide_weights"] > 0
        assert deep["wide_weights"] is None
        assert set(deep) <= set(MEASURES)
        assert cell["comparisons"][0]["lift"] == deep["observed_lift"]


def test_frozen_models_do_not_learn_in_the_experiment(done):
    root, document, _ = done
    by_name = {path.name.split("-")[1]: path for path in (root / "studies/small/runs").glob("seed0-*")}
    events = {
        name: [
            (e["arms"], e["sim_day"])
            for e in map(json.loads, (path / "events.jsonl").read_text().splitlines())
            if e["event"] == "learned" and e["sim_day"] > 0
        ]
        for name, path in by_name.items()
    }
    assert {day for arms, day in events["default"] if "deep" in arms} == {1, 2}
    assert {tuple(arms) for arms, _ in events["frozen"]} == {("production",)}
    auc = [one["arms"]["deep"]["expected_auc"]["values"] for one in document["points"]]
    assert auc[0] == auc[1], "the first models are the same"
    lift = [one["arms"]["deep"]["expected_lift"]["values"] for one in document["points"]]
    assert lift[0] != lift[1]


def test_a_finished_study_is_not_done_again(done):
    root, document, _ = done
    told: list[tuple[int, int]] = []
    again = run_study("small", small(), root, workers=1, tell=lambda a, b: told.append((a, b)))
    assert told == [(4, 4)]
    assert again == document == json.loads((root / "studies" / "small.json").read_bytes())


def test_a_cell_whose_figures_are_lost_is_done_anew(done, tmp_path):
    root, document, _ = done
    shutil.copytree(root / "studies", tmp_path / "studies")
    lost = min((tmp_path / "studies" / "small" / "cells").glob("seed0-*.json"))
    known = json.loads(lost.read_bytes())
    lost.unlink()
    assert not (tmp_path / "studies" / "small" / "runs" / known["cell"] / "log").exists()
    again = run_study("small", small(), tmp_path, workers=1)
    assert json.loads(lost.read_bytes())["arms"] == known["arms"]
    assert again["points"] == document["points"]


def test_an_override_of_what_is_swept_is_refused():
    sweep = small(variant=[], sweep=[{"knob": "world.drift", "values": [0.1, 0.2]}], claim=[])
    with pytest.raises(
        BadInput, match=r"set: got world\.drift, which the study s varies, allowed: what it leaves"
    ):
        study_plan.changed(sweep, "s", overrides={"world.drift": 0.3})
    assert study_plan.changed(sweep, "s", overrides={"world.apps": 500}).set["world.apps"] == 500


def test_figures_of_the_same_run_are_taken_from_another_study(done):
    root, document, _ = done
    other = run_study("other", small(variant=[], seeds=1), root, workers=1)
    (cell,) = (json.loads(path.read_bytes()) for path in (root / "studies" / "other" / "cells").iterdir())
    assert cell["copied_from"] == "small"
    assert other["points"][0]["arms"]["deep"]["gauc"]["values"] == [
        document["points"][0]["arms"]["deep"]["gauc"]["values"][0]
    ]


def test_another_configuration_or_a_missing_extra_is_not_taken(done, tmp_path):
    root, _, _ = done
    (path,) = (root / "studies" / "small" / "cells").glob("seed0-default-*")
    cell = study_plan.cells(small())[0]
    assert study_cell.saved(path, cell.config)
    assert study_cell.saved(path, cell.config, ("warm_start",)) is None
    assert study_cell.saved(path, study_plan.cells(small(first_seed=5))[0].config) is None
    torn = tmp_path / "torn.json"
    torn.write_bytes(path.read_bytes()[:100])
    assert study_cell.saved(torn, cell.config) is None
    assert study_cell.saved(tmp_path / "gone.json", cell.config) is None


def test_begun_anew_only_where_all_is_in_order_and_nobody_works_on_it(done, tmp_path):
    root = tmp_path / "r"
    shutil.copytree(done[0], root)
    folder = root / "studies" / "small"
    before = sorted(folder.rglob("*"))
    file = tmp_path / "small.toml"
    file.write_text('title = "S"\npreset = "tiny"\n')
    command = ["study", str(file), "--root", str(root), "--again", "-q"]
    for wrong in (["--set", "world.drfit=1"], ["--executor", "bogus"], ["--set", "world.apps=90"]):
        assert CliRunner().invoke(app, [*command, *wrong]).exit_code == 2, wrong
    with RunFolder.open(next(iter((folder / "runs").iterdir()))).locked():
        result = CliRunner().invoke(app, [*command, "--seeds", "1"])
        assert result.exit_code == 2
        assert "is writing, allowed: one writer at a time" in result.output
    assert sorted(folder.rglob("*")) == before


def test_a_study_of_ones_own_does_not_take_the_name_of_another(tmp_path):
    file = tmp_path / "drift.toml"
    file.write_text('title = "S"\npreset = "tiny"\n')
    with pytest.raises(BadInput, match=r"drift\.toml, but drift comes with the program, allowed: "):
        study_plan.find(str(file))


def test_a_cell_that_cannot_be_run_does_not_hold_up_the_others(tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text(
        'title = "S"\npreset = "tiny"\nseeds = 1\n[set]\n"experiment.days" = 1\n'
        '[[sweep]]\nknob = "gate.memory_limit"\nvalues = [0.0001, 4096.0]\n'
    )
    command = ["study", str(file), "--root", str(tmp_path / "r"), "-q", "--workers", "1"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert (
        "0.0001, seed 0: NoModelError: arms.production: got a ranker of which no model has passed"
        in result.output
    )
    document = json.loads((tmp_path / "r" / "studies" / "limits.json").read_bytes())
    assert (document["cells_done"], document["cells"]) == (1, 2)
    assert [(cell["variant"], cell["seed"]) for cell in document["failed"]] == [("0.0001", 0)]


def test_figures_are_of_the_program_that_made_them(tmp_path, monkeypatch):
    """Code that changes while a study runs stops it; a cell that other code began is begun anew."""
    study = small(seeds=1, variant=[], set=SMALL["set"] | {"experiment.days": 1})
    from experiment import loop

    real, kept = loop.learn_overnight, program.fingerprint

    def edited(diary, workers, day, progress):
        if day == 0:
            monkeypatch.setattr(program, "fingerprint", other)
        real(diary, workers, day, progress)

    def other(*_):
        return "edited"

    kept_clear, other.cache_clear = kept.cache_clear, lambda: None
    monkeypatch.setattr(loop, "learn_overnight", edited)
    with pytest.raises(study_cell.ProgramChangedError, match="program: got edited on the disk, the study "):
        run_study("p", study, tmp_path, workers=1)
    assert not list((tmp_path / "studies" / "p" / "cells").glob("*"))
    monkeypatch.setattr(loop, "learn_overnight", real)
    (run,) = (tmp_path / "studies" / "p" / "runs").iterdir()
    (run / "of the first program").touch()  # an inode's number may be given again
    document = run_study("p", study, tmp_path, workers=1)
    assert document["programs"] == ["edited"]
    (run,) = (tmp_path / "studies" / "p" / "runs").iterdir()
    assert not (run / "of the first program").exists()
    kept_clear()


def test_a_cell_that_somebody_works_on_is_not_begun_anew(tmp_path):
    cell = study_plan.cells(small(variant=[], seeds=1))[0]
    task = study_command._task(tmp_path, cell, keep=False)
    folder = RunFolder.create(task.run, cell.config)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / cell.name).write_text("other code")
    task.run.joinpath("lock").write_text(
        json.dumps({"pid": os.getppid(), "host": socket.gethostname(), "began": 0})
    )
    with pytest.raises(LockedError, match="is writing, allowed: one writer at a time"):
        study_cell.work(task)
    assert folder.path.exists()


def test_a_map_of_nothing_is_empty():
    sweep = [{"knob": "world.drift", "values": [0.0, 0.2]}, {"knob": "world.apps", "values": [500, 900]}]
    from experiment.study import figure, summary

    document = summary.document("two", small(variant=[], sweep=sweep, claim=[]), {})
    assert not figure.figure(document, "expected_auc").data


def test_an_own_ranker_is_an_arm_like_any_other(tmp_path, monkeypatch):
    (tmp_path / "own_arm.py").write_text(
        "from models.reference import Popularity\nclass Mine(Popularity):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {"arms": ["wide", "mine"], "set": {**SMALL["set"], "arms.mine.kind": "own_arm:Mine"}}
    (cell,) = study_plan.cells(small(variant=[], seeds=1, claim=[], **own))
    assert {name: arm.kind for name, arm in cell.config.arms.items()} == {
        "wide": "wide",
        "mine": "own_arm:Mine",
    }
    own["arms"] = ["wide", "yours"]
    with pytest.raises(BadInput, match="arms: got 'yours', allowed: "):
        study_plan.cells(small(variant=[], seeds=1, claim=[], **own))


def test_an_own_rankers_code_counts(tmp_path, monkeypatch):
    module = tmp_path / "own_ranker.py"
    module.write_text("from models.reference import Popularity\nclass Mine(Popularity):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = load("tiny", arms=["wide"], rankers={"mine": "own_ranker:Mine"})
    before = program.rankers(config)
    path = tmp_path / "cell.json"
    document = {
        "format": study_cell.FORMAT,
        "config_hash": config.config_hash(),
        "extras": [],
        "rankers": before,
    }
    path.write_text(json.dumps(document))
    assert study_cell.saved(path, config) == document
    module.write_text(module.read_text() + "    kind = 'changed'\n")
    assert study_cell.saved(path, config) is None
    assert program.rankers(load("tiny")) == ""


def test_what_a_study_varies_is_not_set_by_a_table_around_it():
    study = small(variant=[], sweep=[{"knob": "world.drift", "values": [0.0, 0.5]}])
    with pytest.raises(BadInput, match=r"^set: got world\.drift, which the study small varies, allowed: "):
        study_plan.changed(study, "small", overrides={"world": {"drift": 0.9}})
    with pytest.raises(BadInput, match=r"^seed: got 99 among the settings, allowed: seeds and first_seed$"):
        study_plan.cells(study_plan.changed(study, "small", overrides={"seed": 99}))


def test_a_cell_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """A run that stopped in the middle is resumed; one that was saved and not yet dropped is dropped."""
    from experiment import running
    from experiment.nightly import forget

    study = small(seeds=1, variant=[])
    whole = run_study("whole", study, tmp_path, workers=1, keep=True)
    (run,) = (tmp_path / "studies" / "whole" / "runs").iterdir()
    assert (run / "log").is_dir()
    run_study("whole", study, tmp_path, workers=1)
    assert not (run / "log").exists()
    assert RunFolder.open(run).verify() == []
    forget()
    cell = study_plan.cells(study)[0]
    path = tmp_path / "part" / "studies" / "part" / "runs" / cell.name
    from experiment import loop

    real = loop.learn_overnight

    def stop(diary, workers, day, progress):
        if day == 1:
            raise KeyboardInterrupt
        real(diary, workers, day, progress)

    monkeypatch.setattr(loop, "learn_overnight", stop)
    with pytest.raises(KeyboardInterrupt):
        running.run(cell.config, path)
    monkeypatch.setattr(loop, "learn_overnight", real)
    part = run_study("part", study, tmp_path / "part", workers=1)
    assert part["points"] == whole["points"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_workers_end_with_a_study_that_is_killed(tmp_path):
    """Nothing runs on unseen; the same command goes on with what is there."""
    file = tmp_path / "s.toml"
    file.write_text('title = "S"\npreset = "tiny"\nseeds = 2\n[set]\n"experiment.days" = 4\n')
    command = [
        sys.executable,
        "-m",
        "experiment.cli",
        "study",
        str(file),
        "--root",
        str(tmp_path / "r"),
        "-q",
    ]
    runs = tmp_path / "r" / "studies" / "s" / "runs"
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        held: dict[str, int] = {}
        while len(held) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            held = _holders(runs)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(held) == 2
    deadline = time.monotonic() + 20
    while any(map(_alive, held.values())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_alive, held.values()))
    subprocess.run([*command, "--workers", "2"], check=True, timeout=300)
    assert sorted(path.parent.name for path in runs.glob("*/report.json")) == sorted(held)


def _holders(runs: Path) -> dict[str, int]:
    """The process that holds each run's lock."""
    found = {}
    for lock in runs.glob("*/lock"):
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            if text := lock.read_bytes():  # made first, then written
                found[lock.parent.name] = json.loads(text)["pid"]
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


# --- measures -----------------------------------------------------------------------------------------------


def test_pairs_are_marked_as_sets_say():
    rng = np.random.default_rng(1)
    apps = 50
    known, seen = np.zeros(apps * apps // 8 + 1, np.uint8), np.zeros(apps * apps // 8 + 1, np.uint8)
    before: set[tuple[int, int]] = set()
    installed = rng.integers(-1, apps, (6, 4))
    installed[installed < 0] = NO_APP
    shown = rng.integers(0, apps, (6, 3))
    study_exploration.mark(known, known, installed, shown, apps, NO_APP)
    before |= study_exploration.pairs_of(installed, shown)
    assert int(np.unpackbits(known).sum()) == len(before)
    seen = known.copy()
    new: set[tuple[int, int]] = set()
    for _ in range(3):
        installed, shown = rng.integers(0, apps, (6, 4)), rng.integers(0, apps, (6, 3))
        fresh, met, unknown = study_exploration.mark(seen, known, installed, shown, apps, NO_APP)
        here = study_exploration.pairs_of(installed, shown) - before
        assert fresh == len(here - new)
        new |= here
        assert met == 6 * 4 * 3
        rows = [(i, a) for row, them in zip(installed, shown, strict=True) for i in row for a in them]
        assert unknown == sum(pair not in before for pair in rows)


# --- what is said of it -------------------------------------------------------------------------------------


def test_the_command(done):
    root, document, _ = done
    listed = CliRunner().invoke(app, ["study"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in study_plan.shipped())
    file = root / "small.toml"
    file.write_text(_toml(SMALL))
    result = CliRunner().invoke(app, ["study", str(file), "--root", str(root), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == document
    assert (root / "studies" / "small.html").read_bytes().startswith(b"<!doctype html>")
    shown = CliRunner().invoke(app, ["study", str(file), "--root", str(root), "-q"], env={"COLUMNS": "120"})
    assert "of 2" in shown.stdout
    assert CliRunner().invoke(app, ["study", "nothing"]).exit_code == 2


def test_the_command_keeps_a_page_up_to_date(done):
    root, document, _ = done
    file, page = root / "small.toml", root / "why.md"
    file.write_text(_toml(SMALL))
    asked = ["study", str(file), "--root", str(root), "-q", "--write", str(page)]
    page.write_text("# Why\n")
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 2
    assert "without the markers" in refused.output
    page.write_text("# Why\n<!-- study small: begin -->\nstale\n<!-- study small: end -->\nafter\n")
    assert CliRunner().invoke(app, asked).exit_code == 0
    text = page.read_text()
    assert study_markdown.markdown(document, f"storelift study {file} --write {page}") in text
    assert text.startswith("# Why\n")
    assert text.endswith("after\n")
    assert "stale" not in text


def _toml(data: dict) -> str:
    from experiment import toml

    try:
        return toml.dumps(data)
    except (TypeError, ValueError):
        raise AssertionError("the study cannot be written") from None


@pytest.mark.parametrize("variants", [1, 2, 3, 4])
def test_workers_have_as_much_of_each_variant(variants):
    tasks = [SimpleNamespace(variant=str(v), seed=seed) for seed in range(12) for v in range(variants)]
    slots = study_command.slots(tasks, 2)
    for variant in range(variants):
        own = [slot for slot, task in zip(slots, tasks, strict=True) if task.variant == str(variant)]
        assert abs(own.count(0) - own.count(1)) <= 1
    assert slots.count(0) == slots.count(1)
    assert slots[:2] == [0, 1]


def test_again_deletes_what_there_is(done, tmp_path):
    from experiment.study.sweep import forget

    root, _, _ = done
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    forget("small", copy)
    assert not (copy / "studies" / "small").exists()
    assert not (copy / "studies" / "small.json").exists()
