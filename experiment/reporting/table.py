"""A report on the terminal, in the form of the paper's Table 1, the paper's own figures under ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiment.reporting.text import (
    PAPER,
    against_control,
    coverage,
    decisive,
    health,
    power_note,
    significant,
)
from experiment.words import arm_name, big, interval, number, p_value, percent

WIDE = 124
"""Columns of a terminal from which on everything is shown."""

SIGNS = {"good": ("✓", "green"), "note": ("!", "yellow"), "alarm": ("✗", "bold red")}


def render(
    report: Mapping[str, Any], width: int, next_commands: Sequence[tuple[str, str]] = ()
) -> RenderableType:
    """The whole answer for a terminal of `width` columns, then what to do next: commands and their use."""
    notes = Table.grid(padding=(0, 2))
    notes.add_column(style="bold", no_wrap=True)
    notes.add_column()
    notes.add_row("Verdict", report["verdict"])
    notes.add_row("Health", _health(report))
    note = power_note(report)
    if note:
        notes.add_row("Power", note)
    if next_commands:
        notes.add_row("Next", _next(next_commands))
    return Group(Text(), _title(report), Text(), table(report, width), Text(), notes)


def table(report: Mapping[str, Any], width: int) -> Table:
    """Offline AUC and online gain of each arm."""
    run = report["run"]
    everything = width >= WIDE
    truth = any(c["true_lift"] is not None for c in report["comparisons"])
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("", no_wrap=True)
    if everything:
        for head in ("users", "impres-\nsions", "rate"):
            shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("offline\nAUC", justify="right", no_wrap=True)
    shown.add_column("online\ngain", justify="right", no_wrap=True)
    shown.add_column(f"{coverage(run)}\ninterval", justify="right", no_wrap=True)
    shown.add_column("p\n(Holm)", justify="right", no_wrap=True)
    if everything:
        shown.add_column("with CUPED\ngain and interval", justify="right", no_wrap=True)
    shown.add_column("expected\ngain", justify="right", no_wrap=True)
    if truth:
        shown.add_column("true\ngain", justify="right", no_wrap=True)
    for arm, found in report["arms"].items():
        counts = [f"{found['users']:,}", big(found["impressions"]), number(found["acquisition_rate"], 4)]
        c = next((c for c in against_control(report) if c["arm"] == arm), None)
        name = arm_name(arm) if c else f"{arm_name(arm)} (control)"
        gains = _gains(c, run, everything=everything, truth=truth)
        shown.add_row(name, *(counts if everything else []), number(found["offline_auc"]), *gains)
        if arm in PAPER and run["control"] == "wide":
            auc, gain = number(PAPER[arm].auc), percent(PAPER[arm].gain)
            shown.add_row("  in the paper", *([""] * 3 if everything else []), auc, gain, style="dim")
    for c in report["comparisons"]:
        if c["control"] != run["control"]:
            name = f"{arm_name(c['arm'])} / {arm_name(c['control'])}"
            shown.add_row(
                name,
                *([""] * 3 if everything else []),
                "",
                *_gains(c, run, everything=everything, truth=truth),
            )
    return shown


def _gains(
    c: Mapping[str, Any] | None, run: Mapping[str, Any], *, everything: bool, truth: bool
) -> list[Text | str]:
    if c is None:
        return [percent(0.0)]
    style = ""
    if c["lift"] is not None and significant(c, run):
        style = "bold green" if c["lift"] > 0 else "bold red"
    ends, p = decisive(c, run)
    cells: list[Text | str] = [Text(percent(c["lift"]), style), Text(interval(ends), style), p_value(p)]
    if everything:
        cuped = c["cuped"] or {"lift": None, "ci": None}
        cells.append(f"{percent(cuped['lift'])}  {interval(cuped['ci'])}")
    cells.append(percent(c["expected_lift"]))
    return [*cells, percent(c["true_lift"])] if truth else cells


def _title(report: Mapping[str, Any]) -> Text:
    run = report["run"]
    first = next(iter(report["arms"].values()))
    words = (
        f", seed {run['seed']}: {run['days_run']} days, {len(report['arms'])} arms of "
        f"{first['assigned']:,} users, {run['apps']:,} apps"
    )
    return Text.assemble((str(run["preset"]), "bold"), (words, "dim"))


def _health(report: Mapping[str, Any]) -> Text:
    text = Text()
    for index, (state, words) in enumerate(health(report)):
        sign, style = SIGNS[state]
        text.append("\n" if index else "")
        text.append(f"{sign} ", style)
        text.append(words, style if state == "alarm" else "")
    return text


def _next(commands: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for command, use in commands:
        grid.add_row(Text(command, "cyan"), Text(use, "dim"))
    return grid
