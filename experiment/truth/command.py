"""`storelift truth`: every user of the buckets under every arm, and with that the true lift.

The replay is done shard by shard on the executor (`truth_replay`); what is done is listed in the manifest, so
a replay that was stopped goes on. At the end the run has `metrics/potential*.parquet`, `truth.json`, and
`true_lift` beside each estimate of its report.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from experiment import options
from experiment.errors import BadInput
from experiment.folder.manifest import RENEWED
from experiment.watching import Tell, counted

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.executor import Executor
    from experiment.folder.rundir import RunFolder
    from experiment.truth.potential import Potential
    from experiment.truth.replay import Replayed, ReplayTask

TRUTH = "truth.json"


def find_truth(
    path: Path | str,
    *,
    workers: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """The document of truth.json of the run at `path`; replays what has not been replayed yet.

    Args:
        path: of a run folder. workers, executor, address: as in `run`; by default as the run says.
        tell: is told of the progress.

    Raises:
        RunFolderError: there is no run, or a file of it is not what was written.
        BadInput: the run is not finished.
        ReplayError: a replay is not what was logged.
        LockedError: another process is writing the run.
        WorkerLostError: a worker process died; finished shards are kept.
    """
    from experiment.executor import open_executor, placed
    from experiment.folder.rundir import RunFolder

    folder = RunFolder.open(Path(path))
    refuse_unfinished(folder)
    if TRUTH in folder.manifest.artefacts:
        _finish_renewal(folder)
        return folder.read_json(folder.path / TRUTH)
    refuse_dropped(folder)
    with folder.locked():
        folder.check()
        tasks = replay_tasks(folder)
        place = placed(folder.config.run, workers, executor, address)
        with open_executor(place, len(tasks), folder.path) as pool:
            _replay_all(folder, pool, tasks, tell)
        return _conclude(folder, tasks)


def _finish_renewal(folder: RunFolder) -> None:
    """Does what a replay had left to do when it was killed after its last manifest: renames and deletions."""
    from experiment.folder.lock import LockedError
    from experiment.truth.replay import part_path

    if any(folder.path.glob(f".*{RENEWED}")) or part_path(folder.path, 0).parent.exists():
        with contextlib.suppress(LockedError), folder.locked():
            folder.check()
            folder.discard_unfinished()


def refuse_unfinished(folder: RunFolder) -> None:
    """Raises BadInput for a run that is not at its end, with how to go on."""
    if not folder.manifest.complete:
        done = folder.manifest.finished_day
        where = "before a day was done" if done is None else f"after day {done}"
        raise BadInput(
            f"{folder.path}: got a run of {folder.config.experiment.days} days that stopped {where}, "
            f"allowed: a finished run; go on with: storelift resume {folder.path}"
        )


def refuse_dropped(folder: RunFolder) -> None:
    """Raises BadInput for a run that has not kept its whole log, where the pre-period's is needed."""
    first = folder.manifest.log_from_day
    if first is not None:
        raise BadInput(
            f"{folder.path}: got a run that has dropped its log before day {first} (run.keep_log_days = "
            f"{folder.config.run.keep_log_days}), allowed: a run with its whole log"
        )


def days_run(folder: RunFolder) -> tuple[int, ...]:
    """The days of the experiment that were run: fewer than configured where it stopped once decided."""
    finished = folder.manifest.finished_day or 0
    return tuple(day for day in folder.config.days() if day <= finished)


def replay_tasks(folder: RunFolder) -> list[ReplayTask]:
    """One task per shard of the arms' buckets; production's own sample is in no comparison."""
    from experiment import plan
    from experiment.truth.replay import ReplayTask

    config, days = folder.config, days_run(folder)
    models = {arm: tuple(model_day(folder, arm, day) for day in days) for arm in config.arms}
    shards = [shard for shard in plan.shards(config) if shard.group in config.arms]
    return [ReplayTask(folder.path, config, shard, days, models) for shard in shards]


def model_day(folder: RunFolder, arm: str, day: int) -> int | None:
    """First day of the model with which `arm` served on `day`: the newest that the gate had let through."""
    prefix = f"models/arm={arm}/day="
    published = {
        int(name.removeprefix(prefix).split("/")[0])
        for name in folder.manifest.artefacts
        if name.startswith(prefix)
    }
    return max((first for first in published if first <= day), default=None)


def _replay_all(folder: RunFolder, executor: Executor, tasks: list[ReplayTask], tell: Tell | None) -> None:
    """Replays the shards that have not been; each is listed in the manifest as soon as it is done."""
    from experiment import indexing
    from experiment.truth.replay import RefitTask, part_path, refit, replay

    parts = {task.shard.number: part_path(folder.path, task.shard.number) for task in tasks}
    left = [task for task in tasks if not _listed(folder, parts[task.shard.number])]
    one_more = counted(tell, len(tasks), len(tasks) - len(left))

    def note(result: Replayed) -> None:
        folder.register([parts[result.shard.number]])
        folder.finish_day(result.last_day)
        one_more()

    if left:
        missing = _forgotten(folder, left[0].days[-1])
        try:
            executor.map(refit, [RefitTask(folder.path, folder.config, missing)], [0])
            executor.map(replay, left, list(range(len(left))), note)
        finally:
            indexing.forget()
            _forget(folder, missing)


def _forgotten(folder: RunFolder, last: int) -> tuple[int, ...]:
    """The days before `last` whose knowledge of retrieval the run has not kept."""
    from experiment.folder.paths import RunPaths

    days = range(folder.config.pre_days()[0], last)
    return tuple(day for day in days if not _listed(folder, RunPaths(folder.path).retrieval(day)))


def _forget(folder: RunFolder, days: tuple[int, ...]) -> None:
    from experiment.folder.paths import RunPaths

    for day in days:
        path = RunPaths(folder.path).retrieval(day)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or not there
            path.parent.rmdir()


def _listed(folder: RunFolder, path: Path) -> bool:
    return path.relative_to(folder.path).as_posix() in folder.manifest.artefacts


def _conclude(folder: RunFolder, tasks: list[ReplayTask]) -> dict[str, Any]:
    """Puts the shards together, and the truth into the run folder and its report."""
    from experiment.reporting.report import Report
    from experiment.truth.document import build, check_report, with_true_lifts
    from experiment.truth.potential import days_path, users_path
    from experiment.truth.replay import part_path

    potential = gather(folder, tasks)
    report = folder.report()
    check_report(potential, report)
    document = build(potential, report)
    users, by_day = potential.tables()
    folder.write_table(users_path(folder.path), users)
    folder.write_table(days_path(folder.path), by_day)
    folder.write_json(folder.path / TRUTH, document)
    folder.retire([part_path(folder.path, 0).parent])
    renewed = with_true_lifts(report, document)
    folder.finish(renewed, Report(renewed).markdown())
    return document


def gather(folder: RunFolder, tasks: list[ReplayTask]) -> Potential:
    """The potential outcomes of all shards, with who the users are and what they did before."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from experiment import plan
    from experiment.truth.potential import Potential
    from experiment.truth.replay import part_path
    from experiment.worlds import world_of

    config = folder.config
    arms = tuple(config.arms)
    members = [plan.shard_members(config, task.shard) for task in tasks]
    ids = np.concatenate(members)
    order = np.argsort(ids)
    groups = np.repeat([arms.index(task.shard.group) for task in tasks], [len(m) for m in members])
    users = {"user_id": ids[order], "group": groups[order].astype(np.int16)}
    users["country"] = world_of(config).profiles(users["user_id"]).country
    users |= _before(folder, config, users["user_id"])
    parts = [folder.trusted(part_path(folder.path, task.shard.number)) for task in tasks]
    table = pa.concat_tables([pq.read_table(part, partitioning=None) for part in parts])
    rows = {name: table.column(name).to_numpy() for name in table.column_names}
    return Potential.of_rows(arms, users, rows, tasks[0].days)


def _before(folder: RunFolder, config: Config, ids: Any) -> dict[str, Any]:
    """Impressions and acquisitions of the users `ids`, ascending, in the whole pre-period, int64[n] each."""
    import pyarrow.parquet as pq

    from experiment.folder.paths import RunPaths

    sums = {name: np.zeros(len(ids), np.int64) for name in ("impressions", "acquisitions")}
    for day in config.pre_days():
        table = pq.read_table(folder.trusted(RunPaths(folder.path).user_days(day)), partitioning=None)
        seen = table.column("user_id").to_numpy()
        row = np.minimum(np.searchsorted(ids, seen), len(ids) - 1)
        ours = ids[row] == seen
        for name, total in sums.items():
            np.add.at(total, row[ours], table.column(name).to_numpy()[ours])
    return {f"pre_{name}": total for name, total in sums.items()}


def render(document: dict[str, Any], path: Path) -> Any:
    """The truth beside the estimates, for a terminal of at least 80 columns."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from experiment.words import DASH, arm_name, interval, percent

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for head in ("true\nlift", "estimate", "interval", "holds\ntruth", "first\nday", "last\nday"):
        table.add_column(head, justify="right", no_wrap=True)
    verdicts = {None: DASH, True: "yes", False: "no"}
    for c in document["comparisons"]:
        days = c["days"]
        table.add_row(
            f"{arm_name(c['arm'])} vs {arm_name(c['control'])}",
            percent(c["true_lift"], 2),
            percent(c["lift"]),
            interval(c["ci"]),
            verdicts[c["covered"]],
            percent(days[0]["expected_lift"]),
            percent(days[-1]["expected_lift"]),
        )
    words = (
        f"{document['users']:,} users under each arm, over {len(document['days'])} days; first and last day: "
        "expected lifts."
    )
    follow = Text.assemble(("Next  ", "bold"), (f"storelift calibrate {path}", "cyan"))
    return Group(Text(), table, Text(), Text(words, style="dim"), follow)


def register(app: typer.Typer) -> None:
    """Adds the command `truth`."""

    @app.command()
    def truth(
        run_dir: Annotated[Path, typer.Argument(metavar="DIR", help="A finished run.")],
        workers: Annotated[
            int | None, typer.Option(help="Worker processes; 0 takes one per core, else as the run did.")
        ] = None,
        executor: options.Executor = None,
        address: options.Address = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Replay every user under every arm: the true lift."""
        from experiment.watching import watched

        try:
            with watched("replaying shards", quiet=quiet) as tell:
                document = find_truth(run_dir, workers=workers, executor=executor, address=address, tell=tell)
        except KeyboardInterrupt as error:
            error.add_note(f"finished shards are kept; go on with: storelift truth {run_dir}")
            raise
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        Console(highlight=False).print(render(document, run_dir))
