"""`storelift interference`: which design is biased when rankers share data, and at what cost.

A seed has a world per arm, all users under it, and a world per design. Each world is saved when it is done,
below `ROOT/interference/NAME/seed.../`, so that a study that was stopped goes on; the document is
`ROOT/interference/NAME.json`.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment import options
from experiment.errors import BadInput

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.watching import Tell

NAME, SEEDS, ARMS = "designs", 10, "wide,deep"
NO_PART = ("bench/", "server/", "study/", "slices/", "interference/estimates.py", "interference/show.py",
           "calibration/", "preference/", "palette.py", "webpage.py")  # fmt: skip
"""What of the code has no part in a world that is played."""


@dataclass(frozen=True, slots=True)
class SeedTask:
    """A seed's worlds.

    Attributes:
        folder: for their tables. config: of the experiment. names: of the worlds.
    """

    folder: Path
    config: Config
    names: tuple[str, ...]


def work(task: SeedTask) -> Path:
    """Plays the worlds of a seed that are not there yet; its folder."""
    from experiment.folder import atomic
    from experiment.interference.designs import layout
    from experiment.interference.play import play, start
    from experiment.worker import prepare_worker
    from experiment.worlds import world_of

    prepare_worker()
    begin = start(task.folder / "start", task.config)
    world = world_of(task.config)
    profiles = world.profiles(begin.users)
    for name in task.names:
        path = table_path(task.folder, name)
        if not path.exists():
            laid = layout(name, task.config, world, profiles, begin.groups)
            atomic.write_table(path, play(begin, laid))
    shutil.rmtree(task.folder / "start", ignore_errors=True)
    return task.folder


def refuse_unfit(config: Config, designs: Sequence[str]) -> None:
    """Raises BadInput, a line per problem, for what the designs can't do, or would pass over in silence."""
    from experiment import plan
    from experiment.settings import FaultSettings

    arms, experiment = len(config.arms), config.experiment
    problems = []
    if arms < 2:
        problems.append(f"arms: got {', '.join(config.arms)} alone, allowed: two or more")
    for arm, settings in config.arms.items():
        if settings.kind in plan.REFERENCE_KINDS:
            problems.append(f"arms: got {arm}, which does not learn, allowed: rankers that learn")
    if experiment.training != "own":
        problems.append(
            f"experiment.training: got {experiment.training}, allowed: own, as a design says who learns "
            "from whom"
        )
    if not experiment.warm_start:
        problems.append("experiment.warm_start: got false, allowed: true in a study of designs")
    if experiment.stop_when != "never":
        problems.append("experiment.stop_when: got decided, allowed: never in a study of designs")
    if config.faults != FaultSettings():
        problems.append("faults: got some, allowed: none in a study of designs")
    candidates, least = config.retrieval.candidates, 2 * arms * experiment.shown
    if "co-diverted" in designs and candidates < least:
        problems.append(
            f"retrieval.candidates: got {candidates}, allowed: {least} or more where {arms} arms share the "
            f"apps and each shows {experiment.shown}"
        )
    clusters = config.users.countries * config.users.age_bands
    if "clustered" in designs and clusters < 2 * arms:
        problems.append(
            f"users.countries, users.age_bands: got {clusters} clusters of users, allowed: {2 * arms} "
            f"or more for {arms} arms"
        )
    if problems:
        raise BadInput("\n".join(problems))


def table_path(folder: Path, world: str) -> Path:
    """Where a world's table is."""
    return folder / f"{world.replace(' ', '-')}.parquet"


def interference(
    name: str,
    preset: str | None = None,
    settings: Sequence[str] = (),
    *,
    arms: str = ARMS,
    designs: Sequence[str] | None = None,
    seeds: int = SEEDS,
    first_seed: int = 0,
    root: Path | str = Path("runs"),
    workers: int = 0,
    executor: str | None = None,
    address: str | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Plays what has not been played yet; returns the document, also written to the disk.

    Args:
        name: of the folder and the document. preset, settings, arms: as of a run.
        designs: of `designs.DESIGNS`, all by default. seeds, first_seed: which.
        root: folder of run folders. workers: seeds at a time; 0 takes one per core. tell: of the progress.
        executor, address: where the workers are, as in `run` of a configuration.

    Raises:
        BadInput: no such design, one arm only, an arm that does not learn, no configuration, or no such
            executor.
        WorkerLostError: a worker process died; finished worlds are kept.
    """
    import pyarrow.parquet as pq

    from experiment import program
    from experiment.executor import open_executor, placed
    from experiment.folder import atomic
    from experiment.interference.designs import DESIGNS, worlds
    from experiment.interference.estimates import of_seed, over_seeds
    from experiment.loading import load
    from experiment.settings import RunSettings

    place = placed(RunSettings(), workers, executor, address)
    chosen = tuple(DESIGNS) if designs is None else tuple(designs)
    for one in chosen:
        if one not in DESIGNS:
            raise BadInput(f"design: got {one!r}, allowed: {', '.join(DESIGNS)}")
    if seeds < 1:
        raise BadInput(f"seeds: got {seeds}, allowed: 1 or more")
    folder = Path(root) / "interference" / name
    tasks = []
    for seed in range(first_seed, first_seed + seeds):
        config = load(preset, settings, seed=seed, arms=arms)
        refuse_unfit(config, chosen)
        own = folder / f"seed{seed}-{config.config_hash()}-{program.fingerprint(NO_PART)}"
        tasks.append(SeedTask(own, config, worlds(config, chosen)))
    played: list[int] = []

    def done(task: SeedTask) -> bool:
        return all(table_path(task.folder, world).exists() for world in task.names)

    def conclude() -> dict[str, Any]:
        rows = []
        for task in tasks:
            if done(task):
                tables = {world: pq.read_table(table_path(task.folder, world)) for world in task.names}
                control, alpha = task.config.experiment.control, task.config.experiment.alpha
                found = of_seed(tables, list(task.config.arms), control, alpha)
                rows += [{"seed": task.config.seed, **row} for row in found]
        config = tasks[0].config
        document = {
            "name": name,
            "preset": config.preset,
            "settings": list(settings),
            "arms": list(config.arms),
            "control": config.experiment.control,
            "days": config.experiment.days,
            "users": sum(int(config.users.population * share) for share in config.shares().values()),
            "seeds": [task.config.seed for task in tasks if done(task)],
            "seeds_asked": len(tasks),
            "designs": over_seeds(rows),
            "rows": rows,
        }
        atomic.write_json(folder.with_name(f"{name}.json"), document)
        return document

    left = [task for task in tasks if not done(task)]

    def note(_: Path) -> None:
        played.append(1)
        conclude()
        if tell is not None:
            tell(len(tasks) - len(left) + len(played), len(tasks))

    if tell is not None:
        tell(len(tasks) - len(left), len(tasks))
    if left:
        folder.mkdir(parents=True, exist_ok=True)
        with open_executor(place, len(left), folder) as pool:
            try:
                pool.map(work, left, list(range(len(left))), note)
            except BaseException as error:
                error.add_note("Finished worlds are kept: the same command goes on.")
                raise
    return conclude()


def marker(name: str) -> str:
    """Of the comments between which a page has the table of a study, see `study.page`."""
    return f"interference {name}"


def command_line(options: Mapping[str, Any]) -> str:
    """The command with its options; those that are None or empty are left out."""
    words = ["storelift", "interference"]
    for option, given in options.items():
        for one in given if isinstance(given, list) else [given]:
            words += [] if one is None else [option, str(one)]
    return shlex.join(words)


def register(app: typer.Typer) -> None:
    """Adds the command `interference`."""

    @app.command("interference")
    def interference_command(
        name: Annotated[str, typer.Option(help="Of the study's folder and document.")] = NAME,
        preset: Annotated[str | None, typer.Option(help="As of a run.")] = None,
        setting: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Changes one setting.")
        ] = None,
        arms: Annotated[str, typer.Option(metavar="A,B", help="The arms, the control among them.")] = ARMS,
        design: Annotated[
            list[str] | None, typer.Option(help="shared, diverted, co-diverted or clustered; all by default.")
        ] = None,
        seeds: Annotated[int, typer.Option(help="How many seeds.")] = SEEDS,
        first_seed: Annotated[int, typer.Option(help="The first of them.")] = 0,
        root: Annotated[Path, typer.Option(help="The folder of run folders.")] = Path("runs"),
        workers: Annotated[int, typer.Option(min=0, help="Seeds at a time; 0 takes one per core.")] = 0,
        executor: options.Executor = None,
        address: options.Address = None,
        write: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Put the table into this page, between the study's markers."),
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Compare designs of an experiment whose rankers share data: bias, variance and data of each."""
        from experiment.interference.show import markdown, render, write_page
        from experiment.signals import terminable
        from experiment.study import page
        from experiment.watching import watched

        if write is not None:
            page.read_page(write, marker(name))  # a page without markers is told before the work
        with terminable(), watched("seeds", quiet=quiet) as tell:
            document = interference(
                name, preset, setting or [], arms=arms, designs=design, seeds=seeds, first_seed=first_seed,
                root=root, workers=workers, executor=executor, address=address, tell=tell,
            )  # fmt: skip
        drawn = Path(root) / "interference" / f"{name}.html"
        write_page(drawn, document)
        if write is not None:
            asked = {
                "--preset": preset,
                "--seeds": None if seeds == SEEDS else seeds,
                "--first-seed": first_seed or None,
                "--name": None if name == NAME else name,
                "--arms": None if arms == ARMS else arms,
                "--design": design,
                "--set": setting,
                "--write": write,
            }
            page.write_page(write, marker(name), markdown(document, command_line(asked)))
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        console = Console(highlight=False)
        console.print(render(document))
        console.print(f"Figure: {drawn}   Figures as data: {drawn.with_suffix('.json')}", style="dim")
