"""`make bench`: runs every benchmark, keeps the figures, and prints what moved by more than the noise.

Each run appends one JSON line to `benchmarks/history/bench.jsonl`: the commit, the machine's limits and every
figure by its path. Figures by CPU time, ratios, latencies and log losses are compared with the median of the
runs before; wall-clock rates are kept but not compared, since they measure what else the machine does. Rates
by CPU time are taken relative to the matrix product rate of the same run. Noise is three times the spread of
the runs before (median absolute deviation), at least 5%, and 15% while there are fewer than three.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HISTORY = Path(__file__).resolve().parent / "history" / "bench.jsonl"
BENCHES = ("simulate", "train", "serving")
RECENT, LEAST, FEW = 10, 0.05, 0.15
HIGHER, LOWER = ("per_cpu_second", "_ratio"), ("log_loss", "p50_ms")


def main() -> int:
    """Runs, appends, compares; with --strict exit code 1 if a figure got worse by more than the noise."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(BENCHES))
    parser.add_argument("--history", type=Path, default=HISTORY)
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    documents = {name: document for name in options.only.split(",") if (document := measured(name))}
    if not documents:
        return 1
    now = line(documents)
    before = read(options.history)
    moved = compare(before, now)
    options.history.parent.mkdir(parents=True, exist_ok=True)
    with options.history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(now) + "\n")
    print("\n".join(words(moved, len(now["figures"]), len(before))))
    return 1 if options.strict and any(one["worse"] for one in moved) else 0


def measured(name: str) -> dict[str, Any] | None:
    """The document of `storelift bench NAME --json`; None, with a word, where it fails."""
    print(f"bench {name} ...", flush=True)
    command = [sys.executable, "-m", "experiment.cli", "bench", name, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"bench {name} failed: {done.stderr.strip().splitlines()[-1:]}")
        return None
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def line(documents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One line of the history."""
    machine = next((d["machine"] for d in documents.values() if "machine" in d), {})
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "machine": machine,
        "figures": {
            path: value
            for name, document in documents.items()
            for path, value in sorted(
                flat({k: v for k, v in document.items() if k != "machine"}, name).items()
            )
        },
    }


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")


def flat(document: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Every finite number of a document by its path; settings and limits are left out."""
    found: dict[str, float] = {}
    for key, value in document.items():
        path = f"{prefix}.{key}"
        if key in {"settings", "machine"}:
            continue
        if isinstance(value, Mapping):
            found |= flat(value, path)
        elif isinstance(value, list):
            found |= flat({_label(place, one): one for place, one in enumerate(value)}, path)
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[path] = value
    return found


def _label(place: int, one: Any) -> str:
    """The name of a list's entry: its text fields, batch and threads; without any its place."""
    fields = one.items() if isinstance(one, Mapping) else ()
    return "/".join(str(v) for k, v in fields if isinstance(v, str) or k in {"batch", "threads"}) or str(
        place
    )


def read(history: Path) -> list[dict[str, Any]]:
    """The lines of the history, oldest first; none where there is no file."""
    if not history.exists():
        return []
    return [json.loads(text) for text in history.read_text("utf-8").splitlines() if text.strip()]


def compare(before: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures that moved by more than the noise, the largest move first."""
    moved = []
    for path in now["figures"]:
        name = path.rsplit(".", 1)[-1]
        rising = name.endswith(HIGHER)
        if not (rising or name.endswith(LOWER)):
            continue
        values = [value for one in before[-RECENT:] if (value := comparable(one, path)) is not None]
        own = comparable(now, path)
        if not values or own is None:
            continue
        usual = median(values)
        spread = 3 * 1.4826 * median(abs(value / usual - 1) for value in values)
        noise = max(spread, LEAST) if len(values) >= 3 else FEW
        change = own / usual - 1
        if abs(change) > noise:
            moved.append({"figure": path, "change": change, "noise": noise, "worse": (change < 0) == rising})
    return sorted(moved, key=lambda one: -abs(one["change"]))


def comparable(one: Mapping[str, Any], path: str) -> float | None:
    """A figure of a line, CPU rates relative to the matrix product rate; None where it is not above 0."""
    value = one["figures"].get(path)
    if value is None or value <= 0:
        return None
    gemm = one.get("machine", {}).get("gemm_gflops")
    return float(value / gemm) if gemm and path.endswith("per_cpu_second") else float(value)


def words(moved: Sequence[Mapping[str, Any]], figures: int, runs: int) -> list[str]:
    """What to print."""
    if not runs:
        return [f"first run: {figures} figures kept, nothing to compare with"]
    if not moved:
        return [f"{figures} figures, none moved by more than the noise of {runs} runs before"]
    lines = []
    for one in moved:
        verdict = "WORSE " if one["worse"] else "better"
        lines.append(f"{verdict} {one['change']:+7.1%} (noise {one['noise']:.1%})  {one['figure']}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
