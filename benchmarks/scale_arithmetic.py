"""Internet scale, computed from our own figures: machines, bytes, hours, and what breaks first.

    python benchmarks/scale_arithmetic.py --measure RUN         # bytes and rates of a finished run, kept
    python benchmarks/scale_arithmetic.py --write docs/scale.md

Rates of simulation, training and scoring are those of the newest line of `benchmarks/history/bench.jsonl`
that has them (`make bench`); everything else is measured on a run folder and kept in
`benchmarks/history/scale.json`. Rates are by CPU second of one core: cores and hours are of cores like it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).resolve().parent / "history"
BENCH, SCALE = HISTORY / "bench.jsonl", HISTORY / "scale.json"
BEGIN, END = "<!-- arithmetic -->", "<!-- end of arithmetic -->"

CORES, MEMORY, STORAGE = 64, 256 * 2**30, 3e9
"""A machine: cores, bytes of memory, bytes per second to and from the storage that all machines share."""
BUSY = 0.5
"""Share of its cores that a serving machine may use, so that a queue stays short."""
ARMS, DAYS, PRE_DAYS = 3, 21, 14
"""Arms, each with a bucket, and production's sample of the same size; days as in preset `paper`."""
POPULATION, APPS_PER_SECOND, EXAMPLES = 1_000_000_000, 10_000_000, 500_000_000_000
SHARES = {"0.01% an arm": 0.0001, "1% an arm": 0.01, "everybody": 1 / (ARMS + 1)}
CATALOGUE = 1_000_000
PAPER_WEIGHTS = 1202 * 1024 + 1024 * 512 + 512 * 256 + 256
"""Of the paper's net; an example takes three products with each: forward, and two backward."""

SERVE = "simulate.rankers.wide_deep.impressions_per_cpu_second"
NIGHT = "train.request_level.wide_deep.impressions_per_cpu_second"
TABLE = "train.table.wide_deep.fp32.examples_per_cpu_second"
TABLE_GEMM = "train.table.wide_deep.fp32.gemm_ratio"
SCORE = "serving.models.paper/1202-1024-512-256-1.apps_per_second_per_core"
SCORE_MEMORY = "serving.models.paper/1202-1024-512-256-1.memory_mib"
SCORE_APPS = "serving.models.paper/1202-1024-512-256-1.publish_apps"
SCORE_PUBLISH = "serving.models.paper/1202-1024-512-256-1.publish_cpu_seconds"
NEEDED = (SERVE, NIGHT, TABLE, TABLE_GEMM, SCORE, SCORE_MEMORY, SCORE_APPS, SCORE_PUBLISH)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run takes.

    Attributes:
        preset: of the run.
        visits_per_user_day: of its users; a visit shows `shown` apps.
        log_bytes, truth_bytes: on the disk, by impression.
        memory_bytes: of the log in a learner, by impression: its parts and the sorted copy of them.
        state_bytes: by user of a bucket. result_bytes: that the driver keeps, by visit.
        model_bytes: of a published Wide & Deep model on the disk.
        hash_rate: bytes per CPU second that the driver checks.
        read_rate: impressions per CPU second read back.
        member_rate: members of a bucket found per CPU second.
    """

    preset: str
    visits_per_user_day: float
    shown: int
    log_bytes: float
    truth_bytes: float
    memory_bytes: float
    state_bytes: float
    result_bytes: float
    model_bytes: float
    hash_rate: float
    read_rate: float
    member_rate: float


def main() -> None:
    """Measures, or prints or writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--measure", type=Path, metavar="RUN")
    parser.add_argument("--bench", type=Path, default=BENCH)
    parser.add_argument("--scale", type=Path, default=SCALE)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    if options.measure is not None:
        options.scale.write_text(json.dumps(asdict(measure(options.measure)), indent=2) + "\n", "utf-8")
    text = tables(read(options.scale), newest(options.bench))
    if options.write is None:
        print(text)
        return
    before, begin, rest = options.write.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        parser.error(
            f"write: got {options.write} without the markers, allowed: a page with {BEGIN} and {END}"
        )
    options.write.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")


def measure(run: Path) -> Measured:
    """What the last day of a run took; its rates are of CPU time."""
    from dataclasses import fields

    from experiment import plan
    from experiment.config import parse
    from experiment.daily import day_log
    from experiment.folder.paths import RunPaths
    from experiment.machine import seconds_of
    from experiment.serving import UserDays

    config, paths = parse((run / "config.toml").read_text("utf-8")), RunPaths(run)
    arm, day = list(config.arms)[-1], config.experiment.days
    log = day_log(run, config, (arm,), day)
    group = [shard for shard in plan.shards(config) if shard.group == arm]
    users = sum(shard.stop - shard.start for shard in group)
    data = bytes(2**26)
    layer = plan.layer_of(config)
    row = sum(_SIZES[f.name] for f in fields(UserDays))
    return Measured(
        preset=config.preset,
        visits_per_user_day=len(log) / users,
        shown=config.experiment.shown,
        log_bytes=_bytes(paths.log(arm, day)) / log.labels.size,
        truth_bytes=_bytes(paths.truth(arm, day)) / log.labels.size,
        memory_bytes=2 * _held(log) / log.labels.size,
        state_bytes=sum(_bytes(paths.audience(shard.number, day)) for shard in group) / users,
        result_bytes=row,
        model_bytes=max(_bytes(folder) for folder in (run / "models" / f"arm={arm}").iterdir()),
        hash_rate=len(data) / seconds_of(lambda: hashlib.sha256(data).digest()),
        read_rate=log.labels.size / seconds_of(lambda: day_log(run, config, (arm,), day)),
        member_rate=users / seconds_of(lambda: layer.members(arm)),
    )


_SIZES = {
    "user_id": 8, "country": 1, "impressions": 4, "acquisitions": 4, "expected": 8, "new_impressions": 4,
}  # fmt: skip


def _bytes(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*")) if path.is_dir() else path.stat().st_size


def _held(rows: Any) -> int:
    """Bytes of all arrays; a text column counts its pointers only, since equal texts are one object."""
    return sum(_held(v) if hasattr(v, "arrays") else int(v.nbytes) for v in rows.arrays().values())


def read(path: Path) -> Measured:
    """What `--measure` kept."""
    return Measured(**json.loads(path.read_text("utf-8")))


def newest(path: Path) -> dict[str, Any]:
    """The newest line of the benchmarks' history that has all figures of `NEEDED`."""
    lines = [json.loads(text) for text in path.read_text("utf-8").splitlines() if text.strip()]
    found: dict[str, Any] = next(
        line for line in reversed(lines) if all(name in line["figures"] for name in NEEDED)
    )
    return found


def tables(one: Measured, line: Mapping[str, Any]) -> str:
    """All tables of the page, with the figures that they come from."""
    figures = line["figures"]
    sections = [
        inputs(one, line),
        day_of(one, figures),
        limits(one, figures),
        scoring(figures),
        training(one, figures, line["machine"]["gemm_gflops"]),
    ]
    return "\n\n".join(sections)


def inputs(one: Measured, line: Mapping[str, Any]) -> str:
    """What was measured, and where."""
    figures, machine = line["figures"], line["machine"]
    rows = [
        [
            "impressions served and logged, W&D chooses 10 of 100",
            f"{figures[SERVE]:,.0f} /s",
            "bench simulate",
        ],
        ["impressions trained on, W&D", f"{figures[NIGHT]:,.0f} /s", "bench train"],
        ["examples of a table, joint, embedding 32, 256-128-64", f"{figures[TABLE]:,.0f} /s", "bench train"],
        ["apps scored, 1202-1024-512-256-1, fp32", f"{figures[SCORE]:,.0f} /s", "bench serving"],
        ["log read back, impressions", f"{one.read_rate:,.0f} /s", "--measure"],
        ["checksums", f"{one.hash_rate / 1e9:.2f} GB/s", "--measure"],
        ["members of a bucket found", f"{one.member_rate:,.0f} /s", "--measure"],
        ["visits of a user a day", f"{one.visits_per_user_day:.2f}", "--measure"],
        [
            "log and truth on the disk, by impression",
            f"{one.log_bytes:.1f} + {one.truth_bytes:.1f} B",
            "--measure",
        ],
        ["log in a learner's memory, by impression", f"{one.memory_bytes:.0f} B", "--measure"],
        ["state of a bucket's user on the disk", f"{one.state_bytes:.0f} B", "--measure"],
        ["kept by the driver, by visit", f"{one.result_bytes:.0f} B", "--measure"],
    ]
    head = (
        f"Measured with one core (commit {line['commit']}, {line['when'][:10]}, {machine['gemm_gflops']:.0f} "
        f"GFLOP/s in fp32 products; load {machine['load']:.1f} of {machine['cores']} cores), bytes on a run "
        f"of preset `{one.preset}`:"
    )
    return f"{head}\n\n{markdown(['what', 'figure', 'by'], rows)}"


def day_of(one: Measured, figures: Mapping[str, float]) -> str:
    """A simulated day of a billion users, by the share of them that is in the experiment."""
    columns = ["a simulated day", *SHARES]
    cells: dict[str, list[str]] = {}
    for share in SHARES.values():
        users = POPULATION * share * (ARMS + 1)
        impressions = users * one.visits_per_user_day * one.shown
        arm = impressions / (ARMS + 1)
        serve, night = impressions / figures[SERVE] / 3600, impressions / figures[NIGHT] / 3600
        disk = impressions * (one.log_bytes + one.truth_bytes)
        for name, text in {
            "users in the experiment": short(users),
            "impressions": short(impressions),
            "serve and log, core-hours": number(serve),
            "train, core-hours": number(night),
            f"serve on a machine of {CORES} cores, hours": number(serve / CORES),
            "longest night: one arm's log, one core, hours": number(arm / figures[NIGHT] / 3600),
            "the same in the pre-period (all arms learn from production), hours": number(
                impressions / figures[NIGHT] / 3600
            ),
            "log and truth written": size(disk),
            "users' state, rewritten": size(users * one.state_bytes),
            "checked by the driver, hours of one core": number(
                (disk + users * one.state_bytes) / one.hash_rate / 3600
            ),
            f"kept by the driver after {PRE_DAYS + DAYS} days": size(
                users * one.visits_per_user_day * one.result_bytes * (PRE_DAYS + DAYS)
            ),
            "a learner's day in memory": size(arm * one.memory_bytes),
        }.items():
            cells.setdefault(name, []).append(text)
    words = f"{ARMS} arms and production's sample, each with the same share of {short(POPULATION)} users."
    head = f"### A billion users\n{words}"
    return f"{head}\n\n{markdown(columns, [[name, *texts] for name, texts in cells.items()])}"


def limits(one: Measured, figures: Mapping[str, float]) -> str:
    """How many users there may be in the experiment before each part breaks, the tightest first."""
    visits, shown, groups = one.visits_per_user_day, one.shown, ARMS + 1
    hour = 3600.0
    found = {
        "the learners' night in the pre-period: every arm trains on all of production's log, one core each": (
            figures[NIGHT] * hour / (visits * shown),
            "an hour a day",
        ),
        "the same during the experiment, an arm's own log": (
            groups * figures[NIGHT] * hour / (visits * shown),
            "an hour a day",
        ),
        "the learners' memory in the pre-period: the day's log is read whole": (
            MEMORY / groups / (visits * shown * one.memory_bytes),
            f"{size(MEMORY)} for {groups} learners on one machine",
        ),
        "the workers' memory, ids: each holds those of whole groups": (
            MEMORY / (8 * CORES),
            f"{size(MEMORY)} for {CORES} workers",
        ),
        "the workers' memory, state: spread over them": (
            MEMORY / one.state_bytes,
            f"{size(MEMORY)} a machine",
        ),
        "the driver's memory: it keeps every visit's counts to the end": (
            MEMORY / (visits * one.result_bytes * (PRE_DAYS + DAYS)),
            size(MEMORY),
        ),
        "the driver's checksums of every part": (
            one.hash_rate * hour / (visits * shown * (one.log_bytes + one.truth_bytes) + one.state_bytes),
            "an hour a day",
        ),
        "the shared folder: log, truth and state written, log read twice": (
            STORAGE * hour / (visits * shown * (3 * one.log_bytes + one.truth_bytes) + 2 * one.state_bytes),
            "an hour a day",
        ),
        "finding the members: every worker finds those of a whole group, once": (
            groups * one.member_rate * hour,
            "an hour a run",
        ),
        f"serving on {CORES} cores": (figures[SERVE] * CORES * hour / (visits * shown), "an hour a day"),
    }
    rows = [
        [part, limit, short(users)] for part, (users, limit) in sorted(found.items(), key=lambda i: i[1][0])
    ]
    head = "### What breaks first\nUsers in the experiment at which each part takes the whole of its limit."
    return f"{head}\n\n{markdown(['part', 'limit', 'users'], rows)}"


def scoring(figures: Mapping[str, float]) -> str:
    """Ten million apps a second by the paper's network."""
    cores = APPS_PER_SECOND / figures[SCORE]
    table = figures[SCORE_MEMORY] * 2**20 / figures[SCORE_APPS]
    publish = figures[SCORE_PUBLISH] * CATALOGUE / figures[SCORE_APPS]
    reads = APPS_PER_SECOND * 1024 * 4
    rows = [
        ["cores", number(cores)],
        [f"machines of {CORES} cores, {BUSY:.0%} busy", number(-(-cores / BUSY // CORES))],
        [f"memory of a model with a table of {short(CATALOGUE)} apps", size(table * CATALOGUE)],
        ["making that table at each publish, CPU seconds", number(publish)],
        ["rows of the table read, all machines together", f"{size(reads)}/s"],
        ["of which a core", f"{size(reads / cores)}/s"],
    ]  # fmt: skip
    words = "The paper's network, exact fp32, 200 candidates a request."
    head = f"### {short(APPS_PER_SECOND)} apps scored per second\n{words}"
    return f"{head}\n\n{markdown(['what', 'figure'], rows)}"


def training(one: Measured, figures: Mapping[str, float], gemm: float) -> str:
    """Five hundred billion examples, each once."""
    flops = 6 * PAPER_WEIGHTS
    rates = {
        "joint model on a table, embedding 32, 256-128-64": figures[TABLE],
        "W&D of the experiment, by request": figures[NIGHT],
        f"the paper's network, {flops / 1e6:.1f} MFLOP an example, at the table's "
        f"{figures[TABLE_GEMM]:.0%} of the product rate (not measured)": gemm
        * 1e9
        * figures[TABLE_GEMM]
        / flops,
    }
    rows = [
        [name, f"{rate:,.0f}", number(EXAMPLES / rate / 3600), number(EXAMPLES / rate / 86400),
         number(-(-EXAMPLES / rate / 86400 // CORES))]
        for name, rate in rates.items()
    ]  # fmt: skip
    disk = EXAMPLES * one.log_bytes
    columns = [
        "model",
        "examples/s a core",
        "core-hours",
        "days on one core",
        f"machines of {CORES} for one day",
    ]
    hours = number(disk / STORAGE / 3600)
    after = f"The log is {size(disk)}; at {STORAGE / 1e9:.0f} GB/s it is read once in {hours} hours."
    return f"### {short(EXAMPLES)} training examples\nOne pass.\n\n{markdown(columns, rows)}\n\n{after}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, the first column to the left."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Three figures."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else "< 0.001"


def short(value: float) -> str:
    """A count in words: 40 million."""
    for unit, word in ((1e9, " billion"), (1e6, " million"), (1e3, ",000")):
        if value >= unit:
            return f"{value / unit:.3g}{word}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Bytes with a decimal unit."""
    for unit, word in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= unit:
            return f"{value / unit:.3g} {word}"
    return f"{value / 1e3:.3g} kB"


if __name__ == "__main__":
    main()
