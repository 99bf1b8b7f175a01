"""A file of each kind, damaged: readers name it or do without; `benchmarks/corrupt.py` takes every file."""

import importlib.util
import sys
from pathlib import Path

import pytest

CORRUPT = Path(__file__).parents[2] / "benchmarks" / "corrupt.py"

KINDS = (
    "config.toml",
    "manifest.json",
    "status.json",
    "events.jsonl",
    "report.json",
    "report.md",
    "truth.json",
)
KINDS += ("explanations/", "log/", "truth/", "models/", "metrics/days/", "metrics/user_days/", "state/")


@pytest.fixture(scope="module")
def corrupt():
    spec = importlib.util.spec_from_file_location("corrupt", CORRUPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["corrupt"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["corrupt"]


@pytest.fixture(scope="module")
def lab(corrupt, tmp_path_factory):
    readers = ("verify", "resume", "report", "truth", "explain", "serve", "dashboard")
    return corrupt.Lab(tmp_path_factory.mktemp("corrupt"), readers)


@pytest.mark.parametrize("start", KINDS)
def test_a_damaged_file_is_named_and_not_used(corrupt, lab, start):
    place = KINDS.index(start)
    name = next(name for name in lab.names() if name.startswith(start))
    result = lab.damaged(name, corrupt.KINDS[place % len(corrupt.KINDS)])
    assert result["failed"] == {}
    assert result["same"] or result["readers"]["verify"] == "named"


def test_what_is_needed_is_never_used_damaged(corrupt, lab):
    names = lab.names()
    newest = max(
        name for name in names if name.startswith("models/arm=wide_deep/") and name.endswith("tensors")
    )
    for reader, name in (
        ("report", "report.json"),
        ("serve", newest),
        ("resume", next(n for n in names if n.startswith("log/"))),
        ("truth", next(n for n in names if n.startswith("truth/"))),
    ):
        path = lab.copy(reader)
        corrupt.damage(path / name, "bit-flipped", path)
        assert lab.judged(reader, path, name, "bit-flipped") == "named"
