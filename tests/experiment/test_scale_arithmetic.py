"""What internet scale would take is in proportion to what was measured."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "scale_arithmetic.py"

FIGURES = {
    "simulate.rankers.wide_deep.impressions_per_cpu_second": 200_000.0,
    "train.request_level.wide_deep.impressions_per_cpu_second": 100_000.0,
    "train.table.wide_deep.fp32.examples_per_cpu_second": 100_000.0,
    "train.table.wide_deep.fp32.gemm_ratio": 0.5,
    "serving.models.paper/1202-1024-512-256-1.apps_per_second_per_core": 100_000,
    "serving.models.paper/1202-1024-512-256-1.memory_mib": 250.0,
    "serving.models.paper/1202-1024-512-256-1.publish_apps": 50_000,
    "serving.models.paper/1202-1024-512-256-1.publish_cpu_seconds": 0.5,
}


@pytest.fixture(scope="module")
def scale():
    found = importlib.util.spec_from_file_location("scale_arithmetic", SCRIPT)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # where dataclasses look their annotations up
    found.loader.exec_module(module)
    return module


def test_the_arithmetic_of_scale_is_in_proportion(scale):
    one = scale.Measured("made", 0.5, 10, 10.0, 10.0, 80.0, 200.0, 30.0, 1e6, 1e9, 1e6, 1e6)
    day = {row[0]: row[1:] for row in _rows(scale.day_of(one, FIGURES))}
    assert day["users in the experiment"] == ["400,000", "40 million", "1 billion"]
    assert day["impressions"] == ["2 million", "200 million", "5 billion"]
    assert day["serve and log, core-hours"] == ["0.00278", "0.278", "6.94"]
    assert day["log and truth written"] == ["40 MB", "4 GB", "100 GB"]
    broken = [row[0].split(":")[0] for row in _rows(scale.limits(one, FIGURES))]
    assert broken[0] == "the learners' night in the pre-period"
    assert {row[0]: row[1] for row in _rows(scale.scoring(FIGURES))}["cores"] == "100"
    examples = {row[0]: row[1:] for row in _rows(scale.training(one, FIGURES, 200.0))}
    assert examples["W&D of the experiment, by request"] == ["100,000", "1,389", "57.9", "1"]


def test_the_arithmetic_of_scale_reads_what_the_benchmarks_wrote(scale, tmp_path):
    assert scale.short(999) == "999"
    lines = [{"figures": FIGURES, "commit": "a"}, {"figures": {"other": 1.0}, "commit": "b"}]
    (tmp_path / "bench.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert scale.newest(tmp_path / "bench.jsonl")["commit"] == "a"
    text = scale.tables(scale.read(scale.SCALE), scale.newest(scale.BENCH))
    assert text.count("###") == 4


def _rows(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return lines[2:]
