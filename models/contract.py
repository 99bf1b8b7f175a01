"""What every ranker keeps to, as one list of checks: of the kinds that ship, and of a class of one's own.

A check is a name, a sentence and a function that raises `BrokenError` where the sentence does not hold. The
tests and `storelift check` run the same list. Each sentence is something the experiment relies on: that
shards and batches never show in a result, that a run goes on after a stop, that a refused model stays away.
"""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import registry
from simulator.schema import AppTable, Cardinalities, Log, PublishedRanker, Requests, TrainableRanker

Array = NDArray[Any]

SHAPES = ((1, 100), (1, 1), (3, 7), (127, 100), (13, 99))
"""Calls (B, C) that are parts of the first request block."""


class BrokenError(Exception):
    """A ranker does not keep to its contract; the message says what was got and what is allowed."""


@dataclass(frozen=True, slots=True)
class Material:
    """A small made store to put a ranker through.

    Attributes:
        apps, cardinalities: of the store.
        log: of the days 1, 2 and 3, with labels of both kinds on each.
        block, others: two blocks of requests with candidates, of one shape, at least 128 x 100.
    """

    apps: AppTable
    cardinalities: Cardinalities
    log: Log
    block: Requests
    others: Requests

    def days(self, first: int, last: int) -> Log:
        """The log of the days first .. last."""
        day = self.log.requests.sim_day
        return self.log.take((day >= first) & (day <= last))


class Subject:
    """A kind of ranker with its settings, put before the checks.

    Attributes:
        kind: a name of `registry.kinds`, or `module:Class`.
        material: what it is tried on.
    """

    def __init__(self, kind: str, settings: Any, material: Material) -> None:
        self.kind, self.settings, self.material = kind, settings, material

    def make(self, key: int = 7) -> TrainableRanker:
        """A fresh ranker."""
        m = self.material
        return registry.create(self.kind, m.apps, m.cardinalities, self.settings, key)

    @cached_property
    def fitted(self) -> TrainableRanker:
        """One that has learned the whole log with key 11; nobody may fit it further."""
        ranker = self.make()
        ranker.fit(self.material.log, 11)
        return ranker

    @cached_property
    def published(self) -> PublishedRanker:
        """Its serving form."""
        return self.fitted.publish()

    @cached_property
    def scores(self) -> Array:
        """Of the published form, for the block."""
        return self.published.score(self.material.block)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the contract.

    Attributes:
        name: short. sentence: what holds. hold: raises where it does not.
    """

    name: str
    sentence: str
    hold: Callable[[Subject], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found.

    Attributes:
        name, sentence: of the check. passed: whether it holds. reason: why not, in one line.
    """

    name: str
    sentence: str
    passed: bool
    reason: str | None = None


CHECKS: list[Check] = []
"""The contract, in the order in which it is read."""


def _check(name: str, sentence: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    def add(hold: Callable[[Subject], None]) -> Callable[[Subject], None]:
        CHECKS.append(Check(name, sentence, hold))
        return hold

    return add


def examine(subject: Subject, tell: Callable[[int, int], object] | None = None) -> list[Outcome]:
    """Every check's outcome; whatever a ranker raises is a failure of the check.

    Args:
        subject: to be checked. tell: is told how many checks of how many are done.
    """
    outcomes = []
    for check in CHECKS:
        try:
            check.hold(subject)
        except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
            reason = str(error) if isinstance(error, BrokenError) else f"{type(error).__name__}: {error}"
            outcomes.append(Outcome(check.name, check.sentence, False, " ".join(reason.split())))
        else:
            outcomes.append(Outcome(check.name, check.sentence, True))
        if tell is not None:
            tell(len(outcomes), len(CHECKS))
    return outcomes


def same(a: Array, b: Array) -> bool:
    """Equal bit for bit, type and shape included."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _equal(what: str, got: Array, wanted: Array) -> None:
    if same(got, wanted):
        return
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise BrokenError(
            f"{what}: got {got.dtype}{list(got.shape)}, allowed: {wanted.dtype}{list(wanted.shape)}"
        )
    apart = int((got != wanted).sum())
    widest = float(np.abs(got.astype(np.float64) - wanted).max())
    raise BrokenError(
        f"{what}: got {apart} of {got.size} scores that differ, by up to {widest:.2g}, "
        "allowed: the same scores bit for bit"
    )


def _finite(scores: Array, shape: tuple[int, ...]) -> None:
    if not isinstance(scores, np.ndarray) or scores.dtype != np.float32 or scores.shape != shape:
        got = f"{scores.dtype}{list(scores.shape)}" if isinstance(scores, np.ndarray) else type(scores)
        raise BrokenError(f"scores: got {got}, allowed: float32{list(shape)}")
    broken = int((~np.isfinite(scores)).sum())
    if broken:
        raise BrokenError(f"scores: got {broken} of {scores.size} that are not finite, allowed: none")


@_check(
    "protocol", "It can fit, score, publish, save and load, and so can what it publishes but for fitting."
)
def _protocol(subject: Subject) -> None:
    for name, value, protocol in (
        (subject.kind, subject.make(), TrainableRanker),
        ("publish()", subject.published, PublishedRanker),
    ):
        lacks = [part for part in _methods(protocol) if not callable(getattr(value, part, None))]
        if lacks:
            raise BrokenError(
                f"{name}: got a class without {', '.join(lacks)}, allowed: a {protocol.__name__}"
            )


def _methods(protocol: type[Any]) -> tuple[str, ...]:
    names = ("score", "save", "load")
    return (*names, "fit", "publish") if protocol is TrainableRanker else names


@_check("finite scores", "Scores are finite float32 of shape [requests, candidates].")
def _finite_scores(subject: Subject) -> None:
    _finite(subject.fitted.score(subject.material.block), subject.material.block.apps.shape)


@_check("inputs unchanged", "Neither fitting nor scoring changes what it is given.")
def _inputs(subject: Subject) -> None:
    log = subject.material.log
    before = {name: column.copy() for name, column in _columns(log)}
    ranker = subject.make()
    ranker.fit(log, 1)
    ranker.score(log.requests)
    for name, column in _columns(log):
        if not same(before[name], column):
            raise BrokenError(f"{name}: got a changed column, allowed: as it was")


def _columns(record: Any, above: str = "log") -> Iterator[tuple[str, Array]]:
    for name, value in record.arrays().items():
        if hasattr(value, "arrays"):
            yield from _columns(value, f"{above}.{name}")
        else:
            yield f"{above}.{name}", value


@_check("order-free", "A score does not depend on the request's place in the call, nor on the candidate's.")
def _order(subject: Subject) -> None:
    block, rng = subject.material.block, np.random.default_rng(0)
    B, C = block.apps.shape
    for _ in range(3):
        rows, places = rng.permutation(B), rng.permutation(C)
        _equal("requests in another order", subject.published.score(block.take(rows)), subject.scores[rows])
        moved = dataclasses.replace(block, apps=np.ascontiguousarray(block.apps[:, places]))
        _equal("candidates in another order", subject.published.score(moved), subject.scores[:, places])


@_check("neighbour-free", "A score does not depend on the other requests of the call.")
def _neighbours(subject: Subject) -> None:
    block, others = subject.material.block, subject.material.others
    for row in (0, 1, 63, len(block) - 1):
        own = slice(row, row + 1)
        parts = [others.take(slice(0, row)), block.take(own), others.take(slice(row + 1, len(block)))]
        mixed = Requests.concatenate(parts)
        _equal("among other requests", subject.published.score(mixed)[row], subject.scores[row])


@_check("shape-free", "A score does not depend on how many requests and candidates are scored in one call.")
def _shape(subject: Subject) -> None:
    block = subject.material.block
    for rows, width in SHAPES:
        part = dataclasses.replace(block.take(slice(0, rows)), apps=block.apps[:rows, :width])
        wanted = np.ascontiguousarray(subject.scores[:rows, :width])
        _equal(f"{rows} requests of {width} candidates", subject.published.score(part), wanted)


@_check("empty batch", "No requests, no candidates and no installed apps are fine.")
def _empty(subject: Subject) -> None:
    block = subject.material.block
    for rows, width, slots in ((0, 10, 4), (5, 0, 4), (5, 10, 0)):
        part = dataclasses.replace(
            block.take(slice(0, rows)),
            apps=block.apps[:rows, :width],
            installed=block.installed[:rows, :slots],
        )
        _finite(subject.fitted.score(part), (rows, width))


@_check("unfitted", "It scores before it has learned anything.")
def _unfitted(subject: Subject) -> None:
    _finite(subject.make().score(subject.material.block), subject.material.block.apps.shape)


@_check("empty log", "A log without rows teaches nothing.")
def _empty_log(subject: Subject) -> None:
    ranker = subject.make()
    ranker.fit(subject.material.log.take(slice(0, 0)), 1)
    ranker.fit(subject.material.log, 11)
    _equal("after an empty log", ranker.publish().score(subject.material.block), subject.scores)


@_check("one row", "A log of one request can be learned.")
def _one_row(subject: Subject) -> None:
    log = subject.material.log
    ranker = subject.make()
    ranker.fit(log.take(slice(0, 1)), 1)
    _finite(ranker.score(log.requests), log.labels.shape)


@_check("unseen ids", "Apps and users that no log has shown have finite scores.")
def _unseen(subject: Subject) -> None:
    few = subject.material.days(1, 1).take(slice(0, 8))
    ranker = subject.make()
    ranker.fit(few, 1)
    every = np.arange(len(subject.material.apps), dtype=np.int32)[None]
    request = dataclasses.replace(few.requests.take(slice(0, 1)), apps=every, user_id=np.array([2**62]))
    _finite(ranker.score(request), every.shape)


@_check("deterministic", "The same key and log give the same scores.")
def _deterministic(subject: Subject) -> None:
    ranker = subject.make()
    ranker.fit(subject.material.log, 11)
    _equal("fitted twice", ranker.publish().score(subject.material.block), subject.scores)


@_check(
    "warm start", "Fitting day after day is fitting all of the days at once; scoring in between is nothing."
)
def _warm(subject: Subject) -> None:
    ranker = subject.make()
    ranker.fit(subject.material.days(1, 2), 11)
    ranker.score(subject.material.block)
    ranker.fit(subject.material.days(3, 3), 11)
    _equal("fitted in two nights", ranker.publish().score(subject.material.block), subject.scores)


@_check("save and load", "A saved ranker goes on as if it had never left memory; no pickle is written.")
def _save(subject: Subject) -> None:
    block = subject.material.block
    ranker = subject.make()
    ranker.fit(subject.material.days(1, 2), 11)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ranker.save(folder)
        _files(folder)
        loaded = registry.load(folder, subject.material.apps)
    if type(loaded) is not type(ranker):
        raise BrokenError(f"kind in meta.json: got one of {type(loaded).__name__}, allowed: {subject.kind!r}")
    _equal("loaded", loaded.score(block), ranker.score(block))
    loaded.fit(subject.material.days(3, 3), 11)
    _equal("loaded and fitted further", loaded.publish().score(block), subject.scores)


def _files(folder: Path) -> None:
    wrong = sorted(
        f.name for f in folder.rglob("*") if f.is_file() and f.suffix not in (".json", ".safetensors")
    )
    if wrong:
        raise BrokenError(f"files: got {', '.join(wrong)}, allowed: .json and .safetensors")


@_check("published form", "What it publishes scores alike, and alike again after a round trip to the disk.")
def _published(subject: Subject) -> None:
    block = subject.material.block
    _equal("published", subject.scores, subject.fitted.score(block))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject.published.save(folder)
        _files(folder)
        loaded = registry.load_published(folder, subject.material.apps)
        _equal("published and loaded", loaded.score(block), subject.scores)


@_check("published stays", "Fitting on does not change what was published before.")
def _stays(subject: Subject) -> None:
    ranker = subject.make()
    ranker.fit(subject.material.days(1, 1), 1)
    published = ranker.publish()
    before = published.score(subject.material.block)
    ranker.fit(subject.material.days(2, 3), 1)
    _equal("after fitting on", published.score(subject.material.block), before)


@_check("threads", "Threads may share what was published.")
def _threads(subject: Subject) -> None:
    found: list[Array] = []
    wanted = subject.scores

    def score() -> None:
        found.extend(subject.published.score(subject.material.block) for _ in range(3))

    threads = [threading.Thread(target=score) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) != 9:
        raise BrokenError(f"threads: got {len(found)} answers of 9, allowed: all")
    for scores in found:
        _equal("from a thread", scores, wanted)


@_check("extreme inputs", "Days at the ends of int32, labels all 0 or all 1, and full shelves give no NaN.")
def _extreme(subject: Subject) -> None:
    first = subject.material.days(1, 1)
    limits = np.iinfo(np.int32)
    installed = np.tile(np.arange(60, dtype=np.int32), (len(first), 1))
    installed[:, 1::2] = 3  # the same app again and again
    extreme = Log.concatenate(
        [
            dataclasses.replace(
                first,
                labels=np.full_like(first.labels, label),
                positions=np.full_like(first.positions, 127),
                requests=dataclasses.replace(
                    first.requests, sim_day=np.full(len(first), day, np.int32), installed=installed
                ),
            )
            for day, label in ((limits.min, 0), (0, 1), (limits.max, 1))
        ]
    )
    ranker = subject.make()
    for key in range(3):
        ranker.fit(extreme, key)
    _finite(ranker.score(extreme.requests), extreme.labels.shape)
    _finite(ranker.publish().score(subject.material.others), subject.material.others.apps.shape)
