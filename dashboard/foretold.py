"""What production's log foretold of each arm: `metrics/offpolicy.json` as a forest and rows."""

from __future__ import annotations

from typing import Any

from dashboard import slices
from dashboard.forests import Leaf
from dashboard.reading import Document, Run
from experiment.offpolicy.command import OFFPOLICY
from experiment.study.predictors import PREDICTORS
from experiment.words import DASH, arm_name, interval, number, percent

PREFIX = "offpolicy_"
ESTIMATORS = {
    name.removeprefix(PREFIX): words for name, words in PREDICTORS.items() if name.startswith(PREFIX)
}
"""By their names in the document."""

HEAD = (
    "Arm",
    "Offline AUC",
    "Per-request AUC",
    "Log loss",
    "True lift, that day",
    "Nearest estimate",
    "Lift",
)


def found(run: Run) -> Document | None:
    """The run's off-policy document; None where it has not been worked out, or is not what was written."""
    return slices.trusted(run, OFFPOLICY)


def leaves(document: Document) -> list[Leaf]:
    """A leaf per estimator and arm, with the true lift of the same models beside."""
    return [
        Leaf(
            label=words,
            arm=str(one["arm"]),
            value=_estimate(one, name)[0],
            ci=_estimate(one, name)[1],
            sure=_holds(one, name),
            truth=one["expected_lift"],
        )
        for one in document["comparisons"]
        for name, words in ESTIMATORS.items()
    ]


def rows(document: Document) -> list[list[str]]:
    """A row per arm, the control first: offline figures, true lift, the estimate that came nearest."""
    beside = {str(one["arm"]): one for one in document["comparisons"]}
    made = []
    for arm in sorted(document["arms"], key=lambda arm: arm in beside):
        own, one = document["arms"][arm], beside.get(arm)
        figures = [number(own[name], 4) for name in ("offline_auc", "gauc", "log_loss")]
        made.append([arm_name(arm), *figures, *([DASH] * 3 if one is None else _nearest(one))])
    return made


def _nearest(one: dict[str, Any]) -> list[str]:
    true = one["expected_lift"]
    known = [name for name in ESTIMATORS if _estimate(one, name)[0] is not None]
    if true is None or not known:
        return [percent(true), DASH, DASH]
    best = min(known, key=lambda name: abs((_estimate(one, name)[0] or 0.0) - true))
    value, ci = _estimate(one, best)
    return [percent(true), ESTIMATORS[best], f"{percent(value)} ({interval(ci)})"]


def _estimate(one: dict[str, Any], name: str) -> tuple[float | None, tuple[float, float] | None]:
    own = one["estimates"].get(name) or {}
    ci = own.get("ci")
    return own.get("lift"), None if ci is None or None in ci else (float(ci[0]), float(ci[1]))


def _holds(one: dict[str, Any], name: str) -> bool:
    """Whether the estimate's interval holds the truth."""
    ci, true = _estimate(one, name)[1], one["expected_lift"]
    return ci is not None and true is not None and ci[0] <= true <= ci[1]
