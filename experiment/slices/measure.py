"""One arm's days in one stream: what it shows is parted by what it knew before, then joins what it knows.

`measure` is a task: it reads the run folder day by day and returns small sums, so an arm's memory is that of
its table of pairs and of 20 bytes an impression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from experiment import plan
from experiment.assignment import PRODUCTION
from experiment.config import Config
from experiment.daily import day_log, day_truth
from experiment.nightly import night_log
from experiment.slices import auc
from experiment.slices.auc import PartAucs
from experiment.slices.cuts import CUTS
from experiment.slices.parting import PAIRED, part
from experiment.slices.rules import Rules
from experiment.slices.seen import Seen
from experiment.stats.moments import Moments
from experiment.worlds import world_of
from simulator.schema import Array, Log, Truth

SUMS = ("impressions", "acquisitions", "chance", "predicted")
"""What is summed by user and part; chance and prediction are of the position at which the app was shown."""


@dataclass(frozen=True, slots=True)
class SliceTask:
    """An arm to be measured.

    Attributes:
        run: the run folder. config: the run's. arm: whose log. days: of the experiment, that were run.
        trained: days whose log the arm has trained on, the pre-period's included.
    """

    run: Path
    config: Config
    arm: str
    days: tuple[int, ...]
    trained: frozenset[int]


@dataclass(frozen=True, slots=True)
class ArmSlices:
    """What a `SliceTask` found.

    Attributes:
        arm: of the task. counts_pairs: whether pairs were counted.
        moments: by cut and ratio, [parts] of users' sums; the ratios are named in `ratios`.
        aucs: by cut.
        excess: over-prediction where an exception in favour has gone, less that where there never was one,
            and its standard error; None where undefined.
        days: exploration, by day.
    """

    arm: str
    counts_pairs: bool
    moments: dict[str, dict[str, Moments]]
    aucs: dict[str, PartAucs]
    excess: tuple[float, float] | None
    days: dict[int, dict[str, float | None]]


def ratios(sums: Array, whole: Array) -> dict[str, tuple[Array, Array]]:
    """Numerator and denominator [parts, users] of each ratio.

    Args:
        sums: float64[parts, users, 4], see `SUMS`. whole: float64[users], impressions over all parts.
    """
    n, x, p, q = np.moveaxis(sums, -1, 0)
    return {
        "share": (n, np.broadcast_to(whole, n.shape)),
        "rate": (x, n),
        "chance": (p, n),
        "predicted": (q, n),
        "over": (q - p, n),
        "calibration": (q, x),
    }


@dataclass(slots=True)
class _Columns:
    """What AUCs need of every impression, a list entry per day."""

    score: list[Array] = field(default_factory=list)
    label: list[Array] = field(default_factory=list)
    chance: list[Array] = field(default_factory=list)
    user: list[Array] = field(default_factory=list)
    parts: dict[str, list[Array]] = field(default_factory=dict)


def measure(task: SliceTask) -> ArmSlices:
    """Parts the impressions of the arm's days, and counts what it explored."""
    config, world = task.config, world_of(task.config)
    users = np.sort(_members(config, task.arm))
    seen = Seen.nothing(config.world.apps, users)
    rules = Rules.none(config.world.apps, config.world.exception_slots)
    for day in config.pre_days():
        seen.show(day_log(task.run, config, (PRODUCTION,), day), day)
        _learn(task, seen, day)
        rules.note(world.exceptions(day), day)
    seen.begin()
    cuts = [name for name in CUTS if seen.counts_pairs or name not in PAIRED]
    sums = {name: np.zeros((len(CUTS[name].parts), len(users), len(SUMS))) for name in cuts}
    columns, days = _Columns(), {}
    for day in task.days:
        log, truth = day_log(task.run, config, (task.arm,), day), day_truth(task.run, (task.arm,), day)
        today = world.exceptions(day)
        codes = part(log, truth, seen, rules, today, world.apps, day)
        _sum(sums, columns, log, truth, codes, seen, config.world.examination_decay)
        days[day] = explored(log, codes, seen, world.apps.release_day, config.retrieval.release_days, day)
        _learn(task, seen, day)
        rules.note(today, day)
    return _concluded(task.arm, seen, sums, columns, days)


def _members(config: Config, arm: str) -> Array:
    shards = [shard for shard in plan.shards(config) if shard.group == arm]
    return np.concatenate([plan.shard_members(config, shard) for shard in shards])


def _learn(task: SliceTask, seen: Seen, day: int) -> None:
    """The night's training log joins what is known, unless the gate undid that night."""
    if task.config.arms[task.arm].kind in plan.REFERENCE_KINDS:  # it learns nothing; what it could have
        training = day_log(task.run, task.config, (plan.serving_arm(task.arm, day),), day)
    elif day in task.trained:
        learner = plan.learner_of(task.config, task.arm, day)
        training, _ = night_log(task.run, task.config, learner, day)
    else:
        return
    if len(training):
        seen.learn(training)


def explored(
    log: Log, codes: Mapping[str, Array], seen: Seen, release_day: Array, release_days: int, day: int
) -> dict[str, float | None]:
    """What the arm explored on a day, and the share of its acquisitions that it owes to which exceptions.

    Returns:
        `distinct_apps`, `entropy` (bits) and `new_release_share` of what was shown; `new_apps` and
        `new_pairs` (distinct) that nobody had shown before; `new_pair_share` of all pairs shown, those that
        production had not shown before the experiment; `known_rules` and `found_rules`, the shares of the
        acquisitions with an exception in favour whose pair production, or the arm itself, had shown first.
        None where pairs are not counted, or nothing was shown.
    """
    shown = log.requests.apps
    counts = np.bincount(shown.ravel())
    shares = counts[counts > 0] / max(shown.size, 1)
    acquired = int(log.labels.sum())
    new_apps, new_pairs, met, unknown = seen.show(log, day)
    paired = "learned" in codes

    def owed(code: int) -> float | None:
        if not paired or not acquired:
            return None
        return float(log.labels[codes["learned"] == code].sum()) / acquired

    return {
        "distinct_apps": float((counts > 0).sum()),
        "entropy": float(-(shares * np.log2(shares)).sum()) if shown.size else None,
        "new_release_share": float((day - release_day[shown] < release_days).mean()) if shown.size else None,
        "new_apps": float(new_apps),
        "new_pairs": float(new_pairs) if paired else None,
        "new_pair_share": unknown / met if met else None,
        "known_rules": owed(1),
        "found_rules": owed(2),
    }


def _sum(
    sums: dict[str, Array],
    columns: _Columns,
    log: Log,
    truth: Truth,
    codes: Mapping[str, Array],
    seen: Seen,
    decay: float,
) -> None:
    """Adds a day's impressions to the sums, and to the columns of the AUCs."""
    rows, _ = seen.rows(log.requests.user_id)
    odds = log.scores.astype(np.float64)
    examined = np.exp(-decay * log.positions.astype(np.float64))  # scores are of the top position
    predicted = examined / (1.0 + np.exp(-odds))
    for name, code in codes.items():
        _add(sums[name], rows, code, log.labels, truth.probabilities, predicted)
        columns.parts.setdefault(name, []).append(code.ravel())
    columns.score.append(auc.levels(odds).ravel())
    columns.label.append(log.labels.ravel())
    columns.chance.append(truth.probabilities.astype(np.float32).ravel())
    columns.user.append(np.repeat(rows.astype(np.int32), log.labels.shape[1]))


@njit(cache=True)
def _add(sums: Any, rows: Any, parts: Any, labels: Any, chances: Any, predicted: Any) -> None:
    """Adds [B, S] impressions to `sums` [parts, users, 4]; `rows` int64[B] are the users'."""
    for b in range(parts.shape[0]):
        for s in range(parts.shape[1]):
            cell = sums[parts[b, s], rows[b]]
            cell[0] += 1.0
            cell[1] += labels[b, s]
            cell[2] += chances[b, s]
            cell[3] += predicted[b, s]


def _concluded(
    arm: str, seen: Seen, sums: dict[str, Array], columns: _Columns, days: dict[int, dict[str, float | None]]
) -> ArmSlices:
    moments, aucs = {}, {}
    score, label = _joined(columns.score), _joined(columns.label)
    chance, user = _joined(columns.chance), _joined(columns.user)
    for name, found in sums.items():
        whole = found[..., 0].sum(axis=0)
        visited = whole > 0
        moments[name] = {
            ratio: Moments.from_users(top, bottom)
            for ratio, (top, bottom) in ratios(found[:, visited], whole[visited]).items()
        }
        code = _joined(columns.parts.get(name, []))
        aucs[name] = auc.by_part(score, label, chance, user, code, len(CUTS[name].parts))
    excess = _excess(sums["stale"]) if "stale" in sums else None
    return ArmSlices(arm, seen.counts_pairs, moments, aucs, excess, days)


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def _excess(stale: Array) -> tuple[float, float] | None:
    """How much more a gone exception in favour is over-predicted than no exception, and its standard error.

    Both are ratios of sums over the same users, so the variance is of the users' difference of linearised
    values. None where either has no impressions or there are fewer than two users.
    """
    from experiment.slices.cuts import STALE

    gone = [CUTS["stale"].parts.index(name) for name in STALE]
    sides = (stale[gone].sum(axis=0), stale[0])
    n = [side[:, 0].sum() for side in sides]
    users = int((stale[..., 0].sum(axis=0) > 0).sum())
    if min(n) == 0 or users < 2:
        return None
    over = [float((side[:, 3] - side[:, 2]).sum()) / count for side, count in zip(sides, n, strict=True)]
    parts = [
        (side[:, 3] - side[:, 2] - value * side[:, 0]) / count
        for side, value, count in zip(sides, over, n, strict=True)
    ]
    variance = float(((parts[0] - parts[1]) ** 2).sum()) * users / (users - 1)
    return over[0] - over[1], variance**0.5
