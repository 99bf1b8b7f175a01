"""The readable form of an analysis: tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Document = dict[str, Any]


def print_analysis(document: Document, console: Console) -> None:
    """Prints the document of `analyze_document.analyze`: arms, verdicts, health, secondary, segments."""
    console.print(_arms(document))
    console.print(_comparisons(document))
    _health(document, console)
    console.print(_others(document))
    if document["segments"]:
        console.print(_segments(document))


def _arms(document: Document) -> Table:
    table = _table("Arms", "arm", "users", "impressions", "acquisitions", "rate", "± standard error")
    for name, arm in document["arms"].items():
        counts = [f"{arm[field]:,}" for field in ("users", "impressions", "acquisitions")]
        table.add_row(escape(name), *counts, _fraction(arm["rate"]), _fraction(arm["rate_se"]))
    return table


def _comparisons(document: Document) -> Table:
    confidence = 100 * (1 - document["input"]["alpha"])
    table = _table(
        f"Acquisition rate against {document['input']['control']}",
        *(
            "arm",
            "lift",
            f"{confidence:g}% interval",
            "p",
            "p Holm",
            "always-valid interval",
            "always-valid p",
        ),
        *("CUPED lift", "interval", "p", "chance to win", "status"),
    )
    for c in document["comparisons"]:
        cuped, bayes = c["cuped"] or {}, c["bayes"] or {}
        table.add_row(
            escape(c["arm"]),
            _percent(c["lift"]),
            _interval(c["lift_ci"]),
            _p(c["p_value"]),
            _p(c["p_holm"]),
            _interval(c["always_valid_lift_ci"]),
            _p(c["always_valid_p"]),
            _percent(cuped.get("lift")),
            _interval(cuped.get("lift_ci")),
            _p(cuped.get("p_value")),
            "–" if not bayes else f"{bayes['chance_to_win']:.1%}",
            c["status"],
        )
    return table


def _health(document: Document, console: Console) -> None:
    srm = document["srm"]
    alarm = srm["alarm"] or srm["sequential_alarm"]
    verdict = "[bold red]ALARM: the arms do not hold their shares[/]" if alarm else "in order"
    console.print(f"Sample ratio: p {_p(srm['p_value'])} (df {srm['df']}), {verdict}")
    for g in document["guardrails"]:
        word = {True: "passed", False: "[bold red]not shown[/]", None: "undefined"}[g["passed"]]
        bound = "–" if g["bound"] is None else f"{g['bound']:+.1%}"
        console.print(
            f"Guardrail impressions per user, {escape(g['arm'])}: no loss of {g['margin']:.0%} {word}"
            f" (p {_p(g['p_value'])}, at worst {bound})"
        )
    for reason, rows in document["excluded"].items():
        console.print(f"Set apart: {rows:,} rows, {escape(reason)}")


def _others(document: Document) -> Table:
    table = _table(
        "Secondary metrics (Benjamini-Hochberg)", "metric", "arm", "lift", "interval", "p", "p BH", "status"
    )
    for row in document["secondary"]:
        table.add_row(row["metric"].replace("_", " "), *_explored(row))
    return table


def _segments(document: Document) -> Table:
    table = _table(
        "Segments, exploratory (Benjamini-Hochberg)",
        "segment",
        "arm",
        "lift",
        "interval",
        "p",
        "p BH",
        "status",
    )
    for row in document["segments"]:
        table.add_row(escape(f"{row['dimension']} = {row['value']}"), *_explored(row))
    return table


def _explored(row: Document) -> list[str]:
    return [
        escape(row["arm"]),
        _percent(row["lift"]),
        _interval(row["lift_ci"]),
        _p(row["p_value"]),
        _p(row["p_bh"]),
        row["status"],
    ]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _fraction(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2%}"


def _interval(ends: list[float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:+.2%} … {ends[1]:+.2%}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"
