"""Damages each file of a run in four ways and asks every reader: is the file named, and is it not used?

    python benchmarks/corrupt.py             # every file of a small run with its truth
    python benchmarks/corrupt.py --table     # the table of the results so far

A file is cut to half, has one bit turned, is deleted, or is replaced by the file of the same name of another
run. Then each reader is called: `verify`, `resume` (of the run as it was before its end), `report`, `truth`,
`calibrate`, `explain`, `serve` (loading) and the dashboard's reading. A reader keeps its word if it refuses
with the name of the file, or answers as it did before the damage (it does not need the file) and `verify`
names it. It fails if it ends in a traceback, answers something else, or if nobody names the file.

Results are appended to a file, a line per damaged file; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path("artefacts/corrupt.jsonl")

FORMATS = Path(__file__).parents[1] / "tests" / "formats"

COPY = re.compile(r"\S*/copy-\d{6}")

KINDS = ("truncated", "bit-flipped", "deleted", "swapped")


def main() -> int:
    """Does the damages that are left; 1 if one of them was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--file", type=Path, default=FILE, help="where results are kept")
    parser.add_argument("--table", action="store_true", help="only print the table of the results so far")
    options = parser.parse_args()
    if not options.table:
        with tempfile.TemporaryDirectory(prefix="corrupt-") as scratch:
            work(Path(scratch), options.file)
    results = known(options.file)
    print(table(results))
    return int(any(result["failed"] for result in results))


def work(scratch: Path, file: Path) -> None:
    """Damages every file of the kept run in every way, and notes what each reader made of it."""
    lab = Lab(scratch)
    done = {(result["name"], result["kind"]) for result in known(file)}
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        for name in lab.names():
            for kind in KINDS:
                if (name, kind) not in done:
                    result = {"name": name, "kind": kind, **lab.damaged(name, kind)}
                    out.write(json.dumps(result) + "\n")
                    out.flush()
                    if result["failed"]:
                        print(f"{name} {kind}: {result['failed']}", flush=True)


def known(file: Path) -> list[dict[str, Any]]:
    """The results so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(results: list[dict[str, Any]]) -> str:
    """What each reader made of the damages, as Markdown."""
    lines = [
        "| files damaged | times | named by `verify` | the other run's is the same | not noticed |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind in KINDS:
        of = [result for result in results if result["kind"] == kind]
        same = sum(result["same"] for result in of)
        named = sum(result["readers"].get("verify") == "named" for result in of)
        failed = sum(bool(result["failed"]) for result in of)
        lines.append(f"| {kind} | {len(of)} | {named} | {same} | {failed} |")
    lines += [
        "",
        "| reader | refused, naming the file | did not need it | failed |",
        "| --- | ---: | ---: | ---: |",
    ]
    for reader in READERS:
        answers = [result["readers"].get(reader) for result in results if not result["same"]]
        counts = [sum(answer == one for answer in answers) for one in ("named", "not needed")]
        failed = sum(answer is not None for answer in answers) - sum(counts)
        lines.append(f"| {reader} | {counts[0]} | {counts[1]} | {failed} |")
    return "\n".join(lines)


class Lab:
    """A small run with its truth, the same run before its end, and another run."""

    def __init__(self, scratch: Path, readers: tuple[str, ...] | None = None) -> None:
        self.scratch = scratch
        self.run, self.other = scratch / "run", scratch / "other"
        self.half, self.plain = scratch / "half", scratch / "plain"
        unpack("format-3", self.run)
        unpack("format-2", self.other)
        self.readers = {n: r for n, r in READERS.items() if readers is None or n in readers}
        self.number = 0
        unfinish(self.run, self.half)
        without_truth(self.run, self.plain)
        self.expected = {name: self.ask(name, self.copy(name)) for name in self.readers}
        bad = {name: said for name, said in self.expected.items() if said[0] != 0}
        if bad:
            raise SystemExit(f"readers of the run as it was written: got {bad}, allowed: none that fails")

    def names(self) -> list[str]:
        """The files of the run."""
        return sorted(f.relative_to(self.run).as_posix() for f in self.run.rglob("*") if f.is_file())

    def copy(self, reader: str) -> Path:
        """A copy of the run that the reader reads; each has a path of its own, so that no cache knows it."""
        self.number += 1
        path = self.scratch / f"copy-{self.number:06d}"
        shutil.copytree({"resume": self.half, "truth": self.plain}.get(reader, self.run), path)
        return path

    def ask(self, reader: str, path: Path) -> tuple[int, str]:
        """(exit code, what it said) of a reader."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = self.readers[reader](path)
        except Exception as error:  # noqa: BLE001 - that there is one is the finding
            return 99, f"Traceback: {error!r}"
        return code, said.getvalue()

    def damaged(self, name: str, kind: str) -> dict[str, Any]:
        """What the readers made of the run with one file damaged."""
        same = kind == "swapped" and swap_changes_nothing(self.run / name, self.other / name)
        answers: dict[str, str] = {}
        if not same:
            for reader in self.readers:
                path = self.copy(reader)
                if (path / name).exists():
                    damage(path / name, kind, self.other / name)
                    answers[reader] = self.judged(reader, path, name, kind)
                shutil.rmtree(path)
        failed = {reader: said for reader, said in answers.items() if said not in ("named", "not needed")}
        made_again = name.startswith("explanations/") and kind == "deleted"
        if not (same or made_again) and answers.get("verify") == "not needed":
            failed["verify"] = "it does not name the file"
        return {"same": same, "readers": answers, "failed": failed}

    def judged(self, reader: str, path: Path, name: str, kind: str) -> str:
        """`named`, `not needed`, or what was wrong."""
        code, said = self.ask(reader, path)
        if "Traceback" in said:
            return said[-500:]
        missing = name == "manifest.json" and not (path / name).exists()
        another = kind == "swapped" and name == "manifest.json"  # what it does not fit is named
        if code in (1, 2) and (str(path / name) in said or ((missing or another) and str(path) in said)):
            return "named"
        expected_code, expected = self.expected[reader]
        if code == expected_code and COPY.sub("", said) == COPY.sub("", expected):
            return "not needed"
        return f"exit code {code}: {said[-300:]}"


def unpack(name: str, path: Path) -> None:
    """A run that is kept for tests, as a folder."""
    with zipfile.ZipFile(FORMATS / f"{name}.zip") as kept:
        kept.extractall(path)


def unfinish(run: Path, path: Path) -> None:
    """A copy of a finished run as it was when its last day was done, but its report was not."""
    from experiment.folder.rundir import RunFolder

    shutil.copytree(run, path)
    folder = RunFolder.open(path)
    for name in ("report.json", "report.md", "truth.json", "metrics/potential.parquet"):
        folder.retire([path / name])
    folder.retire([path / "metrics" / "potential_days.parquet", path / "metrics" / "users.parquet"])
    folder.manifest.complete = False
    folder.finish_day(folder.manifest.finished_day or 0)


def without_truth(run: Path, path: Path) -> None:
    """A copy of a finished run as it was before its truth was asked for."""
    from experiment.folder.rundir import RunFolder

    shutil.copytree(run, path)
    folder = RunFolder.open(path)
    folder.retire(
        [path / n for n in ("truth.json", "metrics/potential.parquet", "metrics/potential_days.parquet")]
    )
    folder.finish_day(folder.manifest.finished_day or 0)


def swap_changes_nothing(file: Path, other: Path) -> bool:
    """Whether the other run has no such file, or the same."""
    return not other.exists() or other.read_bytes() == file.read_bytes()


def damage(file: Path, kind: str, other: Path) -> None:
    """Does it."""
    if kind == "deleted":
        file.unlink()
    elif kind == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif kind == "swapped":
        shutil.copy(other, file)
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)


def command(*arguments: str) -> int:
    """The command line in this process; its exit code."""
    from typer.testing import CliRunner

    from experiment.cli import app

    result = CliRunner().invoke(app, list(arguments), prog_name="storelift")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    print(result.output, end="")
    return result.exit_code


def resume(path: Path) -> int:
    """`resume` until it begins to work: what it would work on has been looked at by then."""
    from unittest.mock import patch

    from experiment import loop
    from experiment.diary import Diary
    from experiment.reporting.report import Report

    def stop(folder: Any, _: Any) -> Report:
        Diary.open(folder)
        raise KeyboardInterrupt

    with patch.object(loop, "run", stop):
        code = command("resume", str(path), "-q")
    return 0 if code == 130 else code


def calibrate(path: Path) -> int:
    """`calibrate`, without its wall-clock times."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = command("calibrate", str(path), "--replays", "2", "--workers", "1", "-q", "--json")
    text = said.getvalue()
    print(re.sub(r'"seconds": [0-9.]+', "", text), end="")
    return code


def explain(path: Path) -> int:
    """`explain` of the request that the kept run has explained."""
    (kept,) = (path.parent / "run" / "explanations").glob("request-*.json")
    return command("explain", str(path), "--request", kept.stem.removeprefix("request-"), "--json")


def serve(path: Path) -> int:
    """What `serve` loads: the run's newest model and its users."""
    from experiment.errors import BadInput
    from experiment.server.live_model import LiveModel, RefusedError, Trial

    try:
        model = LiveModel(path, "wide_deep", Trial("fp32", 60_000.0, 30.0, 4096.0)).snapshot.model
    except (BadInput, RefusedError) as error:
        print(error)
        return 2
    print(model.version, model.document["gate"])
    return 0


def dashboard(path: Path) -> int:
    """What the pages read: the run, its documents and its days; damaged files are named and left out."""
    from dashboard import diaries, measures, reading

    run = reading.read(path)
    wrong = [*run.warnings, *([run.message] if run.state == "damaged" and run.message else [])]
    wrong += [str(path / name) for name in diaries.untrusted(run)]
    for name in ("truth.json", "calibration.json"):
        print(json.dumps(reading.document(run, name), sort_keys=True))
    for arm, users in measures.arms(run).items() if run.config else ():
        print(arm, users.window["acquisitions"].sum())
    parts = [
        part
        for kind in ("log", "truth")
        for a, d in diaries.log_days(run, kind)
        for part in diaries.parts(run, kind, a, d)
    ]
    listed = sum(n.startswith(("log/", "truth/")) for n in listed_names(path))
    if not wrong and len(parts) < listed:
        kept = {str(part) for part in parts}
        wrong = [
            str(path / n)
            for n in listed_names(path)
            if n.startswith(("log/", "truth/")) and str(path / n) not in kept
        ]
    print(len(reading.events(run)) if not wrong else "", "\n".join(wrong))
    return 1 if wrong else 0


def listed_names(path: Path) -> list[str]:
    """What the manifest lists; nothing where it cannot be read."""
    from experiment.folder.manifest import Manifest, RunFolderError

    try:
        return sorted(Manifest.read(path).artefacts)
    except RunFolderError:
        return []


READERS: dict[str, Callable[[Path], int]] = {
    "verify": lambda path: command("verify", str(path)),
    "resume": resume,
    "report": lambda path: command("report", str(path), "--json"),
    "truth": lambda path: command("truth", str(path), "--json", "-q"),
    "calibrate": calibrate,
    "explain": explain,
    "serve": serve,
    "dashboard": dashboard,
}


if __name__ == "__main__":
    sys.exit(main())
