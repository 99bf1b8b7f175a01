"""The settings that the page 'Start' offers, each with its meaning in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

PRESETS = {
    "tiny": "Seconds; too small to decide anything. For a first look.",
    "quick": "About a minute; a week, three arms of 10,000 users.",
    "standard": "Minutes; three weeks at the size of quick.",
    "paper": "A quarter of an hour and more; three weeks, 50,000 users in each arm, as in the paper.",
    "planet": "Five minutes and 8 GB of memory; a billion users, a million apps.",
    "aa": "All arms serve one and the same model: the true effect is 0.",
}


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting.

    Attributes:
        path: in the configuration. name: for people. meaning: a sentence. step, format: of its field.
    """

    path: str
    name: str
    meaning: str
    step: float | int
    format: str

    def fitted(self, value: float) -> Knob:
        """The knob with a step and a format for a preset's `value`, which may be far below the step."""
        if not 0 < value < self.step or float(self.format % value) == value:
            return self
        digits = 1 - math.floor(math.log10(value))
        return replace(self, step=10.0**-digits, format=f"%.{digits}f")


KNOBS = (
    Knob(
        "world.apps",
        "Apps in the store",
        "More apps starve what memorises pairs: fewer impressions for each.",
        1000,
        "%d",
    ),
    Knob(
        "world.drift",
        "Drift of the exceptions per day",
        "Share of the memorisable rules that are redrawn each day: memories go stale.",
        0.01,
        "%.3f",
    ),
    Knob(
        "world.exception_weight",
        "Weight of the exceptions",
        "How much an installed companion changes the chance of an app: what only memorising finds.",
        0.1,
        "%.2f",
    ),
    Knob(
        "world.taste_sd",
        "Spread of smooth taste",
        "How much users differ in what suits them: what generalising finds.",
        0.05,
        "%.2f",
    ),
    Knob("world.turnover", "New apps", "Share of the apps that are released during the run.", 0.05, "%.2f"),
    Knob(
        "world.propensity_sd",
        "Spread of who installs at all",
        "Moves AUC, and nothing that a ranker could do.",
        0.1,
        "%.2f",
    ),
    Knob(
        "experiment.bucket_share",
        "Share of users per arm",
        "More users, narrower intervals, longer runs.",
        0.005,
        "%.3f",
    ),
    Knob(
        "experiment.pre_days",
        "Days before the start",
        "Production's log, from which all arms learn first; more of it favours what generalises.",
        1,
        "%d",
    ),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A preset's configuration.

    Attributes:
        arms: names. data: all settings, as plain data.
    """

    arms: tuple[str, ...]
    data: Mapping[str, Any]

    def value(self, path: str) -> Any:
        """A setting by its dotted path."""
        found: Any = self.data
        for key in path.split("."):
            found = found[key]
        return found


@lru_cache(maxsize=16)
def of_preset(preset: str) -> Shape:
    """The configuration of `preset` as it stands."""
    from experiment.loading import load

    config = load(preset)
    return Shape(tuple(config.arms), config.model_dump(mode="json"))
