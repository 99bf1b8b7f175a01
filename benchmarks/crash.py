"""Kills a run at many instants, resumes it, and compares every file with those of a run that was let alone.

    python benchmarks/crash.py                       # 50 kills, and the other ways to fail
    python benchmarks/crash.py --kills 500 --seed 1  # others
    python benchmarks/crash.py --table               # the table of the results so far

A trial is a function of seed and number: which step is killed (a run, or its `truth`), and when. Half of the
instants are moments of the clock, half are file operations (open for writing, rename, delete, make a folder),
before which the process sends itself SIGKILL: so the short windows between two files are met too. Every tenth
trial is the command line with two worker processes, one of which, or all of which, are killed.

The other failures: a full disk (a small tmpfs, or a limit on file sizes where mounting is not allowed), a
folder that may not be written to, and a worker without memory. Each must end with exit code 1 or 2 and a line
that says why, and then be resumed to the same bytes.

Results are appended to a file, a line per trial; what is there already is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FILE = Path("artefacts/crash.jsonl")

SMALL = Path(__file__).parents[1] / "tests" / "formats" / "small.toml"
"""The smallest run that has everything: two arms, a gate, two days and one."""

WRITING = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree")

CHANGING = ("status.json", "events.jsonl", "manifest.json", "report.json", "report.md", "config.toml")
"""Files with wall-clock times in them, or with digests of such; what they say besides is compared apart."""


def main() -> int:
    """Does the trials that are left; 1 if one of them lost something."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, default=FILE, help="where results are kept")
    parser.add_argument("--table", action="store_true", help="only print the table of the results so far")
    parser.add_argument("--only", choices=("kills", "failures"), help="leave the others out")
    options = parser.parse_args()
    if not options.table:
        work(options.kills, options.seed, options.file, options.only)
    results = known(options.file)
    print(table(results))
    return int(any(result["lost"] for result in results))


def work(kills: int, seed: int, file: Path, only: str | None) -> None:
    """Does and notes the trials that `file` does not hold yet."""
    names = [] if only == "failures" else [f"{seed}/{number}" for number in range(kills)]
    failures = {} if only == "kills" else {f"{seed}/{name}": one for name, one in FAILURES.items()}
    done = {result["trial"] for result in known(file)}
    left = [name for name in [*names, *failures] if name not in done]
    if not left:
        return
    with tempfile.TemporaryDirectory(prefix="crash-") as scratch:
        lab = Lab(Path(scratch), seed)
        for name in left:
            result = failures[name](lab) if name in failures else lab.kill(int(name.split("/")[1]))
            result = {"trial": name, **result}
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as out:
                out.write(json.dumps(result) + "\n")
            print(
                f"{name}: {result['what']}, {result['when']}: {result['lost'] or 'nothing lost'}", flush=True
            )


def known(file: Path) -> list[dict[str, Any]]:
    """The results so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(results: list[dict[str, Any]]) -> str:
    """What was done how often, as Markdown."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        rows.setdefault(result["what"], []).append(result)
    lines = ["| what happened | times | resumed to the same bytes | lost |", "| --- | ---: | ---: | ---: |"]
    for what, of in rows.items():
        lost = sum(bool(result["lost"]) for result in of)
        lines.append(f"| {what} | {len(of)} | {len(of) - lost} | {lost} |")
    return "\n".join(lines)


class Lab:
    """The run that nobody disturbed, and processes that do it again and are disturbed."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.seed = scratch, seed
        self.whole, self.known = scratch / "whole", scratch / "known"
        self.number = 0
        prepare(self.whole, self.known)
        self.took, self.operations = {}, {}
        for step in ("run", "truth"):
            path, arguments = self.step(step)
            began = time.perf_counter()
            self.cli(arguments, expect=0)
            self.took[step] = time.perf_counter() - began
            shutil.rmtree(path)
            path, arguments = self.step(step)
            counted = scratch / "operations"
            self.cli(arguments, expect=0, before=lambda file=counted: count_operations(file))
            self.operations[step] = int(counted.read_text())
            shutil.rmtree(path)

    def step(self, step: str) -> tuple[Path, list[str]]:
        """A fresh run folder, and the arguments of the step that works on it."""
        self.number += 1
        path = self.scratch / f"trial-{self.number}"
        if step == "run":
            return path, ["run", "--config", str(SMALL), "--out", str(path), "-q"]
        shutil.copytree(self.whole, path)
        return path, ["truth", str(path), "-q"]

    def cli(
        self,
        arguments: list[str],
        *,
        expect: int | None = None,
        before: Callable[[], None] | None = None,
        kill_after: float | None = None,
    ) -> tuple[int, str]:
        """The command line in a forked process that has everything imported: (exit code, what it said).

        A negative exit code is the signal that ended it.
        """
        said = self.scratch / "said"
        child = os.fork()
        if child == 0:
            in_child(arguments, said, before)
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = said.read_text(errors="replace")
        if expect is not None and code != expect:
            raise SystemExit(f"{' '.join(arguments)}: got exit code {code}, allowed: {expect}\n{text}")
        return code, text

    def kill(self, number: int) -> dict[str, Any]:
        """Trial `number`: a kill, and what was lost."""
        rng = random.Random(f"{self.seed}/{number}")
        if number % 10 == 9:
            return self.kill_workers(rng)
        step = "truth" if number % 5 == 3 else "run"
        at_operation = number % 2 == 0
        for _ in range(20):  # the machine may be faster than it was
            path, arguments = self.step(step)
            if at_operation:
                nth = rng.randrange(self.operations[step])
                when = f"before file operation {nth} of {self.operations[step]}"
                code, _ = self.cli(arguments, before=lambda nth=nth: kill_at_operation(nth))
            else:
                seconds = rng.uniform(0.0, self.took[step])
                when = f"after {seconds:.2f} of {self.took[step]:.2f} s"
                code, _ = self.cli(arguments, kill_after=seconds)
            if code == -signal.SIGKILL:
                break
            shutil.rmtree(path)
        by = "at a file operation" if at_operation else "by the clock"
        lost = self.go_on(path, step)
        return {"what": f"`{step}` killed {by}", "when": when, "lost": lost}

    def kill_workers(self, rng: random.Random) -> dict[str, Any]:
        """The command line with two workers, killed: one of the workers, or the process that started them."""
        path, arguments = self.step("run")
        worker = rng.random() < 0.5
        process = start([*arguments, "--workers", "2"])
        children = wait_for_workers(process)
        seconds = rng.uniform(0.0, 3 * self.took["run"] + 5.0)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(children) if worker and children else process.pid, signal.SIGKILL)
        process.wait()
        text = process.stdout.read() if process.stdout else ""
        lost = wait_until_gone(children)
        if "Traceback" in text:
            lost = f"a traceback: {text[-500:]}"
        what = "a worker of two killed" if worker else "the parent of two workers killed"
        return {
            "what": what,
            "when": f"{seconds:.2f} s after they began",
            "lost": lost or self.go_on(path, "run"),
        }

    def go_on(self, path: Path, step: str) -> str | None:
        """Resumes what was killed and compares; what was lost, or None. The folder is deleted."""
        arguments = ["truth", str(path), "-q"] if step == "truth" else ["resume", str(path), "-q"]
        if not path.exists():  # killed before there was a run folder
            arguments = ["run", "--config", str(SMALL), "--out", str(path), "-q"]
        elif step == "run" and not json.loads((path / "manifest.json").read_text())["complete"]:
            code, text = self.cli(["run", "--config", str(SMALL), "--out", str(path), "-q"])
            if code != 2 or f"storelift resume {path}" not in text:
                return f"`run` on the unfinished folder said {code}: {text[-300:]}"
        code, text = self.cli(arguments)
        if code != 0:
            return f"`{arguments[0]}` ended with {code}: {text[-500:]}"
        lost = difference(self.known if step == "truth" else self.whole, path)
        shutil.rmtree(path)
        return lost


def prepare(whole: Path, known: Path) -> None:
    """The run and its truth in this process: what it has imported and compiled, its forks have too."""
    from experiment import loading, nightly, running, serving
    from experiment.truth.command import find_truth

    running.run(loading.load(file=SMALL), whole)
    shutil.copytree(whole, known)
    find_truth(known)
    nightly.forget()
    serving.forget()


def in_child(arguments: list[str], said: Path, before: Callable[[], None] | None) -> None:
    """The command line in this process, which ends with it; its words go to a file."""
    code = 1
    try:
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if before is not None:
            before()
        from experiment.cli import app

        app(arguments, prog_name="storelift")
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:  # noqa: BLE001 - the exit code tells
        os.write(2, f"Traceback: {error!r}".encode())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for hook in AT_END:
            hook()
        os._exit(code)


AT_END: list[Callable[[], None]] = []


def count_operations(file: Path) -> None:
    """Has this process write into `file` how many file operations it did."""
    done = on_operation(lambda _: None)
    AT_END.append(lambda: file.write_text(str(next(done))) and None)


def kill_at_operation(nth: int) -> None:
    """Has this process kill itself before its file operation `nth`."""

    def act(number: int) -> None:
        if number == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    on_operation(act)


def on_operation(act: Callable[[int], None]) -> Iterator[int]:
    """Calls `act` with the number of each file operation of this process; yields how many there were."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        opened = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if opened or event in WRITING:
            act(count)
            count += 1

    sys.addaudithook(hook)

    def counted() -> Iterator[int]:
        while True:
            yield count

    return counted()


def start(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    command = [sys.executable, "-m", "experiment.cli", *arguments]
    root = str(Path(__file__).parents[1])
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        **options,
    )


def wait_for_workers(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of two workers, as soon as they are there."""
    children: list[int] = []
    while len(children) < 2 and process.poll() is None:
        time.sleep(0.05)
        children = workers_of(process.pid)
    return children


def workers_of(pid: int) -> list[int]:
    """The spawned workers of a process."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return [child for child in found if "spawn_main" in command_of(child)]


def command_of(pid: int) -> str:
    """The command line of a process, or nothing."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_until_gone(children: list[int]) -> str | None:
    """None once the workers have ended, which they must without being told."""
    deadline = time.monotonic() + 30
    while any("spawn_main" in command_of(child) for child in children):
        if time.monotonic() > deadline:
            return f"workers {children} outlived their run"
        time.sleep(0.02)
    return None


def difference(whole: Path, path: Path) -> str | None:
    """The first difference of two run folders that is more than wall-clock time, or None."""
    from experiment.folder.rundir import RunFolder

    names = {side: files_of(side) for side in (whole, path)}
    if names[whole] != names[path]:
        return f"other files: {sorted(names[whole] ^ names[path])[:5]}"
    for name in sorted(names[whole]):
        if name not in CHANGING and (whole / name).read_bytes() != (path / name).read_bytes():
            return f"{name} has other bytes"
    ours, theirs = (RunFolder.open(side) for side in (path, whole))
    problems = ours.verify()
    if problems:
        return problems[0]
    if without_clock(ours.report()) != without_clock(theirs.report()):
        return "report.json says something else"
    if ours.config.config_hash() != theirs.config.config_hash():
        return "config.toml says something else"
    if (whole / "report.md").read_text() != (path / "report.md").read_text():
        return "report.md says something else"
    listed = [
        {n: d for n, d in side.manifest.artefacts.items() if n not in CHANGING} for side in (ours, theirs)
    ]
    state = [(s.manifest.finished_day, s.manifest.complete) for s in (ours, theirs)]
    if listed[0] != listed[1] or state[0] != state[1]:
        return "manifest.json says something else"
    return None


def without_clock(report: dict[str, Any]) -> str:
    """The report but for its wall-clock times."""
    return json.dumps({**report, "run": {k: v for k, v in report["run"].items() if k != "clock"}})


def files_of(folder: Path) -> set[str]:
    """Relative names of all files but the lock, which a killed process leaves and the next one takes over."""
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "lock"
    }


def failed_well(code: int, text: str, words: tuple[str, ...]) -> str | None:
    """None if a failure ended with exit code 1 or 2 and says one of `words`, without a traceback."""
    if "Traceback" in text or code not in (1, 2) or not any(word in text for word in words):
        return f"exit code {code}: {text[-500:]}"
    return None


def full_disk(lab: Lab) -> dict[str, Any]:
    """A tmpfs that is too small at five sizes, and is then made larger."""
    place = lab.scratch / "disk"
    place.mkdir()
    size = sum(file.stat().st_size for file in lab.whole.rglob("*") if file.is_file())
    lost = None
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={int(size * share)}", "none", str(place)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return full_file(lab)
        path = place / "run"
        code, text = lab.cli(["run", "--config", str(SMALL), "--out", str(path), "-q"])
        lost = lost or failed_well(code, text, ("No space left",))
        subprocess.run(["mount", "-o", "remount,size=1g", str(place)], check=True)
        lost = lost or lab.go_on(path, "run")
        subprocess.run(["umount", str(place)], check=True)
    return {"what": "the disk full (tmpfs)", "when": "at 10, 30, 50, 70 and 90% of the run", "lost": lost}


def full_file(lab: Lab) -> dict[str, Any]:
    """The same with a limit on the size of a file, where no file system may be mounted."""
    path, arguments = lab.step("run")
    limit = 20_000
    code, text = lab.cli(arguments, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    lost = failed_well(code, text, ("File too large",)) or lab.go_on(path, "run")
    return {"what": "the disk full (RLIMIT_FSIZE)", "when": f"at {limit} bytes", "lost": lost}


def read_only(lab: Lab) -> dict[str, Any]:
    """A half-done run that another user may read but not write."""
    path, arguments = lab.step("run")
    lab.cli(arguments, before=lambda: kill_at_operation(lab.operations["run"] // 2))
    for folder in (lab.scratch, *lab.scratch.parents[:-1]):
        if folder != Path(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o055)
    before = {name: (path / name).read_bytes() for name in files_of(path)}

    def become_nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)

    code, text = lab.cli(["resume", str(path), "-q"], before=become_nobody)
    lost = failed_well(code, text, ("Permission denied",))
    if before != {name: (path / name).read_bytes() for name in files_of(path)}:
        lost = "it was written to"
    return {"what": "a read-only folder", "when": "half way", "lost": lost or lab.go_on(path, "run")}


def no_memory(lab: Lab) -> dict[str, Any]:
    """Two workers, one of which gets no more memory once it is there.

    Where it has none left to read its next task, Python prints that worker's traceback itself; what counts is
    what storelift says after it.
    """
    path, arguments = lab.step("run")
    process = start([*arguments, "--workers", "2"])
    for child in wait_for_workers(process)[:1]:
        time.sleep(2.0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(child, resource.RLIMIT_AS, (64 << 20, 64 << 20))
    text = process.communicate()[0]
    text = text[max(text.rfind("storelift: "), 0) :]
    lost = failed_well(process.returncode, text, ("MemoryError", "worker", "memory", "allocate"))
    return {
        "what": "a worker out of memory (RLIMIT_AS)",
        "when": "as it starts",
        "lost": lost or lab.go_on(path, "run"),
    }


FAILURES = {"full": full_disk, "file": full_file, "read-only": read_only, "memory": no_memory}


if __name__ == "__main__":
    sys.exit(main())
