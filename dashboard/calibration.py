"""How the statistics did against the truth: `calibration.json` by view, comparison and method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiment.calibration.names import METHOD_NAMES
from experiment.words import arm_name

VIEWS = {
    "super_population": "Users drawn anew",
    "finite_population": "The same users, assigned anew",
}


@dataclass(frozen=True, slots=True)
class Method:
    """What one method did over the replays; undefined is None.

    Attributes:
        name: for people. naive: known to be wrong, shown to say why.
        false_positives: share of A/A replays rejected. coverage: of the intervals. power: at the true lift.
        width: mean width of the intervals.
    """

    name: str
    naive: bool
    false_positives: float | None
    coverage: float | None
    power: float | None
    width: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison in one view.

    Attributes:
        pair: in words. methods: in order. p_values, naive_p_values: A/A replays by p, equal bins of [0, 1].
        true_lift: of the comparison.
    """

    pair: str
    methods: list[Method]
    p_values: list[float]
    naive_p_values: list[float]
    true_lift: float | None


def views(document: Mapping[str, Any]) -> dict[str, list[Judged]]:
    """The comparisons by view, in words; empty for a document of another kind."""
    found = document.get("views")
    if not isinstance(found, Mapping):
        return {}
    return {
        VIEWS.get(str(view), str(view)): [_judged(one) for one in of.get("comparisons", [])]
        for view, of in found.items()
        if isinstance(of, Mapping)
    }


def _called(method: str) -> str:
    name = METHOD_NAMES.get(method, method)
    return f"naive: {name}" if method.startswith("naive") else name


def _judged(one: Mapping[str, Any]) -> Judged:
    methods = one.get("methods", {})
    return Judged(
        pair=f"{arm_name(str(one.get('arm')))} against {arm_name(str(one.get('control')))}",
        methods=[
            Method(
                _called(name),
                name.startswith("naive"),
                of.get("false_positive_rate"),
                of.get("coverage"),
                of.get("power"),
                of.get("interval_width"),
            )
            for name, of in methods.items()
        ],
        p_values=list(one.get("p_value_histogram") or []),
        naive_p_values=list(one.get("p_value_histogram_naive") or []),
        true_lift=one.get("true_lift"),
    )
