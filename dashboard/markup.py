"""Pieces of HTML that several pages show. Every text is escaped; nothing here runs script."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from dashboard import words
from dashboard.reading import Run
from dashboard.words import Check, Verdict

SIGNS = {"good": "✔", "bad": "▼", "open": "○", "alarm": "⚠"}
STATES = {
    "running": ("●", "running"),
    "done": ("✔", "done"),
    "failed": ("✖", "failed"),
    "interrupted": ("❚❚", "interrupted"),
    "older": ("◷", "of another version"),
    "damaged": ("⚠", "cannot be read"),
}


def state(name: str) -> str:
    """A badge with sign and word."""
    sign, word = STATES.get(name, ("○", name))
    text = f'<span aria-hidden="true">{sign}</span>{escape(word)}'
    return f'<span class="state state-{escape(name)}">{text}</span>'


def run_bar(run: Run, *, dated: bool = False) -> str:
    """The line on top of every page: which run, how far, since when; `dated` for what is kept."""
    facts = [f"preset {run.setting('preset', '?')}", f"seed {run.setting('seed', '?')}", words.day_of(run)]
    report = run.report or {}
    of_hash = report.get("run", {}).get("config_hash")
    if of_hash:
        facts.append(f"configuration {of_hash}")
    if run.started is not None:
        date = f"{datetime.fromtimestamp(run.started).astimezone():%Y-%m-%d %H:%M}"
        facts.append(f"started {date if dated else words.ago(run.started)}")
    if run.state == "running":
        facts.append(f"last heard of {words.ago(run.heartbeat)}")
    if (lasted := words.lasted(run)) is not None:
        facts.append(f"{lasted} of work")
    parts = "".join(f"<span>{escape(str(fact))}</span>" for fact in facts)
    return f'<div class="runbar">{state(run.state)}<b class="name">{escape(run.name)}</b>{parts}</div>'


def verdict(found: Verdict, trust: str = "") -> str:
    """The answer, first of all."""
    evidence = "".join(f"<li>{escape(line)}</li>" for line in found.evidence)
    notes = "".join(f"<p>{escape(text)}</p>" for text in (trust, found.note) if text)
    return (
        f'<section class="sl verdict verdict-{found.tone}" aria-label="Verdict">'
        f'<h2><i aria-hidden="true">{SIGNS[found.tone]}</i>{escape(found.headline)}</h2>'
        f"<ul>{evidence}</ul>{notes}</section>"
    )


def health(checks: Sequence[Check]) -> str:
    """The checks, each with its numbers on demand."""
    parts = []
    for check in checks:
        sign, kind, opened = ("✓", "ok", "")
        if not check.good:
            sign, kind, opened = ("●", "aside", "") if check.harmless else ("⚠", "no", " open")
        parts.append(
            f'<details class="{kind}"{opened}><summary><i aria-hidden="true">{sign}</i>'
            f"{escape(check.words)}</summary><p>{escape(check.detail)}</p></details>"
        )
    return f'<div class="sl health" aria-label="Health">{"".join(parts)}</div>'


def empty(title: str, text: str, command: str | None = None, *, bad: bool = False) -> str:
    """What stands where nothing is to be shown yet: what it would be, and the command that makes it."""
    code = f"<code>{escape(command)}</code>" if command else ""
    return (
        f'<div class="sl empty{" empty-bad" if bad else ""}"><h3>{escape(title)}</h3>'
        f"<p>{escape(text)}</p>{code}</div>"
    )
