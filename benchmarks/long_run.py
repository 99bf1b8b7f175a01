"""A long run in a tiny world: what its processes hold in memory, and its folder on the disk, by day.

    python benchmarks/long_run.py                    # 100 days, the whole log kept
    python benchmarks/long_run.py --keep-log-days 7  # the log of the last days
    python benchmarks/long_run.py --table            # the table of the results so far

A day's memory is the largest resident set of the run and its workers together while the day was under way
(shared pages are counted in each). Results are kept in a file by setting; a run that was stopped is resumed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FILE = Path("artefacts/long_run.json")

SMALL = Path(__file__).parents[1] / "tests" / "formats" / "small.toml"


def main() -> int:
    """Runs, or goes on, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--keep-log-days", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="the run folder; by default beside the file of results")
    parser.add_argument("--file", type=Path, default=FILE, help="where results are kept")
    parser.add_argument("--table", action="store_true", help="only print the table of the results so far")
    options = parser.parse_args()
    results = json.loads(options.file.read_text()) if options.file.exists() else {}
    if not options.table:
        name = f"{options.days} days, keep_log_days = {options.keep_log_days}, {options.workers} workers"
        path = (
            options.out
            or options.file.parent / f"long-{options.days}-{options.keep_log_days}-{options.workers}"
        )
        watch(path, options, results.setdefault(name, {}), lambda: keep(options.file, results))
    print(table(results))
    return 0


def keep(file: Path, results: dict[str, Any]) -> None:
    """Writes the results."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")


def watch(path: Path, options: argparse.Namespace, days: dict[str, Any], note: Any) -> None:
    """Starts or resumes the run and notes each day's memory and disk."""
    command = [sys.executable, "-m", "experiment.cli"]
    if (path / "manifest.json").exists():
        command += ["resume", str(path), "-q", "--json"]
    else:
        settings = [f"experiment.days={options.days}", f"world.horizon_days={options.days + 3}"]
        settings += [f"run.keep_log_days={options.keep_log_days}"]
        command += [
            "run",
            "--config",
            str(SMALL),
            "--out",
            str(path),
            "--workers",
            str(options.workers),
            "-q",
        ]
        command += ["--json", *(word for one in settings for word in ("--set", one))]
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None:
            time.sleep(0.05)
            day = finished_day(path)
            if day is None:
                continue
            row = days.setdefault(str(day + 1), {"memory_mib": 0.0, "disk_mib": 0.0})
            row["memory_mib"] = max(row["memory_mib"], round(memory(process.pid) / 2**20, 1))
            if not row["disk_mib"]:
                row["disk_mib"] = round(size(path) / 2**20, 2)
                note()
    note()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: got exit code {process.returncode}, allowed: 0")


def finished_day(path: Path) -> int | None:
    """The last finished day of the run, as its status has it."""
    try:
        day = json.loads((path / "status.json").read_bytes())["finished_day"]
    except (OSError, ValueError, KeyError):
        return None
    return None if day is None else int(day)


def memory(pid: int) -> int:
    """Bytes resident in a process and its children."""
    total = 0
    with contextlib.suppress(OSError, ValueError):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(memory(int(child)) for child in (task / "children").read_text().split())
    return total


def size(folder: Path) -> int:
    """Bytes of all files below a folder that is being written."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total


def table(results: dict[str, dict[str, Any]]) -> str:
    """Memory and disk by day, as Markdown: the first days, each tenth, the last."""
    lines = ["| run | day | memory, MiB | disk, MiB |", "| --- | ---: | ---: | ---: |"]
    for name, days in results.items():
        known = sorted(map(int, days))
        for day in known:
            if day in (1, 2, 5, known[-1]) or (day > 0 and day % 10 == 0):
                row = days[str(day)]
                lines.append(f"| {name} | {day} | {row['memory_mib']:,.0f} | {row['disk_mib']:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
