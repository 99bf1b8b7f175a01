"""One request taken apart: what each shown app's score is made of, and how each arm would have ranked them.

The shown apps are scored by the model of each arm that served on the request's day; the candidates that were
not shown are not logged. Shares are exact: those of one score sum to it, but for rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiment import plan
from experiment.assignment import PRODUCTION, layer_of
from experiment.config import Config
from experiment.errors import BadInput
from experiment.folder import atomic
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import EXPLANATIONS, RunFolder
from experiment.serving import policy_of
from experiment.worlds import world_of
from simulator.log import read_log, read_truth
from simulator.schema import NO_APP, Log, Ranker, Requests, Source, Truth
from simulator.world import user_and_day

OK = "ok"

FORMAT = 1
"""Version of the saved document."""


def explain(folder: RunFolder, request_id: int) -> dict[str, Any]:
    """The document of a request; see `docs/learning.md` for its keys.

    Args:
        folder: of the run. request_id: as in its log.

    Raises:
        BadInput: no such request was logged.
        RunFolderError: a file that is needed is not as it was written.
    """
    config = folder.config
    arm, group, day = _server_of(config, request_id)
    log, truth = _logged(folder, arm, day, request_id)
    requests, apps = log.requests, [int(app) for app in log.requests.apps[0]]
    arms = {name: _ranked(folder, name, day, requests) for name in _arms(config, day)}
    world = world_of(config)
    shown = [
        {
            "position": int(log.positions[0, s]),
            "app": app,
            "category": int(world.apps.category[app]),
            "source": Source(int(log.sources[0, s])).name.lower(),
            "score": float(log.scores[0, s]),
            "propensity": None if np.isnan(log.propensities[0, s]) else float(log.propensities[0, s]),
            "probability": None if truth is None else float(truth.probabilities[0, s]),
            "exception": None if truth is None else float(truth.exceptions[0, s]),
            "label": int(log.labels[0, s]),
            "parts": arms[arm]["apps"][s]["parts"] if arms[arm]["apps"] else {},
        }
        for s, app in enumerate(apps)
    ]
    return {
        "request": {
            "request_id": request_id,
            **{name: int(getattr(requests, name)[0]) for name in _SCALARS},
            "installed": [int(i) for i in requests.installed[0] if i != NO_APP],
        },
        "arm": arm,
        "group": group,
        "model_version": str(log.model_version[0]),
        "apps": shown,
        "arms": arms,
    }


_SCALARS = ("user_id", "sim_day", "hour", "device", "country", "language", "age_band", "gender")


def save(folder: RunFolder, document: dict[str, Any]) -> Path:
    """Writes the document into the run folder as `explanations/request-<id>.json`, for the dashboard."""
    path = folder.path / EXPLANATIONS / f"request-{document['request']['request_id']}.json"
    atomic.write_sealed(path, {"format": FORMAT, **document})
    return path


def _server_of(config: Config, request_id: int) -> tuple[str, str, int]:
    """The arm that served a request, its user's group, and the day.

    Raises:
        BadInput: its user is in no group, or its day is none of the run.
    """
    if request_id < 0:
        raise BadInput(f"request: got {request_id}, allowed: a request_id of the run's log")
    user, day = user_and_day(request_id)
    days = plan.all_days(config)
    if user >= config.users.population or day not in days:
        raise BadInput(
            f"request: got {request_id} (user {user}, day {day}), allowed: users 0 to "
            f"{config.users.population - 1} and days {days[0]} to {days[-1]}"
        )
    layer = layer_of(config)
    place = int(layer.arm_of(np.array([user]))[0])
    if place < 0:
        groups = ", ".join(layer.arms)
        raise BadInput(f"request: got {request_id} (user {user}), allowed: users of {groups}")
    group = layer.arms[place]
    return plan.serving_arm(group, day), group, day


def _logged(folder: RunFolder, arm: str, day: int, request_id: int) -> tuple[Log, Truth | None]:
    """The request's row of the log and of the truth (None where the run has dropped it)."""
    import pyarrow.parquet as pq

    paths, capacity = RunPaths(folder.path), folder.config.users.installed_capacity
    for path in folder.listed(paths.log(arm, day)):
        ids = pq.read_table(folder.trusted(path), columns=["request_id"], partitioning=None)
        row = np.flatnonzero(ids.column(0).to_numpy() == np.uint64(request_id))
        if len(row):
            beside = paths.truth(arm, day) / path.name
            known = beside in folder.listed(beside.parent)
            truth = read_truth(folder.trusted(beside)).take(row) if known else None
            return read_log(path, capacity).take(row), truth
    first = folder.manifest.log_from_day
    if first is not None and day < first:
        raise BadInput(
            f"request: got {request_id} of day {day}, allowed: days from {first} on; the log before it was "
            f"dropped (run.keep_log_days = {folder.config.run.keep_log_days})"
        )
    raise BadInput(f"request: got {request_id}, allowed: a request of arm {arm} on day {day}; none is logged")


def _arms(config: Config, day: int) -> list[str]:
    """The arms that may serve on `day`; before day 1 only production has a model."""
    return list(plan.serving_arms(config, day))


def _ranked(folder: RunFolder, arm: str, day: int, requests: Requests) -> dict[str, Any]:
    """The shown apps under the model of `arm` on `day`: scores, ranks among each other, shares by name."""
    model_day = _model_day(folder, arm, day)
    version = f"{arm}/{model_day}" if model_day is not None else None
    try:
        policy = policy_of(folder.path, folder.config, arm, day, model_day)
    except RuntimeError as error:
        return {"status": str(error), "model_version": version, "apps": []}
    scores = np.asarray(policy.ranker.score(requests), np.float64)[0]
    ranks = np.empty(len(scores), np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    parts = [_parts(policy.ranker, requests, s) for s in range(len(scores))]
    explains = hasattr(policy.ranker, "explain")
    return {
        "status": OK if explains else f"{policy.version}: a ranker of this kind gives no shares",
        "model_version": policy.version,
        "apps": [
            {"app": int(app), "rank": int(rank), "score": float(score), "parts": part}
            for app, rank, score, part in zip(requests.apps[0], ranks, scores, parts, strict=True)
        ],
    }


def _parts(ranker: Ranker, requests: Requests, column: int) -> dict[str, float]:
    """The shares of a score by name, largest first; none where the ranker has no `explain`."""
    takes_apart = getattr(ranker, "explain", None)
    if takes_apart is None:
        return {}
    shares: dict[str, float] = takes_apart(requests, 0, column)
    return {name: float(share) for name, share in sorted(shares.items(), key=lambda pair: -abs(pair[1]))}


def _model_day(folder: RunFolder, arm: str, day: int) -> int | None:
    """First day of the model with which `arm` served on `day`, its files as they were written.

    Raises:
        RunFolderError: one of them is not.
    """
    prefix = f"models/arm={arm}/day="
    found: dict[int, list[str]] = {}
    for name in folder.manifest.artefacts:
        if name.startswith(prefix):
            found.setdefault(int(name.removeprefix(prefix).split("/")[0]), []).append(name)
    own = max((first for first in found if first <= day), default=None)
    for name in found.get(own, []) if own is not None else []:
        folder.trusted(folder.path / name)
    if arm == PRODUCTION and plan.bootstrapping(folder.config, day):
        return None
    return own
