"""From results and users' counts to the scorecard's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dashboard import measures, words
from dashboard import results as outcome
from dashboard.measures import Effect
from dashboard.metric_list import METRICS, PRIMARY, Metric
from dashboard.reading import Document, Run
from dashboard.scorecard import Block, Row
from experiment.reporting.text import STATUS_WORDS
from experiment.words import DASH, arm_name, big, number, p_value

Comparison = Mapping[str, Any]


def blocks(run: Run, results: Document, *, cuped: bool = False) -> list[Block]:
    """The scorecard of a run: the primary metric, then secondary ones, then guardrails.

    Where the run's health forbids it, no row has a decision.

    Args:
        run: in any state. results: its document, see `results.document`.
        cuped: show the primary metric adjusted for the pre-period.
    """
    alpha = float(results["run"]["alpha"])
    compared = [(c["arm"], c["control"]) for c in results["comparisons"]]
    effects = measures.effects(run, compared, alpha, results["run"]["control"])
    against = [pair for pair in compared if pair[1] == results["run"]["control"]]
    found = [_primary(results, cuped=cuped)]
    for metric in METRICS[1:]:
        rows = [
            _further(run, metric, one, results)
            for one in effects.get(metric.key, [])
            if (one.arm, one.control) in against
        ]
        if rows:
            found.append(Block(metric.name, metric.role, _meaning(metric), rows))
    if words.blocked(run, results):
        return [replace(one, rows=[replace(row, mark="blocked") for row in one.rows]) for one in found]
    return found


def _meaning(metric: Metric) -> str:
    if metric.margin is None:
        return metric.meaning
    return f"{metric.meaning} Margin −{100 * metric.margin:g}%."


def _primary(results: Document, *, cuped: bool) -> Block:
    rows = [_primary_row(c, results, cuped=cuped) for c in outcome.against_control(results)]
    name = "Acquisition rate" + (", adjusted for the pre-period (CUPED)" if cuped else "")
    return Block(name, "primary", PRIMARY.meaning, rows)


def _primary_row(c: Comparison, results: Document, *, cuped: bool) -> Row:
    arm, control = results["arms"][c["arm"]], results["arms"][c["control"]]
    adjusted = (c.get("cuped") or {}) if cuped else None
    shown = (
        c
        if adjusted is None
        else {**c, "lift": None, "ci": None, "p_adjusted": None, "p_value": None, **adjusted}
    )
    waiting = outcome.early(results)
    p = None if waiting and cuped else outcome.deciding_p(shown, results)
    lift = shown["lift"]
    if c["status"] != "ok":
        mark = "undefined"
    elif waiting and cuped:
        mark = "early"  # nothing that may be read on any day is adjusted
    elif lift is not None and p is not None and p < results["run"]["alpha"]:
        mark = "better" if lift > 0 else "worse"
    else:
        mark = "unclear"
    always = "always-valid, Holm" if "always_valid_p_adjusted" in c else "always-valid"
    return Row(
        arm=c["arm"],
        value=rate(arm["acquisition_rate"]),
        control=rate(control["acquisition_rate"]),
        counts=_counts(arm["acquisitions"], arm["impressions"]),
        control_counts=_counts(control["acquisitions"], control["impressions"]),
        lift=lift,
        ci=outcome.pair(shown["ci"]),
        wings=None if cuped else outcome.always_valid_ci(c),
        stated=outcome.always_valid_ci(c) if waiting and not cuped else None,
        truth=c.get("true_lift"),
        p=p,
        p_label="Holm" if not waiting else "" if cuped else always,
        p_raw=None if waiting else shown["p_value"],
        mark=mark,
        why=why(c) if c["status"] == "ok" else STATUS_WORDS.get(c["status"], str(c["status"])),
    )


def why(c: Comparison) -> str:
    """How the numbers of a comparison were made, for who asks."""
    method = c.get("method") or {}
    lines = [
        f"{arm_name(c['arm'])} against {arm_name(c['control'])}",
        str(method.get("name", "")),
        f"users {method.get('n_treatment', 0):,} and {method.get('n_control', 0):,}",
        f"difference {number(c.get('difference'), 5)}, standard error {number(c.get('difference_se'), 5)}",
    ]
    cuped = c.get("cuped")
    if cuped:
        lines.append(
            f"CUPED: theta {number(cuped['theta'], 2)}, variance ratio {number(cuped['variance_ratio'], 2)}"
        )
    bayes = c.get("bayes")
    if bayes:
        lines.append(f"chance to win {100 * bayes['chance_to_win']:.1f}% (flat prior)")
    return "\n".join(line for line in lines if line)


def _further(run: Run, metric: Metric, one: Effect, results: Document) -> Row:
    alpha = float(results["run"]["alpha"])
    kept = measures.guarded(run, metric, one, alpha)
    if one.status != "ok":
        mark = "undefined"
    elif outcome.early(results):
        mark = "early"
    elif kept is not None:
        failed = one.ci is not None and one.ci[1] < -kept.margin
        mark = "passed" if kept.passed else "worse" if failed else "open"
    elif one.p_adjusted is not None and one.p_adjusted < alpha:
        mark = "better" if (one.lift or 0) > 0 else "worse"
    else:
        mark = "unclear"
    waiting = outcome.early(results)  # of these nothing may be read on any day
    p_label = "B.-H." if kept is None else "loss beyond margin"
    lines = [f"users {one.users:,} and {one.control_users:,}", "delta method over users, z"]
    if kept is not None and kept.bound is not None and not waiting:
        excluded = f"a loss of more than {100 * -kept.bound:.2f}% is excluded"
        lines.append(excluded if kept.bound < 0 else "no loss at all")
    return Row(
        arm=one.arm,
        value=_value(metric, one.rate),
        control=_value(metric, one.control_rate),
        counts=_counts(one.top, one.bottom),
        control_counts=_counts(one.control_top, one.control_bottom),
        lift=one.lift,
        ci=one.ci,
        p=None if waiting else one.p_adjusted if kept is None else kept.p_value,
        p_label="" if waiting else p_label,
        p_raw=one.p_value if kept is None and not waiting else None,
        mark=mark,
        why="\n".join(lines) if one.status == "ok" else STATUS_WORDS.get(one.status, one.status),
    )


def rate(value: float | None) -> str:
    """A share as people read it, 11.84%; a dash for None."""
    return DASH if value is None else f"{100 * value:.2f}%"


def _value(metric: Metric, value: float | None) -> str:
    if value is None:
        return DASH
    return rate(value) if metric.unit == "%" else f"{value:.{metric.digits}f}"


def _counts(top: float, bottom: float) -> str:
    return f"{big(top)} / {big(bottom)}"


EXPORT = (
    "metric",
    "variation",
    "control",
    "users",
    "totalValue",
    "perUserValue",
    "percentChange",
    "ciLower",
    "ciUpper",
    "pValue",
    "pValueAdjusted",
    "status",
)
"""Columns of the exported table."""


def export(run: Run, results: Document) -> str:
    """All metrics and comparisons as CSV."""
    import csv
    import io

    compared = [(c["arm"], c["control"]) for c in results["comparisons"]]
    holm = {(c["arm"], c["control"]): c["p_adjusted"] for c in results["comparisons"]}
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(EXPORT)
    alpha, control = float(results["run"]["alpha"]), results["run"]["control"]
    waiting = outcome.early(results)  # fixed-horizon p-values may be read at the planned end alone
    for key, effects in measures.effects(run, compared, alpha, control).items():
        for one in effects:
            adjusted = holm[one.arm, one.control] if key == PRIMARY.key else one.p_adjusted
            low, high = one.ci or ("", "")
            per_user = one.top / one.users if one.users else ""
            writer.writerow(
                (
                    *(key, one.arm, one.control, one.users, one.top, per_user, _cell(one.lift), low, high),
                    *(("", "") if waiting else (_cell(one.p_value), _cell(adjusted))),
                    one.status,
                )
            )
    return out.getvalue()


def _cell(value: float | None) -> float | str:
    return "" if value is None else value


def numbers(results: Document) -> list[dict[str, str]]:
    """Every number of the comparisons, as text, for the table under the scorecard."""
    rows, waiting = [], outcome.early(results)
    for c in results["comparisons"]:
        method, cuped, bayes = c.get("method") or {}, c.get("cuped") or {}, c.get("bayes") or {}
        rows.append(
            {
                "comparison": f"{arm_name(c['arm'])} against {arm_name(c['control'])}",
                "users": f"{method.get('n_treatment', 0):,} / {method.get('n_control', 0):,}",
                "difference": number(c.get("difference"), 5),
                "standard error": number(c.get("difference_se"), 5),
                "p": DASH if waiting else p_value(c.get("p_value")),
                "p (Holm)": DASH if waiting else p_value(c.get("p_adjusted")),
                "always-valid p": p_value(c.get("always_valid_p")),
                "CUPED theta": number(cuped.get("theta"), 2),
                "variance ratio": number(cuped.get("variance_ratio"), 2),
                "chance to win": DASH if not bayes else f"{100 * bayes['chance_to_win']:.1f}%",
                "expected loss": DASH if not bayes else f"{100 * bayes['expected_loss']:.2f}%",
                "method": str(method.get("name", "")),
            }
        )
    return rows
