"""How fast the dashboard opens a large run, and turns its pages: `python -m benchmarks.dashboard_open`.

Makes a run folder of the size of the paper's (users' counts, report, days; no models) in a temporary folder,
then opens it in a new process, as somebody would who has just started the window.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

PAGES = ("overview", "lift", "quality", "latency", "generalise", "live", "data", "compare", "start")
OPEN_SECONDS, SWITCH_SECONDS = 2.0, 0.3


def make(path: Path, users: int, days: int) -> int:
    """Writes the run and returns its impressions in the experiment."""
    import pyarrow as pa

    from experiment.folder.journal import Journal
    from experiment.folder.paths import RunPaths
    from experiment.folder.rundir import RunFolder
    from experiment.loading import load
    from experiment.quality import Quality
    from experiment.reporting import report

    config = load("paper", {"experiment.days": days, "world.horizon_days": 14 + days})
    folder, paths = RunFolder.create(path, config), RunPaths(path)
    rng = np.random.default_rng(0)
    groups = list(config.arms)
    collected: dict[str, list[dict[str, Any]]] = {arm: [] for arm in groups}
    served: dict[str, dict[int, Quality]] = {arm: {} for arm in groups}
    gate = []
    for day in range(1 - config.experiment.pre_days, days + 1):
        columns: list[dict[str, Any]] = []
        for number, arm in enumerate(groups):
            seen = np.flatnonzero(rng.random(users) < 0.48) + number * users
            rate = 0.06 * (1 + 0.02 * number * (day > 0))
            own = {
                "user_id": seen.astype(np.int64),
                "country": (seen % 20).astype(np.int8),
                "impressions": np.full(len(seen), 10, np.int32),
                "acquisitions": rng.binomial(10, rate, len(seen)).astype(np.int32),
                "expected": np.full(len(seen), 10 * rate),
                "new_impressions": rng.binomial(10, 0.03, len(seen)).astype(np.int32),
                "day": np.full(len(seen), day, np.int32),
            }
            collected[arm].append(own)
            columns.append({**own, "group": np.full(len(seen), arm)})
        folder.write_table(
            paths.user_days(day),
            pa.table({name: np.concatenate([one[name] for one in columns]) for name in columns[0]}),
        )
        entry: dict[str, Any] = {"groups": groups, "trained": groups, "verdicts": {}, "quality": {}}
        if day > 0:
            for arm in groups:
                served[arm][day] = Quality(1, 0.72, (0.71, 0.73), 0.72, 0.65, 0.6, 0.2, 1.0, 900, 8.0)
                verdict = passed()
                gate.append(report.GateEntry(day, arm, verdict))  # type: ignore[arg-type]
        folder.write_json(paths.day_entry(day), entry)
        folder.finish_day(day)
    results = []
    for arm in groups:
        whole = {name: np.concatenate([one[name] for one in collected[arm]]) for name in collected[arm][0]}
        during = whole["day"] > 0
        window, pre = ({name: values[rows] for name, values in whole.items()} for rows in (during, ~during))
        results.append(report.ArmResult(arm, users, window, pre, served[arm][1], served[arm]))
    built = report.build(config, results, list(config.days()), gate, {"started_wall_s": 0.0, "seconds": 0.0})
    Journal(path, config).update("done", phase="done", share=1.0, finished_day=days)
    folder.finish(built.document, built.markdown())
    return sum(arm["impressions"] for arm in built.document["arms"].values())


def passed() -> Any:
    """A verdict of the gate, whose module is imported only here."""
    from models.gate import Verdict

    return Verdict(True, (), 500, 0.71, 0.7, 1.0, 0.3, 1.0)


def open_it(root: Path) -> dict[str, Any]:
    """Seconds of opening and of each page, in this process, which has done nothing else yet."""
    from streamlit.testing.v1 import AppTest

    from dashboard import measures, reading, results, words
    from dashboard.card_rows import blocks

    times: dict[str, Any] = {}
    began = time.perf_counter()
    (run,) = reading.runs_in(root)
    found = results.document(run)
    words.verdict(run, found)
    times["read"] = time.perf_counter() - began
    blocks(run, found)  # type: ignore[arg-type]
    times["open"] = time.perf_counter() - began
    sys.argv = ["app.py", str(root)]
    at = AppTest.from_file(str(Path(__file__).parents[1] / "dashboard" / "app.py"), default_timeout=60).run()
    first, again = {}, {}
    for turn in (first, again):
        for page in PAGES:
            began = time.perf_counter()
            at.switch_page(f"views/{page}.py").run()
            turn[page] = time.perf_counter() - began
            if at.exception:
                raise RuntimeError(at.exception[0].message)
    measures.arms(run)
    return {**times, "first": first, "again": again}


def main() -> None:
    """Makes, opens, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--users", type=int, default=16_700, help="per arm; 10 impressions on about half of the days"
    )
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.root is not None:
        print(json.dumps(open_it(asked.root)))
        return
    with tempfile.TemporaryDirectory() as folder:
        impressions = make(Path(folder) / "large", asked.users, asked.days)
        command = [sys.executable, "-m", "benchmarks.dashboard_open", "--root", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    times = json.loads(done.stdout.strip().split("\n")[-1])
    result = {"impressions": impressions, **times}
    if asked.json:
        print(json.dumps(result, indent=2))
        return
    kept = SimpleNamespace(
        open=times["open"] <= OPEN_SECONDS, turn=max(times["again"].values()) <= SWITCH_SECONDS
    )
    print(f"{impressions / 1e6:.1f}M impressions of the experiment")
    print(f"opened in {times['open']:.2f} s ({'within' if kept.open else 'over'} {OPEN_SECONDS:g} s)")
    print("page        first     again")
    for page in PAGES:
        print(f"{page:<10} {1e3 * times['first'][page]:5.0f} ms  {1e3 * times['again'][page]:5.0f} ms")
    print(f"pages turn {'within' if kept.turn else 'not all within'} {1e3 * SWITCH_SECONDS:g} ms")


if __name__ == "__main__":
    main()
