"""`storelift reproduce`: the claims of Cheng et al. (2016), counted over seeds, in one command.

Two studies are behind it: `paper` (Table 1, exploration, warm start) and of `joint-vs-ensemble` the point at
the default L1. Orders are counted on the expected AUC and on the expected lift of the same users under
every arm; what the experiment itself observed stands beside. Table 2 is taken from what `storelift bench
serving` has measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiment import options
from experiment.errors import BadInput

if TYPE_CHECKING:
    from experiment.study.plan import Study
    from experiment.watching import Tell

CLAIMS, JOINT = "paper", "joint-vs-ensemble"
NAME = "reproduce"
JOINT_SEEDS = 5
"""At most so many seeds for the joint model against the ensemble."""


def reproduce(
    root: Path | str = Path("runs"),
    *,
    preset: str | None = None,
    seeds: int | None = None,
    first_seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    joint_seeds: int | None = None,
    serving: Path | None = None,
    workers: int = 0,
    executor: str | None = None,
    address: str | None = None,
    keep: bool = False,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Runs what is missing and returns the document, also written to `ROOT/studies/reproduce.json`.

    Args:
        root: folder of run folders. preset, seeds, first_seed, overrides: instead of those of `paper`.
        joint_seeds: of the joint model against the ensemble; by default `JOINT_SEEDS` at most, 0 for none.
        serving: a document of `bench serving --json`; by default the newest that a run below `root` holds.
        workers, executor, address, keep, tell: as in `study.run_study`; `tell` counts the cells of one study
            after the other.

    Raises:
        BadInput: as `run_study`; or `serving` is no such document.
    """
    from experiment.folder import atomic
    from experiment.study import plan as study_plan
    from experiment.study.sweep import run_study
    from models.settings import WideDeepSettings

    table2 = read_serving(Path(root), serving)
    given: dict[str, Any] = {"preset": preset, "first_seed": first_seed, "overrides": overrides}
    claims = study_plan.changed(study_plan.find(CLAIMS)[1], CLAIMS, seeds=seeds, **given)
    how: dict[str, Any] = {
        "workers": workers, "executor": executor, "address": address, "keep": keep, "tell": tell
    }  # fmt: skip
    count = min(claims.seeds, JOINT_SEEDS) if joint_seeds is None else joint_seeds
    joint = _joint(claims, max(count, 1), given)
    points = [point for point in joint.points() if point.values == (WideDeepSettings().wide.l1,)]
    if count:
        study_plan.cells(joint, points)  # what it refuses is better known before the first study's hour
    documents = [run_study(CLAIMS, claims, root, **how)]
    if count:
        documents.append(run_study(f"{NAME}-joint", joint, root, points=points, **how))
    document = summary(documents, table2)
    atomic.write_json(Path(root) / "studies" / f"{NAME}.json", document)
    return document


def _joint(claims: Study, seeds: int, given: Mapping[str, Any]) -> Study:
    from experiment.study import plan as study_plan

    return study_plan.changed(
        study_plan.find(JOINT)[1], JOINT, seeds=seeds, **{**given, "preset": claims.preset,
        "first_seed": claims.first_seed},
    )  # fmt: skip


def summary(documents: list[dict[str, Any]], table2: dict[str, Any] | None) -> dict[str, Any]:
    """The document of reproduce.json, from those of the two studies and of `bench serving`."""
    from experiment.reporting.text import PAPER

    first = documents[0]
    point = first["points"][0]
    orders = [claim for claim in point["claims"] if claim["order"] and claim["section"] == "Table 1"]
    verdicts = [claim["met"] for claim in orders]
    return {
        "preset": first["preset"],
        "set": first["set"],
        "seeds": first["seeds"],
        "seeds_done": point["seeds_done"],
        "programs": sorted({program for one in documents for program in one["programs"]}),
        "cpu_seconds": sum(one["cpu_seconds"] for one in documents),
        "claims": [
            {**claim, "seeds": one["points"][0]["seeds_done"], "study": one["study"]}
            for one in documents
            for claim in one["points"][0]["claims"]
        ],
        "orders_met": None if None in verdicts or not verdicts else all(verdicts),
        "table1": {
            name: {
                **{
                    m: figures.get(m)
                    for m in ("expected_auc", "offline_auc", "expected_lift", "observed_lift")
                },
                "paper": {"offline_auc": PAPER[name].auc, "lift": PAPER[name].gain}
                if name in PAPER
                else None,
            }
            for name, figures in point["arms"].items()
        },
        "table2": table2,
    }


def read_serving(root: Path, path: Path | None) -> dict[str, Any] | None:
    """Rows of Table 2 out of a document of `bench serving --json`; None where there is none.

    Raises:
        BadInput: `path` is given and is no such document.
    """
    from experiment.bench.record import SERVING

    found = path
    if found is None:
        kept = sorted(root.glob(f"*/{SERVING}"), key=lambda file: file.stat().st_mtime)
        if not kept:
            return None
        found = kept[-1]
    names = ("name", "batch", "threads", "p50_ms", "p95_ms", "p99_ms", "paper_ms")
    try:
        document = json.loads(found.read_bytes())
        rows = [{name: row[name] for name in names} for row in document["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if path is None:
            return None
        raise BadInput(
            f"serving: got {path} ({error!r}), allowed: what `bench serving --json` wrote"
        ) from error
    return {"candidates": document["candidates"], "machine": document["machine"], "rows": rows}


def register(app: typer.Typer) -> None:
    """Adds the command `reproduce`."""

    @app.command("reproduce")
    def reproduce_command(
        preset: Annotated[str | None, typer.Option(help="Of each run; standard by default.")] = None,
        seeds: Annotated[int | None, typer.Option(help="How many; 20 by default.")] = None,
        first_seed: Annotated[int | None, typer.Option(help="The first of them; 1000 by default.")] = None,
        joint_seeds: Annotated[
            int | None, typer.Option(min=0, help="Of joint training against an ensemble; 0 leaves it out.")
        ] = None,
        setting: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="PATH=VALUE", help="Changes one setting of all runs."),
        ] = None,
        serving: Annotated[
            Path | None, typer.Option(metavar="FILE", help="What `storelift bench serving --json` wrote.")
        ] = None,
        root: Annotated[Path, typer.Option(help="The folder of run folders.")] = Path("runs"),
        workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0 takes one per core.")] = 0,
        executor: options.Executor = None,
        address: options.Address = None,
        keep: Annotated[bool, typer.Option("--keep", help="Keep logs, truth, models and state.")] = False,
        write: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Put the table into this page, between its markers."),
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="One JSON document, and nothing else, on standard output.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Count the paper's claims over seeds: what it says, what comes out here, in how many worlds."""
        from experiment.loading import parse_overrides
        from experiment.signals import terminable
        from experiment.study import claims_text
        from experiment.study.page import read_page, write_page
        from experiment.watching import watched

        if write is not None:
            read_page(write, NAME)  # a page without markers is told before the work
        with terminable(), watched("cells", quiet=quiet) as tell:
            document = reproduce(
                root,
                preset=preset,
                seeds=seeds,
                first_seed=first_seed,
                overrides=dict(parse_overrides(setting or [])),
                joint_seeds=joint_seeds,
                serving=serving,
                workers=workers,
                executor=executor,
                address=address,
                keep=keep,
                tell=tell,
            )
        if write is not None:
            write_page(write, NAME, claims_text.markdown(document))
        if as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
            return
        from rich.console import Console

        Console(highlight=False).print(claims_text.render(document))
