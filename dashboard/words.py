"""What a result says, in sentences: the verdict with its reason, the health, and intervals in words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard import diaries
from dashboard import results as outcome
from dashboard.metric_list import METRICS
from dashboard.reading import STATES, Document, Run
from experiment.reporting.text import STATUS_WORDS, power_note
from experiment.words import arm_name, duration, interval, p_value, percent

Comparison = Mapping[str, Any]

GOOD, BAD, OPEN, ALARM = "good", "bad", "open", "alarm"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a run.

    Attributes:
        tone: good, bad, open or alarm. headline: one sentence.
        evidence: a sentence per arm. note: what would change it, or how it may be read.
    """

    tone: str
    headline: str
    evidence: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One look at a run's health.

    Attributes:
        good: nothing to see. words: in short. detail: the numbers behind it.
        harmless: not good, but no reason to doubt the result.
    """

    good: bool
    words: str
    detail: str = ""
    harmless: bool = False


def is_p(p: float | None) -> str:
    """`p = .012`, `p <.0001`."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def decisive(c: Comparison, results: Document) -> bool:
    """Whether a comparison decides at the run's level; before the end, by what may be read on any day."""
    p = outcome.deciding_p(c, results)
    return p is not None and p < results["run"]["alpha"]


def verdict(run: Run, results: Document | None) -> Verdict:
    """The verdict on a run in whatever state."""
    if results is None:
        return Verdict(OPEN, "No result yet: the first day of the experiment is not finished.")
    ratio = results["health"]["srm"]
    if ratio["alarm"]:
        return Verdict(
            ALARM,
            "Do not read the lifts: the arms' users do not match their shares.",
            (f"Sample ratio mismatch, {is_p(ratio['p_value'])}, alarm below .001.",),
            "Find what lost or moved users first; no correction of the numbers mends this.",
        )
    compared = outcome.against_control(results)
    if not compared:
        return Verdict(OPEN, "One arm only: there is nothing to compare.")
    if not_as_written(run):
        return Verdict(
            ALARM,
            "Do not trust these numbers: files of the run are not as they were written.",
            tuple(_evidence(c, results) for c in compared),
            "Restore the folder, or run it again: equal settings and seed give equal results.",
        )
    ordered = sorted(compared, key=lambda c: -(c["lift"] if c["lift"] is not None else -9.0))
    evidence = (*(_evidence(c, results) for c in ordered), *broken_guardrails(results))
    known = [c for c in compared if c["status"] == "ok"]
    headline, tone = _headline(known, results)
    if outcome.provisional(results):
        day = f"day {run.day} of {run.days}"
        what = "So far" if run.state == "running" else "Unfinished"
        first = headline[0].lower() if headline.startswith(("No ", "Nothing ")) else headline[0]
        headline = f"{what}, after {day}: {first}{headline[1:]}"
        return Verdict(
            tone,
            headline,
            evidence,
            "Until the last day only the always-valid figures may decide.",
        )
    return Verdict(tone, headline, evidence, _note(known, results))


def _headline(known: Sequence[Comparison], results: Document) -> tuple[str, str]:
    if not known:
        return "Nothing can be compared yet.", OPEN
    control = arm_name(results["run"]["control"])
    sure = [c for c in known if decisive(c, results)]
    better = sorted((c for c in sure if c["lift"] > 0), key=lambda c: -c["lift"])
    worse = sorted((c for c in sure if c["lift"] < 0), key=lambda c: c["lift"])
    if results["run"].get("identical_models"):
        if sure:
            names = _and([arm_name(c["arm"]) for c in sure])
            return f"A/A test: {names} seems to differ from {control}, which is chance.", BAD
        return f"A/A test: no arm differs from {control}, as it should be.", GOOD
    if better:
        best = better[0]
        if len(better) > 1:
            others = _and([arm_name(c["arm"]) for c in better[1:]])
            extra = f"; {others} {'does' if len(better) == 2 else 'do'} too"
        else:
            extra = ""
        return f"{arm_name(best['arm'])} acquires {_more(best['lift'])} than {control}{extra}.", GOOD
    if worse and len(worse) == len(known):
        names = _and([arm_name(c["arm"]) for c in reversed(worse)])
        return f"{control} wins: {names} {'acquires' if len(worse) == 1 else 'acquire'} less.", BAD
    if worse:
        names = _and([arm_name(c["arm"]) for c in worse])
        verb = "acquires" if len(worse) == 1 else "acquire"
        return f"No arm is shown to beat {control}; {names} {verb} less.", BAD
    return f"No arm is shown to differ from {control}.", OPEN


def _more(lift: float) -> str:
    return f"{abs(100 * lift):.1f}% {'more' if lift >= 0 else 'less'}"


def _evidence(c: Comparison, results: Document) -> str:
    name = arm_name(c["arm"])
    if c["status"] != "ok":
        return f"{name}: {STATUS_WORDS.get(c['status'], c['status'])}."
    ends, p = interval(outcome.readable_ci(c, results)), is_p(outcome.deciding_p(c, results))
    holm = "" if outcome.early(results) and "always_valid_p_adjusted" not in c else " after Holm"
    return f"{name}: {percent(c['lift'])}, {outcome.readable_kind(results)} {ends}, {p}{holm}."


def _note(known: Sequence[Comparison], results: Document) -> str:
    stopped = results["run"].get("stopped")
    if stopped:
        return f"Stopped after day {results['run']['days_run']} of {results['run']['days']}: {stopped}."
    if not known:
        return ""
    peeked = [
        arm_name(c["arm"])
        for c in known
        if decisive(c, results)
        and c["always_valid_p"] is not None
        and c["always_valid_p"] >= results["run"]["alpha"]
    ]
    if peeked:
        return (
            f"For {_and(peeked)} this holds at the planned end only; the always-valid interval, which may be "
            "read on any day, still includes 0."
        )
    alpha = results["run"]["alpha"]
    alone = [c for c in known if not decisive(c, results) and (c["p_value"] or 1.0) < alpha]
    if alone:
        names = _and([arm_name(c["arm"]) for c in alone])
        return (
            f"Alone, {names} would pass, but {len(known)} arms were compared, and after Holm it does not. "
            f"{power_note(results) or ''}"
        ).strip()
    if any(not decisive(c, results) for c in known):
        return power_note(results) or ""
    return "The always-valid intervals, which may be read on any day, agree."


def broken_guardrails(results: Document) -> list[str]:
    """A sentence for each guardrail whose margin is exceeded as measured; the arms that let it fall."""
    fallen: dict[str, list[tuple[str, float]]] = {}
    for one in results.get("guardrails") or []:
        value, base, margin = one.get("value"), one.get("control_value"), one.get("margin")
        if value is None or not base or margin is None or one.get("control") != results["run"]["control"]:
            continue
        if not one["passed"] and value / base - 1 < -margin:
            fallen.setdefault(one["metric"], []).append((one["arm"], value / base - 1))
    found = []
    for metric in METRICS:
        if metric.key in fallen and metric.margin is not None:
            arms = ", ".join(f"{arm_name(arm)} {percent(change)}" for arm, change in fallen[metric.key])
            found.append(
                f"But a guardrail is not cleared: {metric.name} may have fallen by more than its "
                f"{100 * metric.margin:g}%: {arms}."
            )
    return found


def health(run: Run, results: Document) -> list[Check]:
    """What to look at before the lifts."""
    of = results["health"]
    ratio, before = of["srm"], of.get("pre_period", {"alarm": False, "p_value": None})
    gate = results.get("gate", [])
    refused = int(of.get("gate_refusals", 0))
    observed = ", ".join(f"{arm_name(arm)} {users:,}" for arm, users in ratio.get("observed", {}).items())
    checks = [
        Check(
            not ratio["alarm"],
            "Users do not match their shares" if ratio["alarm"] else "Users match their shares",
            f"Sample ratio: {is_p(ratio['p_value'])}, alarm below .001. {observed}.",
        ),
        Check(
            not before["alarm"],
            "Arms differed before the start" if before["alarm"] else "Arms were alike before",
            f"Rates in the pre-period: {is_p(before['p_value'])} after Bonferroni, alarm below .001.",
        ),
        Check(
            refused == 0,
            f"Gate refused {refused} of {len(gate)} models"
            if refused
            else f"All {len(gate)} models passed the gate",
            "A refused model never served; the one before it stayed. " + _refused(gate),
            harmless=True,
        ),
    ]
    if run.state == "older":
        checks.append(Check(False, "Of another version, so not checked", f"{run.message}.", harmless=True))
    first = (run.report or {}).get("run", {}).get("log_from_day")
    if first is not None:
        words = "As run.keep_log_days has it: no truth, and no explanation of a request of those days."
        checks.append(Check(False, f"The log before day {first} was dropped", words, harmless=True))
    wrong = not_as_written(run)
    if wrong:
        checks.append(Check(False, "Some files cannot be trusted", " ".join(wrong)))
    return checks


def _refused(gate: Sequence[Mapping[str, Any]]) -> str:
    """Which models were refused, and why; the first few."""
    refused = [entry for entry in gate if not entry.get("accepted", True)]
    told = [
        f"{arm_name(e['arm'])} after day {e['day']}: {'; '.join(e.get('reasons', []))}." for e in refused[:3]
    ]
    return " ".join([*told, *(["…"] if len(refused) > 3 else [])])


def not_as_written(run: Run) -> list[str]:
    """What is wrong with the files of a run; empty where all that was read is as it was written."""
    torn = diaries.untrusted(run) if run.state not in ("damaged", "older") else []
    left_out = [f"Not as written, and left out: {', '.join(torn)}."] if torn else []
    damaged = [str(run.message)] if run.state == "damaged" else []
    return [*damaged, *run.warnings, *left_out]


def blocked(run: Run, results: Document) -> bool:
    """Whether no row may be read as a decision: a broken sample ratio, or files that cannot be trusted."""
    return bool(results["health"]["srm"]["alarm"]) or bool(not_as_written(run))


def trust(checks: Sequence[Check]) -> str:
    """Whether the result can be trusted, in a sentence."""
    bad = [check.words for check in checks if not check.good and not check.harmless]
    if not bad:
        aside = [check.words for check in checks if not check.good]
        return " ".join(["Nothing speaks against trusting it.", *(f"{words}." for words in aside)])
    return f"Look at this first: {_and([words[0].lower() + words[1:] for words in bad])}."


def lift_takeaway(c: Comparison, results: Document) -> str:
    """The takeaway of a lift's picture, for those who hear it."""
    name, control = arm_name(c["arm"]), arm_name(c["control"])
    ends = interval(outcome.readable_ci(c, results))
    return f"{name} against {control}: {percent(c['lift'])}, {outcome.readable_kind(results)} {ends}"


def ago(wall_s: float | None) -> str:
    """How long ago that was: `12 s ago`, `3 h ago`."""
    if wall_s is None:
        return "never"
    seconds = max(0.0, time.time() - wall_s)
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def census(runs: Sequence[Run]) -> str:
    """How many runs there are, and in which states: `3 runs: 1 running, 2 done`."""
    states = Counter(run.state for run in runs)
    parts = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {parts}"


def day_of(run: Run) -> str:
    """`day 3 of 7`, or the day of the pre-period."""
    if run.state == "older" and run.report is not None:
        return f"day {run.report['run'].get('days_run', '?')} of {run.days}"
    if run.finished_day is None or run.finished_day < 1:
        return "pre-period"
    return f"day {run.day} of {run.days}"


def lasted(run: Run) -> str | None:
    """The work on the run so far, 1:02; None where it is not known."""
    seconds = run.status.get("worked_s")
    return duration(float(seconds)) if isinstance(seconds, int | float) else None


def _and(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
