"""Kills, and the other ways to fail: `benchmarks/crash.py` with a few trials."""

import subprocess
import sys
from pathlib import Path

import pytest

CRASH = Path(__file__).parents[2] / "benchmarks" / "crash.py"


@pytest.mark.slow
def test_nothing_is_lost(tmp_path):
    command = [sys.executable, CRASH, "--kills", "10", "--seed", "3", "--file", tmp_path / "crash.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "crash.jsonl").read_text().splitlines()) == 14
