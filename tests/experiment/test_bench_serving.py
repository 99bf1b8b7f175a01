"""Table 2: the document, the peers' scores against ours, and what it leaves in a run."""

import itertools
import json

import numpy as np
import pytest

from experiment.bench import paper as bench_paper
from experiment.bench import serving as bench_serving
from experiment.bench.engines import CANDIDATES, PAPER_MS, SPLITS, finish
from experiment.bench.record import keep
from experiment.folder.lock import LockedError
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.machine import Limits
from models import matmul

NET = bench_paper.PaperNet.draw(600)


def test_the_folded_network_is_the_papers():
    request = NET.request(CANDIDATES)
    inputs, layers = NET.concatenation(request), NET.layers()
    assert inputs.shape == (200, 1202)
    assert [weights.shape for weights, _ in layers] == [(1024, 1202), (512, 1024), (256, 512), (1, 256)]
    _, scores = bench_paper.eager(layers, inputs)
    np.testing.assert_allclose(NET.publish().score(request)[0], scores(), atol=1e-6)


def test_the_count_of_operations():
    widths = (1202, 1024, 512, 256, 1)
    assert bench_paper.plain_operations() == 2 * sum(a * b for a, b in itertools.pairwise(widths))
    assert bench_paper.folded_operations() == bench_paper.plain_operations() - 2 * 1202 * 1024
    assert bench_paper.rounded_operations() == 2 * 1024 * 512


def test_the_share_of_the_limit_counts_each_precision_by_its_own():
    row = {"model": "m", "engine": "e", "http": False, "batch": 200, "threads": 1, "p50_ms": 1.0}
    finish({"rows": []}, [row], Limits(100.0, 400.0, 1.0, 2, 0.0), {"e": (1e5, 2e5)})
    assert row["gemm_limit_ratio"] == pytest.approx(200 * (1e5 / 100 + 2e5 / 400) / 1e6)


def test_onnxruntime_scores_alike():
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    request = NET.request(CANDIDATES)
    _, scores = bench_paper.onnxruntime(NET.layers(), NET.concatenation(request))
    np.testing.assert_allclose(NET.publish().score(request)[0], scores(), atol=1e-6)


@pytest.fixture(scope="module")
def document():
    return bench_serving.measure(None, None, 6, 600, http=False)


def test_the_document_has_table_2_for_each_engine(document):
    engines = {row["engine"] for row in document["rows"]}
    assert {"storelift fp32", "torch eager"} <= engines
    assert ("storelift bf16" in engines) == matmul.has_bf16()
    left_out = {entry["engine"] for entry in document["skipped"]}
    assert engines | left_out == {"storelift fp32", "storelift bf16", "torch eager", "onnxruntime"}
    assert len(document["rows"]) == len(engines) * len(SPLITS)
    for row in document["rows"]:
        assert row["paper_ms"] == PAPER_MS[row["batch"], row["threads"]]
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["requests"] >= 6
        assert row["gemm_limit_ratio"] > 0
    (model,) = document["models"]
    assert model["structure"] == "1202-1024-512-256-1"
    assert model["score_difference"]["torch eager"]["log_odds"] < 1e-6
    assert model["apps_per_second_per_core"] * model["cores_for_10_million_per_second"] == pytest.approx(
        1e7, rel=1e-3
    )
    json.dumps(document, allow_nan=False)


def test_it_is_printed(document, capsys):
    bench_serving.show(document)
    out = capsys.readouterr().out
    assert "200 x 1" in out
    assert "10 million per second take" in out


def test_a_run_keeps_it(tmp_path, document):
    folder = RunFolder.create(tmp_path / "run", load("tiny", []))
    folder.finish_day(0)
    assert keep(tmp_path / "run", document)
    kept = RunFolder.open(tmp_path / "run")
    assert kept.verify() == []
    assert "latency/serving.json" in kept.manifest.artefacts
    assert json.loads((tmp_path / "run" / "latency" / "serving.json").read_text()) == document


def test_a_run_that_another_process_writes_is_left_alone(tmp_path, document, monkeypatch):
    RunFolder.create(tmp_path / "run", load("tiny", []))

    def locked(self):
        raise LockedError("taken")

    monkeypatch.setattr(RunFolder, "locked", locked)
    assert not keep(tmp_path / "run", document)
    assert not (tmp_path / "run" / "latency").exists()
