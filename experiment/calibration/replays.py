"""A range of drawn experiments, as a task: draw, sum, and ask every method, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from experiment.calibration.draws import BLOCK, Population, draw, group_sums
from experiment.calibration.methods import Answers, Drawn, answers
from experiment.stats.results import Plan
from experiment.truth.potential import Potential, users_path
from simulator.schema import Array

Pair = tuple[str, str]
"""Arm and control."""


@dataclass(frozen=True, slots=True)
class DrawTask:
    """Experiments `start` .. `stop` - 1 of one view.

    Attributes:
        run: where the potential outcomes are. view: one of `calibration_draws.VIEWS`. seed: of the draws.
        pairs: the comparisons. planned: fixes the always-valid boundary. alpha: of tests and intervals.
        block: experiments drawn at a time; no result depends on it.
    """

    run: Path
    view: str
    seed: int
    start: int
    stop: int
    pairs: tuple[Pair, ...]
    planned: Plan
    alpha: float
    block: int = BLOCK


@dataclass(frozen=True, slots=True, eq=False)
class Replays:
    """What one method said of a pair's experiments; all arrays are [R], by experiment.

    Attributes:
        estimate: of the lift. truth: which its interval should hold. width: of the interval.
        covered: bool. rejected: bool.
        rejected_null: bool, of the A/A experiment: the same users, both groups under the control's outcomes.
        p_null: the p-value of the A/A experiment.
    """

    estimate: Array
    truth: Array
    width: Array
    covered: Array
    rejected: Array
    rejected_null: Array
    p_null: Array

    @classmethod
    def of(cls, said: Answers, null: Answers) -> Replays:
        """From the answers on a pair's outcomes and on A/A outcomes."""
        width = said.upper - said.lower
        return cls(said.estimate, said.truth, width, said.covered, said.rejected, null.rejected, null.p_value)


def draw_and_ask(task: DrawTask) -> dict[tuple[Pair, str], Replays]:
    """Every method's answers on the task's experiments, by pair and method."""
    return ask(population_of(task.run), task)


def ask(population: Population, task: DrawTask) -> dict[tuple[Pair, str], Replays]:
    """The same, of a population at hand."""
    sums = _sums(population, task)
    found = {}
    for arm, control in task.pairs:
        t, c = population.arms.index(arm), population.arms.index(control)
        said = answers(_drawn(population, sums, t, c, under=t), task.planned, task.alpha)
        null = answers(_drawn(population, sums, t, c, under=c), task.planned, task.alpha)
        for method, one in said.items():
            found[(arm, control), method] = Replays.of(one, null[method])
    return found


def population_of(run: Path) -> Population:
    """The population of a run's potential outcomes, read once per process."""
    return _population(run, users_path(run).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _population(run: Path, _: int) -> Population:
    return Population.of(Potential.read(run))


def _sums(population: Population, task: DrawTask) -> list[Array]:
    """int64[R, C] for each arm's group, of the outcomes that its pairs need."""
    arms = population.arms
    needed: list[set[int]] = [set() for _ in arms]
    for arm, control in task.pairs:
        needed[arms.index(arm)] |= {arms.index(arm), arms.index(control)}
        needed[arms.index(control)].add(arms.index(control))
    parts: list[list[Array]] = [[] for _ in arms]
    for start in range(task.start, task.stop, task.block):
        replays = range(start, min(start + task.block, task.stop))
        weights = draw(population, task.view, task.seed, replays)
        for group, outcomes in enumerate(needed):
            if outcomes:
                parts[group].append(group_sums(population, weights, group, tuple(outcomes)))
    return [np.concatenate(part) if part else np.zeros(0, np.int64) for part in parts]


def _drawn(population: Population, sums: list[Array], treatment: int, control: int, *, under: int) -> Drawn:
    """The pair's experiments with the treatment's group `under` an arm: its own, or for A/A the control."""
    lifts = population.true_rates(under) / population.true_rates(control) - 1.0
    return Drawn(
        control=population.looks_of(sums[control], control),
        treatment=population.looks_of(sums[treatment], under),
        control_last=population.last_of(sums[control], control),
        treatment_last=population.last_of(sums[treatment], under),
        truth=lifts,
    )
