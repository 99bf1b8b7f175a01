"""The model that a server serves: loaded whole, tried out, then put in place of the last one in one step."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from experiment import plan
from experiment.errors import BadInput
from experiment.folder.manifest import NAME as MANIFEST
from experiment.folder.manifest import Manifest
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.published import load_model
from experiment.visitors import Visitors
from models import gate
from models.scorer import Published
from simulator.schema import PublishedRanker, Ranker, Requests

logger = logging.getLogger(__name__)

TRIED = 64
"""Requests of the dry run."""


@dataclass(frozen=True, slots=True)
class Model:
    """A published model, tried out. Immutable: an answer is of one `Model`, whatever is published meanwhile.

    Attributes:
        ranker: scores. version: `arm/day` of its publication. kind: of the ranker.
        precision: "fp32" or "bf16".
        document: what `/model` says of it.
    """

    ranker: Ranker
    version: str
    kind: str
    precision: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What serves at one moment.

    Attributes:
        model: that scores.
        visitors: of the run; None where a model is served without a run.
    """

    model: Model
    visitors: Visitors | None


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model is loaded, and what it must keep to.

    Attributes:
        precision: "fp32", or "bf16" for matrix products in bf16.
        latency_limit: milliseconds of one request, by the median of several.
        score_limit, memory_limit: as of the gate.
    """

    precision: str
    latency_limit: float
    score_limit: float
    memory_limit: float


class RefusedError(Exception):
    """A model did not pass its dry run; it does not serve."""


def try_out(exact: PublishedRanker, version: str, kind: str, requests: Requests, trial: Trial) -> Model:
    """A model ready to serve, once its scores and its latency on `requests` are within the limits.

    Raises:
        RefusedError: they are not.
        BadInput: it cannot be served in this precision.
    """
    ranker: Ranker = exact
    if trial.precision == "bf16":
        if not isinstance(exact, Published):
            raise BadInput(f"precision: got 'bf16' for a ranker of kind {kind}, allowed: 'fp32'")
        try:
            ranker = exact.rounded()
        except ValueError as error:
            raise BadInput(f"precision: got 'bf16', allowed: 'fp32' ({error})") from error
    reasons, scores = gate.dry_run(ranker, requests, trial.score_limit, trial.memory_limit)
    took = gate.latency(ranker, requests) if not reasons else 0.0
    if took > trial.latency_limit:
        reasons.append(f"dry run: {took:.1f} ms for one request, allowed are {trial.latency_limit:g}")
    if reasons:
        raise RefusedError("; ".join(reasons))
    difference = float(np.abs(scores - exact.score(requests)).max(initial=0.0))
    return Model(
        ranker,
        version,
        kind,
        trial.precision,
        {
            "version": version,
            "kind": kind,
            "precision": trial.precision,
            "dry_run": {
                "requests": len(requests),
                "latency_ms": round(took, 3),
                "latency_limit_ms": trial.latency_limit,
                "memory_mib": gate.memory_of(ranker),
                "largest_score_difference_from_fp32": difference,
            },
        },
    )


def published_days(manifest: Manifest, arm: str) -> list[int]:
    """The first days of an arm's complete models, ascending."""
    name = re.compile(rf"models/arm={re.escape(arm)}/day=(-?\d+)/meta\.json")
    return sorted(int(found[1]) for found in map(name.fullmatch, manifest.artefacts) if found)


class LiveModel:
    """The newest model of an arm of a run, which a thread of its own keeps up to date.

    Attributes:
        snapshot: what serves now; replaced in one step, never changed.
        refused: by version, why it was not let through; the newest last.
        swaps: how often a newer model took over.

    Args:
        run: the run folder. arm: whose models. trial: what they must keep to.

    Raises:
        BadInput: no run folder, no such arm or no model of it yet.
        RefusedError: the newest model does not pass its dry run.
    """

    def __init__(self, run: Path, arm: str, trial: Trial) -> None:
        self._run, self._arm, self._trial = run, arm, trial
        self.refused: dict[str, str] = {}
        self.swaps = 0
        self._written = 0
        folder = RunFolder.open(run)
        if arm not in (*folder.config.arms, "production"):
            raise BadInput(f"arm: got {arm!r}, allowed: {', '.join(folder.config.arms)} or production")
        days = published_days(folder.manifest, arm)
        if not days:
            raise BadInput(f"arm: got {arm!r}, which has no published model in {run}, allowed: one that has")
        self._seen = (folder.manifest.finished_day, days[-1])
        self.snapshot = self._load(folder, days[-1], None)

    def check(self) -> bool:
        """Takes over what the run has published since; whether anything changed.

        A model that fails is remembered as refused, and what serves goes on serving.
        """
        written = (self._run / MANIFEST).stat().st_mtime_ns
        if written == self._written:
            return False
        folder = RunFolder.open(self._run)
        self._written = written
        day = published_days(folder.manifest, self._arm)[-1]
        seen = (folder.manifest.finished_day, day)
        if seen == self._seen:
            return False
        before = self._seen
        self._written = 0  # until all of it is read
        try:
            after = self._load(folder, day, self.snapshot.visitors if seen[0] == before[0] else None)
        except RefusedError as error:
            self.refused[f"{self._arm}/{day}"] = str(error)
            logger.warning("%s/%d is refused: %s", self._arm, day, error)
            if seen[0] != before[0]:  # the users have moved on all the same
                self.snapshot = Snapshot(self.snapshot.model, Visitors(folder))
            self._seen, self._written = seen, written
            return False
        self._seen, self._written = seen, written
        self.snapshot = after
        if day != before[1]:
            self.swaps += 1
            logger.warning("serving %s", after.model.version)
        return True

    def _load(self, folder: RunFolder, day: int, visitors: Visitors | None) -> Snapshot:
        for name in folder.manifest.artefacts:
            if name.startswith(f"models/arm={self._arm}/day={day:d}/"):
                folder.trusted(folder.path / name)
        visitors = Visitors(folder) if visitors is None else visitors
        of, path = plan.arm_settings(folder.config, self._arm), RunPaths(folder.path).model(self._arm, day)
        ranker = load_model(path, visitors.world, of.kind, of.settings)
        model = try_out(ranker, f"{self._arm}/{day}", of.kind, visitors.some(TRIED), self._trial)
        model.document["arm"], model.document["sim_day"] = self._arm, day
        model.document["loaded_wall_s"] = round(time.time(), 3)
        model.document["gate"] = _verdict(folder, self._arm, day)
        return Snapshot(model, visitors)


def _verdict(folder: RunFolder, arm: str, day: int) -> Any:
    """What the gate said of the model in the night before `day`; None where it is not noted."""
    path = RunPaths(folder.path).day_entry(day - 1)
    if path not in folder.listed(path.parent):
        return None
    return folder.read_json(path)["verdicts"].get(arm)


class Watch:
    """A thread that calls `check` every so many seconds; a context manager that ends it.

    What goes wrong is logged, once for each message, and tried again the next time.
    """

    def __init__(self, check: Callable[[], object], seconds: float) -> None:
        self._check, self._seconds = check, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._thread.start()

    def _run(self) -> None:
        said = ""
        while not self._stop.wait(self._seconds):
            try:
                self._check()
            except Exception as error:  # noqa: BLE001 - a damaged newcomer must not end the server
                if str(error) != said:
                    said = str(error)
                    logger.warning("the run cannot be read: %s", said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
