"""A run's results as the document of report.json, whatever state the run is in.

A finished run has its report. For one that is not, or for another level or control than it was planned with,
the same document is built from the finished days by the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboard import diaries, measures
from dashboard.measures import Source
from dashboard.reading import Document, Key, Run
from experiment.errors import BadInput
from experiment.folder.rundir import CONFIG
from experiment.reporting.text import level

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
        alpha: another level than the run's own; see `as_asked` for runs whose data do not give it.
        control: another control than the run's own.
    """
    own = run.report
    if own is not None and as_asked(own, alpha, control):
        return own
    try:
        return _rebuilt(run, alpha, control) or own
    except (BadInput, KeyError, ValueError, OSError):
        return own


def as_asked(results: Document, alpha: float | None, control: str | None) -> bool:
    """Whether the results are of that level and control; None stands for the run's own."""
    same_alpha = alpha is None or abs(alpha - float(results["run"].get("alpha", 0.05))) < 1e-9
    return same_alpha and control in (None, results["run"].get("control"))


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


def readable_ci(c: Mapping[str, Any], results: Document) -> tuple[float, float] | None:
    """A comparison's interval; before the planned end the always-valid one."""
    return always_valid_ci(c) if early(results) else pair(c["ci"])


def always_valid_ci(c: Mapping[str, Any]) -> tuple[float, float] | None:
    """The always-valid interval of the lift so far, which may change; older reports have the running one."""
    return pair(c.get("always_valid_look_ci") or c["always_valid_ci"])


def pair(ends: Sequence[float] | None) -> tuple[float, float] | None:
    """The ends of an interval; None where it is undefined."""
    return None if ends is None else (float(ends[0]), float(ends[1]))


def deciding_p(c: Mapping[str, Any], results: Document) -> float | None:
    """The p-value that decides a comparison; before the planned end the one that may be read on any day."""
    always: float | None = c.get("always_valid_p_adjusted", c.get("always_valid_p"))
    at_the_end: float | None = c.get("p_adjusted")
    return always if early(results) else at_the_end


def readable_kind(results: Document) -> str:
    """Which interval `readable_ci` is, with its level: `95% interval`, `always-valid 95% interval`."""
    return f"{'always-valid ' if early(results) else ''}{level(results['run'])} interval"


_CACHE = 32


def _rebuilt(run: Run, alpha: float | None, control: str | None) -> Document | None:
    if run.day < 1:
        return None
    stopped = run.report["run"].get("stopped") if run.report else NOT_FINISHED
    built = _built(run.key, measures.source(run), stopped, alpha, control)
    if built is None:
        return None
    return _with_entries(built, diaries.entries(run)) if run.report is None else _merged(run.report, built)


@lru_cache(maxsize=_CACHE)
def _built(
    key: Key, source: Source, stopped: str | None, alpha: float | None, control: str | None
) -> Document | None:
    from experiment.reporting import report

    inputs = _inputs(key, source, alpha, control)
    if inputs is None:
        return None
    config, results = inputs
    return report.build(config, results, key.days, [], {}, stopped).document


def looks(run: Run, alpha: float | None = None, control: str | None = None) -> Sequence[Look]:
    """The comparisons as they stood after each day; none where the run's data do not give them."""
    if run.day < 1:
        return ()
    try:
        return _looks(run.key, measures.source(run), alpha, control)
    except (BadInput, KeyError, ValueError, OSError):
        return ()


@lru_cache(maxsize=_CACHE)
def _looks(key: Key, source: Source, alpha: float | None, control: str | None) -> Sequence[Look]:
    from experiment.reporting import report

    inputs = _inputs(key, source, alpha, control)
    if inputs is None:
        return ()
    config, results = inputs
    return report.analyse(config, results, key.days).days


def _inputs(
    key: Key, source: Source, alpha: float | None, control: str | None
) -> tuple[Config, list[ArmResult]] | None:
    from experiment import config as configuration
    from experiment.assignment import layer_of
    from experiment.reporting.report import ArmResult

    config = configuration.parse((Path(key.path) / CONFIG).read_text("utf-8"))
    changed = {name: value for name, value in (("alpha", alpha), ("control", control)) if value is not None}
    if changed:
        config = config.model_copy(update={"experiment": config.experiment.model_copy(update=changed)})
    known = measures.groups(source)
    if not set(config.arms) <= set(known):
        return None
    layer = layer_of(config)
    return config, [ArmResult(arm, layer.size(arm), known[arm].window, known[arm].pre) for arm in config.arms]


def _merged(own: Document, built: Document) -> Document:
    """The run's own document with the comparisons of another level or control."""
    run = {**own["run"], "alpha": built["run"]["alpha"], "control": built["run"]["control"]}
    comparisons = [
        {**c, **{name: v for name, v in known_lifts(own, c["arm"], c["control"]).items() if v is not None}}
        for c in built["comparisons"]
    ]
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


def _with_entries(built: Document, entries: Sequence[tuple[int, Document]]) -> Document:
    """The document with the gate's verdicts and the quality that the days noted."""
    qualities = {day: entry.get("quality", {}) for day, entry in entries}
    days = [
        {
            **day,
            "arms": {
                arm: {**found, "quality": qualities.get(day["day"], {}).get(arm)}
                for arm, found in day["arms"].items()
            },
        }
        for day in built["days"]
    ]
    gate = [
        {"day": day, "arm": arm, **verdict}
        for day, entry in entries
        for arm, verdict in entry.get("verdicts", {}).items()
    ]
    refusals = sum(not one.get("accepted", True) for one in gate)
    return {**built, "days": days, "gate": gate, "health": {**built["health"], "gate_refusals": refusals}}
