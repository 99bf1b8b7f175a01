"""What a run costs by population and catalogue, for as many bucket users: time and memory of whole runs.

    python benchmarks/scaling.py                     # 1e5 .. 1e9 users x 1e3 .. 1e6 apps, the preset `planet`
    python benchmarks/scaling.py --table             # what has been measured so far, as Markdown

Each cell is `storelift run` in a process group of its own, with its shares set such that every arm and
production's sample have `--bucket` users. Its CPU seconds are those of all its processes; its memory is the
largest sum of their resident sets, looked at ten times a second. A cell is a line of JSON, and cells that the
file has are not run again, so a sweep that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "history" / "scaling.jsonl"
USERS = (10**5, 10**6, 10**7, 10**8, 10**9)
APPS = (10**3, 10**4, 10**5, 10**6)
PAGE = os.sysconf("SC_PAGE_SIZE")
SETTINGS = ("bucket", "days", "pre_days", "workers")


def main() -> int:
    """Runs the cells that are missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--users", default=",".join(map(str, USERS)))
    parser.add_argument("--apps", default=",".join(map(str, APPS)))
    parser.add_argument("--bucket", type=int, default=10_000, help="users of each arm")
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--pre-days", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in SETTINGS}
    every = [
        (int(float(a)), int(float(u))) for a in options.apps.split(",") for u in options.users.split(",")
    ]
    for apps, users in [] if options.table else every:
        found = read(options.results, settings)
        if not any((one["apps"], one["users"]) == (apps, users) for one in found):
            cell = {"users": users, "apps": apps, **settings, **measured(users, apps, settings)}
            options.results.parent.mkdir(parents=True, exist_ok=True)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(cell) + "\n")
            print(json.dumps(cell), file=sys.stderr, flush=True)
    print(table(read(options.results, settings)))
    return 0


def read(path: Path, settings: dict[str, int]) -> list[dict[str, Any]]:
    """The cells that were measured with the same settings."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    cells = [json.loads(line) for line in lines]
    return [cell for cell in cells if all(cell[name] == settings[name] for name in SETTINGS)]


def measured(users: int, apps: int, settings: dict[str, int]) -> dict[str, Any]:
    """One whole run: seconds by the wall and by CPU, MiB, what was shown, bytes of the run folder.

    Raises:
        RuntimeError: when the run fails.
    """
    share = settings["bucket"] / users
    values = {
        "users.population": users,
        "world.apps": apps,
        "experiment.bucket_share": share,
        "production.share": share,
        "experiment.days": settings["days"],
        "experiment.pre_days": settings["pre_days"],
    }
    with tempfile.TemporaryDirectory(prefix="storelift-scaling-") as folder:
        out, errors = Path(folder) / "run", Path(folder) / "errors"
        command = [sys.executable, "-m", "experiment.cli", "run", "--preset", "planet", "--out", str(out)]
        command += ["--workers", str(settings["workers"])]
        for name, value in values.items():
            command += ["--set", f"{name}={value}"]
        began = time.perf_counter()
        with errors.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
            )
            most, ended, usage = 0, 0, None
            while not ended:
                most = max(most, resident(process.pid))
                time.sleep(0.1)
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            last = errors.read_text("utf-8", "replace").strip().splitlines()[-1:]
            raise RuntimeError(f"storelift run: got exit code {process.returncode} ({last}), 0 is needed")
        report = json.loads((out / "report.json").read_text("utf-8"))
        return {
            "seconds": round(time.perf_counter() - began, 1),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "mib": round(most / 2**20),
            "impressions": sum(arm["impressions"] for arm in report["arms"].values()),
            "folder_mib": round(sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 2**20, 1),
        }


def resident(session: int) -> int:
    """Bytes that all processes of a session hold in memory; pages that they share count for each."""
    total = 0
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    total += int(fields[21]) * PAGE
            except (OSError, IndexError):  # it has just ended
                continue
    return total


def table(cells: list[dict[str, Any]]) -> str:
    """Markdown: a row for each catalogue, a column for each population, CPU seconds and MiB in the cells."""
    if not cells:
        return "nothing measured with these settings"
    users, apps = (sorted({cell[name] for cell in cells}) for name in ("users", "apps"))
    of = {(cell["apps"], cell["users"]): cell for cell in cells}
    lines = [
        "| apps | " + " | ".join(f"{n:,} users" for n in users) + " |",
        "| ---: |" + " ---: |" * len(users),
    ]
    for a in apps:
        row = [of.get((a, u)) for u in users]
        words = [f"{one['cpu_seconds']:.0f} s, {one['mib']:,} MiB" if one else "" for one in row]
        lines.append(f"| {a:,} | " + " | ".join(words) + " |")
    shown = mean(cell["impressions"] for cell in cells)
    lines += [
        "",
        f"CPU seconds of all processes and the most memory; {shown:,.0f} impressions by the arms each.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
