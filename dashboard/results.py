"""A run's results as the document of report.json, whatever state the run is in.

A finished run has its report. For one that is not, or for another level or control than it was planned with,
the same document is built from the finished days by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dashboard import diaries, measures
from dashboard.reading import Document, Run
from experiment.errors import BadInput

if TYPE_CHECKING:
    from experiment.config import Config
    from experiment.reporting.report import ArmResult
    from experiment.stats.results import Look

NOT_FINISHED = "not finished"
"""What `run.stopped` says of a run that is not at its end: only always-valid figures may be read."""


def document(run: Run, alpha: float | None = None, control: str | None = None) -> Document | None:
    """The results of `run`; None while there are none.

    Args:
        run: in any state.
        alpha: another level than the run's own.
        control: another control than the run's own.
    """
    own = run.report
    if own is not None:
        same_alpha = alpha is None or abs(alpha - float(own["run"].get("alpha", 0.05))) < 1e-9
        if same_alpha and control in (None, own["run"].get("control")):
            return own
    try:
        return _rebuilt(run, alpha, control)
    except (BadInput, KeyError, ValueError, OSError):
        return own


def early(results: Document) -> bool:
    """Whether the run is not at its planned end: then only always-valid figures decide."""
    return bool(results["run"].get("stopped"))


def provisional(results: Document) -> bool:
    """Whether the results are of a run that is not at its end."""
    return bool(results["run"].get("stopped") == NOT_FINISHED)


def pairs(results: Document) -> list[tuple[str, str]]:
    """(arm, control) of each comparison."""
    return [(c["arm"], c["control"]) for c in results["comparisons"]]


def against_control(results: Document) -> list[dict[str, Any]]:
    """The comparisons with the control."""
    control = results["run"]["control"]
    return [c for c in results["comparisons"] if c["control"] == control]


def readable_ci(c: dict[str, Any], results: Document) -> tuple[float, float] | None:
    """A comparison's interval; before the planned end the always-valid one."""
    ends = c["always_valid_ci" if early(results) else "ci"]
    return None if ends is None else (float(ends[0]), float(ends[1]))


_CACHE = 32


def _rebuilt(run: Run, alpha: float | None, control: str | None) -> Document | None:
    if run.day < 1:
        return None
    return _built(run.key, _Hidden(run), alpha, control)


class _Hidden:
    """Hands an object through a cache without being part of the key."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=_CACHE)
def _built(_: object, hidden: _Hidden, alpha: float | None, control: str | None) -> Document | None:
    from experiment.reporting import report

    run = hidden.run
    inputs = _inputs(run, alpha, control)
    if inputs is None:
        return None
    config, results = inputs
    stopped = run.report["run"].get("stopped") if run.report else NOT_FINISHED
    built = report.build(config, results, measures.days(run), [], {}, stopped).document
    if run.report is not None:
        return _merged(run.report, built)
    return _with_entries(built, diaries.entries(run))


def looks(run: Run, alpha: float | None = None, control: str | None = None) -> Sequence[Look]:
    """The comparisons as they stood after each day; none where the run's data do not give them."""
    if run.day < 1:
        return ()
    try:
        return _looks(run.key, _Hidden(run), alpha, control)
    except (BadInput, KeyError, ValueError, OSError):
        return ()


@lru_cache(maxsize=_CACHE)
def _looks(_: object, hidden: _Hidden, alpha: float | None, control: str | None) -> Sequence[Look]:
    from experiment.reporting import report

    inputs = _inputs(hidden.run, alpha, control)
    if inputs is None:
        return ()
    config, results = inputs
    return report.analyse(config, results, measures.days(hidden.run)).days


def _inputs(run: Run, alpha: float | None, control: str | None) -> tuple[Config, list[ArmResult]] | None:
    from experiment import config as configuration
    from experiment.assignment import layer_of
    from experiment.reporting.report import ArmResult

    config = configuration.parse((run.path / "config.toml").read_text("utf-8"))
    changed = {name: value for name, value in (("alpha", alpha), ("control", control)) if value is not None}
    if changed:
        config = config.model_copy(update={"experiment": config.experiment.model_copy(update=changed)})
    known = measures.arms(run)
    if set(known) != set(config.arms):
        return None
    layer = layer_of(config)
    return config, [ArmResult(arm, layer.size(arm), known[arm].window, known[arm].pre) for arm in config.arms]


def _merged(own: Document, built: Document) -> Document:
    """The run's own document with the comparisons of another level or control."""
    run = {**own["run"], "alpha": built["run"]["alpha"], "control": built["run"]["control"]}
    comparisons = [{**c, **known_lifts(own, c["arm"], c["control"])} for c in built["comparisons"]]
    looks = {day["day"]: day["comparisons"] for day in built["days"]}
    days = [{**day, "comparisons": looks.get(day["day"], [])} for day in own.get("days", [])]
    judged = {name: built[name] for name in ("verdict", "guardrails") if name in built}
    return {**own, "run": run, "comparisons": comparisons, "days": days, **judged}


def known_lifts(own: Document, arm: str, control: str) -> dict[str, float | None]:
    """The true and the expected lift of a pair, which the report may hold the other way round."""
    names = ("true_lift", "expected_lift")
    for c in own["comparisons"]:
        if (c["arm"], c["control"]) == (arm, control):
            return {name: c.get(name) for name in names}
        if (c["arm"], c["control"]) == (control, arm):
            lifts = {name: c.get(name) for name in names}
            return {
                name: None if lift is None or lift <= -1 else 1 / (1 + lift) - 1
                for name, lift in lifts.items()
            }
    return dict.fromkeys(names)


def _with_entries(built: dict[str, Any], entries: Sequence[tuple[int, Document]]) -> Document:
    """The document with the gate's verdicts and the quality that the days noted."""
    qualities = {day: entry.get("quality", {}) for day, entry in entries}
    for day in built["days"]:
        for arm, found in day["arms"].items():
            found["quality"] = qualities.get(day["day"], {}).get(arm)
    built["gate"] = [
        {"day": day, "arm": arm, **verdict}
        for day, entry in entries
        for arm, verdict in entry.get("verdicts", {}).items()
    ]
    built["health"]["gate_refusals"] = sum(not one.get("accepted", True) for one in built["gate"])
    return built
