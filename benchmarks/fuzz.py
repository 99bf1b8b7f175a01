"""Throws broken inputs at everything that reads what others wrote: no traceback, no crash, no hang.

    python benchmarks/fuzz.py                            # 100,000 inputs and more, by target
    python benchmarks/fuzz.py --inputs rank=1000000      # more of one target
    python benchmarks/fuzz.py --again model=17           # one input again, with its traceback
    python benchmarks/fuzz.py --table                    # the table of the results so far

An input is a function of seed, target and number: a valid one, changed some times by cutting, turning bits,
repeating, splicing with another and putting in what often hurts. A target may refuse it with the error that
stands for bad input; any other exception, an answer that takes longer than ten seconds, more than 2 GiB of
memory, or the end of the process is a failure. Batches run in forked processes, so a crash costs one input.

The model folders, manifests and statuses are tried without their checksums, or a changed one would never get
as far as the code behind it. Where atheris is installed, `--atheris TARGET` has it choose the inputs.

Results are appended to a file, a line per batch; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path("artefacts/fuzz.jsonl")

INPUTS = {"rank": 70_000, "config": 15_000, "manifest": 10_000, "model": 7_000, "analyze": 3_000}

BATCH, SECONDS, MEMORY = 500, 10, 2 << 30

FORMATS = Path(__file__).parents[1] / "tests" / "formats"

Target = Callable[[bytes], bool]
"""Reads an input; whether it was let through. Raises what is no answer to bad input."""


def main() -> int:
    """Tries the inputs that are left; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", metavar="TARGET=N", action="append", default=[], help="of these alone")
    parser.add_argument("--again", metavar="TARGET=NUMBER")
    parser.add_argument("--atheris", metavar="TARGET", choices=tuple(INPUTS))
    parser.add_argument("--file", type=Path, default=FILE, help="where results are kept")
    parser.add_argument("--table", action="store_true", help="only print the table of the results so far")
    options = parser.parse_args()
    chosen = {name: int(count) for name, _, count in (one.partition("=") for one in options.inputs)}
    if options.table:
        print(table(known(options.file)))
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        lab = Lab(Path(scratch), options.seed)
        if options.again:
            name, _, number = options.again.partition("=")
            print("let through" if lab.target(name)(lab.input(name, int(number))) else "refused")
            return 0
        if options.atheris:
            return with_atheris(lab, options.atheris)
        for name, count in (chosen or INPUTS).items():
            work(lab, name, count, options.file)
    results = known(options.file)
    print(table(results))
    return int(any(result["failed"] for result in results))


def work(lab: Lab, name: str, count: int, file: Path) -> None:
    """The batches of a target that `file` does not hold yet."""
    done = {(r["target"], r["seed"], r["start"]) for r in known(file)}
    starts = [s for s in range(0, count, BATCH) if (name, lab.seed, s) not in done]
    if not starts:
        return
    target = lab.target(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    for start in starts:
        numbers = range(start, min(start + BATCH, count))
        result = batch(lab, target, name, numbers)
        with file.open("a") as out:
            out.write(json.dumps({"target": name, "seed": lab.seed, "start": start, **result}) + "\n")
        for failure in result["failed"]:
            print(f"{name}={failure['number']}: {failure['why']}", flush=True)


def batch(lab: Lab, target: Target, name: str, numbers: range) -> dict[str, Any]:
    """Tries some inputs in a process of their own; goes on behind one that ends it."""
    counts = {"tried": 0, "let_through": 0}
    failed: list[dict[str, Any]] = []
    at = numbers.start
    while at < numbers.stop:
        with mmap.mmap(-1, 32) as shared:
            child = os.fork()
            if child == 0:
                try_inputs(lab, target, name, range(at, numbers.stop), shared)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            number, passed, tried = struct.unpack("qqq", shared[:24])
        counts["tried"] += tried
        counts["let_through"] += passed
        if status == 0:
            break
        said = lab.scratch / "failure"
        why = said.read_text()[-600:] if said.exists() else f"the process ended with {status}"
        said.unlink(missing_ok=True)
        failed.append({"number": number, "why": why})
        at = number + 1
    return {**counts, "failed": failed}


def try_inputs(lab: Lab, target: Target, name: str, numbers: range, shared: Any) -> None:
    """In a child: tries one input after the other and ends with 0, or with 1 at the first failure."""
    code, passed = 0, 0
    resource.setrlimit(resource.RLIMIT_AS, (held() + MEMORY, held() + MEMORY))
    signal.signal(signal.SIGALRM, too_long)
    try:
        for tried, number in enumerate(numbers, start=1):
            shared[:24] = struct.pack("qqq", number, passed, tried)
            signal.alarm(SECONDS)
            passed += target(lab.input(name, number))
            shared[:24] = struct.pack("qqq", number, passed, tried)
        signal.alarm(0)
    except BaseException:  # noqa: BLE001 - that there is one is the finding
        code = 1
        (lab.scratch / "failure").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def held() -> int:
    """Bytes of address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def too_long(_: int, frame: Any) -> None:
    """Says where an input hangs."""
    raise TimeoutError(f"more than {SECONDS} s in {frame.f_code.co_filename}:{frame.f_lineno}")


def known(file: Path) -> list[dict[str, Any]]:
    """The results so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


WORDS = {
    "rank": "bodies of `POST /rank`",
    "config": "configurations (TOML)",
    "manifest": "manifest.json, status.json (resealed), events.jsonl",
    "model": "model folders (meta.json, safetensors)",
    "analyze": "tables for `analyze` (CSV, Parquet)",
}


def table(results: list[dict[str, Any]]) -> str:
    """Inputs tried by target, as Markdown."""
    lines = ["| input | tried | let through | refused | failed |", "| --- | ---: | ---: | ---: | ---: |"]
    whole = [0, 0, 0, 0]
    for name, words in WORDS.items():
        of = [result for result in results if result["target"] == name]
        tried, passed = (sum(result[key] for result in of) for key in ("tried", "let_through"))
        failed = sum(len(result["failed"]) for result in of)
        row = [tried, passed, tried - passed - failed, failed]
        whole = [a + b for a, b in zip(whole, row, strict=True)]
        lines.append(f"| {words} | " + " | ".join(f"{count:,}" for count in row) + " |")
    return "\n".join([*lines, "| all | " + " | ".join(f"{count:,}" for count in whole) + " |"])


class Lab:
    """Valid inputs by target, changed ones by number, and the targets."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.seed = scratch, seed
        self.run = scratch / "run"
        from experiment.folder.manifest import FORMAT

        with zipfile.ZipFile(FORMATS / f"format-{FORMAT}.zip") as kept:
            kept.extractall(self.run)
        folder = self.run / "models" / "arm=wide_deep" / "day=1"
        presets = Path(__file__).parents[1] / "experiment" / "presets"
        self.seeds: dict[str, list[bytes]] = {
            "config": [
                (self.run / "config.toml").read_bytes(),
                (FORMATS / "small.toml").read_bytes(),
                *(file.read_bytes() for file in sorted(presets.glob("*.toml"))),
            ],
            "analyze": [
                table_of_users(days=False),
                table_of_users(days=True),
                (self.run / "metrics/users.parquet").read_bytes(),
            ],
            "model": [
                b"M" + (folder / "meta.json").read_bytes(),
                b"A" + (folder / "arrays.safetensors").read_bytes(),
            ],
            "rank": [
                b'{"user_id": 7}',
                b'{"user_id": 7, "candidates": [1, 2, 3], "hour": 3, "day": 2, "top": 2}',
                (
                    b'{"user": {"country": 0, "language": 1, "age_band": 2, "gender": 0, "device": 3, '
                    b'"installed": [4, 5]}, "candidates": [1, 2, 199]}'
                ),
            ],
            "manifest": [
                b"M" + (self.run / "manifest.json").read_bytes(),
                b"S" + (self.run / "status.json").read_bytes(),
                b"E" + (self.run / "events.jsonl").read_bytes(),
            ],
        }

    def input(self, name: str, number: int) -> bytes:
        """Input `number` of a target; its first byte stays where it says which file it is."""
        rng = random.Random(f"{self.seed}/{name}/{number}")
        seeds = self.seeds[name]
        data = rng.choice(seeds)
        kept = 1 if name in PREFIXED else 0
        changed = bytearray(data[kept:])
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            change(changed, rng, rng.choice(seeds)[kept:])
        return data[:kept] + bytes(changed)

    def target(self, name: str) -> Target:
        """What reads the inputs of that name, ready to."""
        made: Target = getattr(self, f"_{name}")()
        for seed in self.seeds[name]:
            made(seed)  # what is compiled or cached is so before the processes part
        return made

    def _config(self) -> Target:
        from experiment.config import parse
        from experiment.errors import BadInput
        from experiment.loading import load

        file = self.scratch / "config.toml"

        def read(data: bytes) -> bool:
            if b":" in data.split(b"arms", 1)[-1] and b"kind" in data:
                data = data.replace(b":", b"")  # a class of one's own is imported, and that is meant
            file.write_bytes(data)
            let = False
            for way in (lambda: load(file=file), lambda: parse(data.decode())):
                with contextlib.suppress(BadInput, UnicodeDecodeError):
                    way()
                    let = True
            return let

        return read

    def _analyze(self) -> Target:
        from experiment.analyze.document import analyze
        from experiment.errors import BadInput

        def read(data: bytes) -> bool:
            file = self.scratch / ("users.parquet" if data[:4] == b"PAR1" else "users.csv")
            file.write_bytes(data)
            try:
                json.dumps(analyze(file, control="a", set_apart=len(data) % 2 == 0), allow_nan=False)
            except BadInput:
                return False
            return True

        return read

    def _model(self) -> Target:
        from experiment.folder.manifest import RunFolderError
        from experiment.folder.rundir import RunFolder
        from experiment.published import load_model
        from experiment.visitors import Visitors

        kept = RunFolder.open(self.run)
        visitors, arm = Visitors(kept), kept.config.arms["wide_deep"]
        requests = visitors.some(4)
        folder = self.scratch / "model"
        shutil.copytree(self.run / "models" / "arm=wide_deep" / "day=1", folder)
        names = {b"M": "meta.json", b"A": "arrays.safetensors"}
        whole = {name: (folder / name).read_bytes() for name in names.values()}

        def read(data: bytes) -> bool:
            for name, content in whole.items():
                (folder / name).write_bytes(data[1:] if name == names[data[:1]] else content)
            try:
                model = load_model(folder, visitors.world, arm.kind, arm.settings)
            except RunFolderError:
                return False
            model.score(requests)
            model.explain(requests, 0, 0)
            return True

        return read

    def _rank(self) -> Target:
        from experiment.folder.rundir import RunFolder
        from experiment.server.input import BadBodyError, RankInput
        from experiment.visitors import Visitors

        kept = RunFolder.open(self.run)
        visitors, users = Visitors(kept), kept.config.users
        world = visitors.world
        reader = RankInput(world.cardinalities, len(world.apps), users.installed_capacity, users.population)

        def read(data: bytes) -> bool:
            try:
                reader.requests(reader.parse(data), visitors)
            except BadBodyError as error:
                if not all(": " in line for line in error.lines):
                    raise AssertionError(f"lines without a field: {error.lines}") from error
                return False
            return True

        return read

    def _manifest(self) -> Target:
        from experiment.folder import journal
        from experiment.folder.atomic import write_sealed
        from experiment.folder.manifest import RunFolderError
        from experiment.folder.rundir import RunFolder

        path = self.scratch / "folder"
        shutil.copytree(self.run, path)
        names = {b"M": "manifest.json", b"S": "status.json", b"E": "events.jsonl"}
        whole = {name: (path / name).read_bytes() for name in names.values()}

        def read(data: bytes) -> bool:
            for name, content in whole.items():
                (path / name).write_bytes(data[1:] if name == names[data[:1]] else content)
            if data[:1] in b"MS":
                with contextlib.suppress(ValueError, RecursionError):
                    document = json.loads(data[1:])
                    if isinstance(document, dict):
                        document.pop("checksum", None)
                        write_sealed(path / names[data[:1]], document)
            journal.verify(path)
            list(journal.read_events(path))
            try:
                folder = RunFolder.open(path)
                folder.verify()
                folder.report()
                journal.read_status(path)
            except RunFolderError:
                return False
            return True

        return read


PREFIXED = ("model", "manifest")
"""Targets whose inputs begin with a byte that says which file it is."""

TOKENS = (
    b"-1", b"0", b"9223372036854775808", b"1e999", b"nan", b"inf", b"-inf", b"1e-320", b"0.1", b"null",
    b"true", b'""', b"[]", b"{}", b"[[", b"]]", b"\x00", b"\xff\xfe", b"\n", b"\r\n", b'"', b"'", b",", b".",
    b"=", b"\t", "\u202e\U0001f600\ud7ff".encode(), b"../../etc/passwd", b"A" * 5000, b"[" * 3000,
    b"{\"a\":" * 500, b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x00\x00\x00\x00\x00\x00\x00\x80", b"1" * 5000,
    b"1979-05-27T07:32:00Z",
)  # fmt: skip


def change(data: bytearray, rng: random.Random, other: bytes) -> None:
    """One change of an input, in place."""
    at = rng.randrange(len(data) + 1)
    stop = min(len(data), at + rng.choice((1, 2, 8, 64, 1024)))
    how = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7))  # a changed number is the likeliest to get far
    if how == 0:
        del data[at:stop]
    elif how == 1 and data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
    elif how == 2:
        data[at:at] = data[at:stop] * rng.choice((1, 2, 50))
    elif how == 3:
        start = rng.randrange(len(other) + 1)
        data[at:stop] = other[start : start + rng.choice((1, 8, 64, 1024))]
    elif how == 4:
        data[at:at] = rng.choice(TOKENS)
    elif how == 5:
        data[at:stop] = rng.choice(TOKENS)
    elif how == 6:
        del data[at:]
    else:
        number(data, rng)


def number(data: bytearray, rng: random.Random) -> None:
    """Puts something else in place of one of the numbers of a text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data[:20_000])))
    if found:
        one = rng.choice(found)
        data[one.start() : one.end()] = rng.choice((*TOKENS[:12], str(rng.randrange(-10, 10**6)).encode()))


def table_of_users(*, days: bool) -> bytes:
    """A valid table for `analyze`, as CSV."""
    rng = random.Random(5)
    head = "user_id,arm,impressions,installs,pre_impressions,pre_installs" + (",day" if days else "")
    lines = [head]
    for user in range(30):
        shown, before = rng.randrange(5, 40), rng.randrange(1, 30)
        row = [user, "ab"[user % 2], shown, rng.randrange(shown), before, rng.randrange(before)]
        lines.append(",".join(map(str, [*row, *([1 + user % 3] if days else [])])))
    return ("\n".join(lines) + "\n").encode()


def with_atheris(lab: Lab, name: str) -> int:
    """Has atheris choose the inputs of a target by coverage, until it is stopped or finds something."""
    import atheris

    with atheris.instrument_imports(include=["experiment", "models"]):
        target = lab.target(name)
    seeds = lab.seeds[name]
    files = sorted({seed[:1] for seed in seeds}) if name in PREFIXED else []
    with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
        for place, seed in enumerate(seeds):
            (Path(corpus) / str(place)).write_bytes(seed)

        def one(data: bytes) -> None:
            if files and data:
                data = files[data[0] % len(files)] + data[1:]
            if data or not files:
                target(data)

        atheris.Setup([sys.argv[0], f"-timeout={SECONDS}", corpus], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
