"""A report in words: the verdict and its reasons, the run's health and power, and report.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiment.words import arm_name, interval, number, p_value, percent

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the paper's Table 1."""

    auc: float
    gain: float


PAPER = {
    "wide": Published(0.726, 0.0),
    "deep": Published(0.722, 0.029),
    "wide_deep": Published(0.728, 0.039),
}
"""Cheng et al. 2016, Table 1: offline AUC and online acquisition gain over the wide control."""

STATUS_WORDS = {
    "no_users": "an arm has no users",
    "no_impressions": "an arm has no impressions",
    "one_user": "an arm has one user only",
    "no_variance": "the users do not vary",
    "zero_control": "the control acquired nothing",
    "zero_treatment": "the arm acquired nothing",
}


def verdict(report: Document) -> str:
    """Who won, in a sentence or two, with the reason; read the health first."""
    run, compared = report["run"], against_control(report)
    if report["health"]["srm"]["alarm"]:
        p = p_value(report["health"]["srm"]["p_value"])
        return f"Do not read the lifts: the arms' users do not match their shares (p {_is(p)})."
    if not compared:
        return "One arm only: there is nothing to compare."
    known = [c for c in compared if c["status"] == "ok"]
    undefined = [c for c in compared if c["status"] != "ok"]
    control = arm_name(run["control"])
    better = sorted((c for c in known if significant(c, run) and c["lift"] > 0), key=lambda c: -c["lift"])
    worse = [c for c in known if significant(c, run) and c["lift"] < 0]
    open_ = [c for c in known if not significant(c, run)]
    parts = []
    if run["stopped"]:
        parts.append(f"Stopped early: {run['stopped']}.")
    if run["identical_models"]:
        parts.append(_aa(better + worse, control, run))
    else:
        parts += [f"{arm_name(c['arm'])} acquires more than {control}: {_evidence(c, run)}." for c in better]
        parts += [f"{arm_name(c['arm'])} acquires less than {control}: {_evidence(c, run)}." for c in worse]
        if open_:
            shown = " and ".join(_short(c, run) for c in open_)
            rest = f"for {shown}" if better or worse else f"from {control}: {shown}"
            parts.append(f"No difference is shown {rest}.")
    parts += [
        f"{arm_name(c['arm'])} cannot be compared with {control}: {STATUS_WORDS[c['status']]}."
        for c in undefined
    ]
    return " ".join(parts)


def against_control(report: Document) -> list[dict[str, Any]]:
    """The comparisons with the run's control, in the order of the arms."""
    return [c for c in report["comparisons"] if c["control"] == report["run"]["control"]]


def significant(compared: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether the comparison decides at the run's level."""
    _, p = decisive(compared, run)
    return p is not None and p < run["alpha"]


def decisive(compared: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[list[float] | None, float | None]:
    """The interval of the lift and the p-value, after Holm, that decide; always-valid if it stopped early.

    An experiment that ends when it likes what it sees has no use for the figures of a fixed end.
    """
    if run["stopped"]:
        ends = compared.get("always_valid_look_ci", compared["always_valid_ci"])
        return ends, compared.get("always_valid_p_adjusted", compared["always_valid_p"])
    return compared["ci"], compared["p_adjusted"]


def coverage(run: Mapping[str, Any]) -> str:
    """The coverage of those intervals, 95%, and their kind where it is another than of a fixed end."""
    return f"always-valid {level(run)}" if run["stopped"] else level(run)


def level(run: Mapping[str, Any]) -> str:
    """The coverage of the intervals, 95%."""
    return f"{100 * (1 - run['alpha']):g}%"


def health(report: Document) -> list[tuple[str, str]]:
    """What to look at before the lifts: (`good`, `note` or `alarm`; words) of each check."""
    found = report["health"]
    ratio, before, refused = found["srm"], found["pre_period"], found["gate_refusals"]
    ratio_p, before_p = _is(p_value(ratio["p_value"])), _is(p_value(before["p_value"]))
    dropped = report["run"].get("log_from_day")
    gone = f"the log before day {dropped} was dropped (run.keep_log_days): no truth, no explain of it"
    return [
        _check(
            ratio, f"users match the shares (p {ratio_p})", f"users do not match the shares (p {ratio_p})"
        ),
        _check(
            before, f"arms alike before day 1 (p {before_p})", f"arms differed before day 1 (p {before_p})"
        ),
        ("note" if refused else "good", f"gate refused {refused} of {len(report['gate'])} models"),
        *([] if dropped is None else [("note", gone)]),
    ]


def _check(found: Mapping[str, Any], good: str, alarm: str) -> tuple[str, str]:
    return ("alarm", alarm) if found["alarm"] else ("good", good)


def power_note(report: Document) -> str | None:
    """The lift that such a run finds with 80% power, and what the paper's takes; None where undefined."""
    known = [c for c in against_control(report) if c["detectable_lift"] is not None]
    if not known:
        return None
    one = next((c for c in known if c["arm"] == "wide_deep"), known[0])
    found = one["detectable_lift"]
    note = f"A lift of {_size(found)} is found with 80% power"
    adjusted = (one["cuped"] or {}).get("detectable_lift")
    if adjusted is not None:
        note += f" ({_size(adjusted)} with CUPED)"
    users = sum(report["arms"][name]["assigned"] for name in (one["arm"], one["control"])) / 2
    paper = PAPER["wide_deep"].gain
    needed = _round(users * (found / paper) ** 2)
    return f"{note}; the paper's {percent(paper)} takes about {needed:,} users per arm."


def markdown(report: Document) -> str:
    """The text of report.md."""
    run = report["run"]
    lines = [
        f"# {run['preset']}, seed {run['seed']}",
        "",
        f"**{report['verdict']}**",
        "",
        *_table(
            ["", "offline AUC", "in the paper", "online gain", f"{coverage(run)} interval",
             "in the paper", "always-valid p (Holm)" if run["stopped"] else "p (Holm)", "expected gain",
             "true gain"],
            [_row(report, arm) for arm in report["arms"]],
        ),
        "",
    ]  # fmt: skip
    further = [c for c in report["comparisons"] if c["control"] != run["control"]]
    lines += [f"{_pair(c)}: {_evidence(c, run)}." for c in further if c["status"] == "ok"]
    lines += [
        "",
        *(f"- **{words}**" if state == "alarm" else f"- {words}" for state, words in health(report)),
    ]
    note = power_note(report)
    lines += [f"- {note}"] if note else []
    lines += ["", "## Arms", "", *_arms(report), "", "## Comparisons", "", *_comparisons(report), ""]
    lines += ["## Secondary metrics and guardrails", "", *_secondary(report), "", *_guardrails(report), ""]
    refusals = [entry for entry in report["gate"] if not entry["accepted"]]
    if refusals:
        lines += ["## Refused models", ""]
        lines += [
            f"- {arm_name(e['arm'])}, night after day {e['day']}: {'; '.join(e['reasons'])}" for e in refusals
        ]
        lines.append("")
    lines += ["## How it was made", "", *_method(report), ""]
    return "\n".join(lines)


def _row(report: Document, arm: str) -> list[str]:
    found, published = report["arms"][arm], PAPER.get(arm)
    run = report["run"]
    auc = number(found["offline_auc"])
    paper_auc = number(published.auc if published else None)
    paper_gain = percent(published.gain if published else None)
    if arm == run["control"]:
        return [f"{arm_name(arm)} (control)", auc, paper_auc, "0.0%", "", paper_gain, "", "0.0%", "0.0%"]
    c = next(c for c in against_control(report) if c["arm"] == arm)
    ends, p = decisive(c, run)
    gain = [percent(c["lift"]), interval(ends), paper_gain, p_value(p)]
    return [arm_name(arm), auc, paper_auc, *gain, percent(c["expected_lift"]), percent(c["true_lift"])]


def _arms(report: Document) -> list[str]:
    rows = [
        [
            arm_name(name),
            f"{a['assigned']:,}",
            f"{a['users']:,}",
            f"{a['impressions']:,}",
            f"{a['acquisitions']:,}",
            number(a["acquisition_rate"], 5),
            number(a["expected_rate"], 5),
            number(a["expected_auc"], 4),
            number(a["gauc"], 4),
            number(a["ndcg"], 4),
            number(a["log_loss"], 4),
            number(a["calibration"]),
        ]
        for name, a in report["arms"].items()
    ]
    head = ["", "assigned", "users", "impressions", "acquisitions", "rate", "expected rate", "expected AUC",
            "AUC per request", "NDCG@10", "log loss", "calibration"]  # fmt: skip
    return _table(head, rows)


def _comparisons(report: Document) -> list[str]:
    rows = []
    for c in report["comparisons"]:
        cuped = c["cuped"] or {"lift": None, "ci": None, "p_adjusted": None, "variance_ratio": None}
        rows.append(
            [
                _pair(c),
                percent(c["lift"]),
                interval(c["ci"]),
                p_value(c["p_value"]),
                p_value(c["p_adjusted"]),
                p_value(c["always_valid_p"]),
                interval(c.get("always_valid_look_ci", c["always_valid_ci"])),
                percent(cuped["lift"]),
                interval(cuped["ci"]),
                p_value(cuped["p_adjusted"]),
                number(cuped["variance_ratio"], 2),
                c["status"],
            ]
        )
    head = ["", "lift", "interval", "p", "p (Holm)", "always-valid p", "always-valid interval", "CUPED lift",
            "CUPED interval", "CUPED p (Holm)", "variance ratio", "status"]  # fmt: skip
    return _table(head, rows)


METRIC_WORDS = {
    "acquisitions_per_user": "acquisitions per user",
    "users_with_acquisition": "users with an acquisition",
    "impressions_per_user": "impressions per user",
    "new_release_share": "impressions of new releases",
}


def _secondary(report: Document) -> list[str]:
    rows = [
        [
            METRIC_WORDS[one["metric"]],
            arm_name(one["arm"]),
            number(one["control_value"], 4),
            number(one["value"], 4),
            percent(one["lift"]),
            interval(one["ci"]),
            p_value(one["p_bh"]),
        ]
        for one in report["secondary"]
    ]
    return _table(["secondary metric", "arm", "control", "value", "lift", "interval", "p (B.-H.)"], rows)


def _guardrails(report: Document) -> list[str]:
    verdicts = {True: "holds", False: "not shown to hold", None: "undefined"}
    rows = [
        [
            METRIC_WORDS[one["metric"]],
            arm_name(one["arm"]),
            number(one["control_value"], 4),
            number(one["value"], 4),
            percent(-one["margin"]),
            percent(one["bound"]),
            verdicts[one["passed"]],
        ]
        for one in report["guardrails"]
    ]
    return _table(["guardrail", "arm", "control", "value", "margin", "worst not excluded", "verdict"], rows)


def _method(report: Document) -> list[str]:
    run = report["run"]
    logs = {"own": "its own log", "all": "the logs of all arms", "none": "no log"}[run["training"]]
    return [
        f"{run['days_run']} days after {run['pre_days']} of pre-period; each arm retrains nightly on {logs}.",
        "Rate: acquisitions per impression. Units are users: delta method, z, Holm over the comparisons;",
        "the always-valid p-value may be read on any day. Expected: labels replaced by the simulator's true",
        "chances. True: of the same users under both arms, known after `storelift truth`.",
        f"Configuration {run['config_hash']}, storelift {run['version']}.",
    ]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def _pair(c: Mapping[str, Any]) -> str:
    return f"{arm_name(c['arm'])} against {arm_name(c['control'])}"


def _evidence(c: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    ends, p = decisive(c, run)
    return f"{percent(c['lift'])} ({coverage(run)} interval {interval(ends)}, p {_is(p_value(p))} after Holm)"


def _short(c: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    _, p = decisive(c, run)
    return f"{arm_name(c['arm'])} ({percent(c['lift'])}, p {_is(p_value(p))})"


def _aa(differing: list[dict[str, Any]], control: str, run: Mapping[str, Any]) -> str:
    if not differing:
        return f"A/A: no arm is shown to differ from {control}, as it should be."
    names = " and ".join(arm_name(c["arm"]) for c in differing)
    often = f"{run['alpha']:.0%}"
    return f"A/A: {names} seems to differ from {control}; that happens in at most {often} of such runs."


def _is(p: str) -> str:
    return f"< {p[1:]}" if p.startswith("<") else f"= {p}"


def _size(lift: float) -> str:
    return f"±{100 * lift:.1f}%"


def _round(users: float) -> int:
    """To two digits that count."""
    return int(float(f"{users:.2g}"))
