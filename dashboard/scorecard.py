"""The scorecard: a row per metric and arm, its interval as a bar on one axis that all rows share.

Plain HTML without script, coloured through the page's colour scheme; good or bad is said by colour, by an
arrow and by a word. Every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from experiment.palette import Ink
from experiment.words import DASH, arm_name, interval, p_value, percent

MARKS = {
    "better": ("▲", "better"),
    "worse": ("▼", "worse"),
    "unclear": ("○", "not shown"),
    "passed": ("✓", "within margin"),
    "open": ("○", "not yet excluded"),
    "undefined": (DASH, "undefined"),
    "early": ("○", "read at the end"),
    "blocked": ("⚠", "do not read"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One arm on one metric.

    Attributes:
        arm: name. value, control: the arm's and the control's, as text. counts, control_counts: behind them.
        lift: relative effect. ci: its interval. wings: the always-valid one. truth: the simulator's.
        p, p_label: p-value and what it is. p_raw: unadjusted, beside it.
        mark: a key of `MARKS`. why: in words, on demand.
        stated: the interval in words, where that is not `ci`: before the end, the always-valid one.
    """

    arm: str
    value: str
    control: str
    counts: str
    control_counts: str
    lift: float | None
    ci: tuple[float, float] | None
    wings: tuple[float, float] | None = None
    truth: float | None = None
    p: float | None = None
    p_label: str = "p"
    p_raw: float | None = None
    mark: str = "unclear"
    why: str = ""
    stated: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one metric under its name.

    Attributes:
        name: of the metric. role: primary, secondary or guardrail. meaning: a sentence. rows: one per arm.
    """

    name: str
    role: str
    meaning: str
    rows: Sequence[Row]


def axis(blocks: Sequence[Block]) -> tuple[float, float, float]:
    """Ends and step of the axis that all bars share: round numbers, 0 inside.

    A row far beyond the primary metric's does not stretch it: its bar is cut and marked.
    """
    first = [row for block in blocks for row in block.rows if block.role == "primary"]
    rows = first or [row for block in blocks for row in block.rows]
    ends = [end for row in rows for span in (row.ci, row.wings) if span is not None for end in span]
    ends += [row.truth for row in rows if row.truth is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if high - low < 1e-9:
        low, high = -0.01, 0.01
    room = 0.08 * (high - low)
    low, high = low - room, high + room
    step = _step(high - low)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _step(width: float) -> float:
    raw = width / 4
    magnitude = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 2.5, 5, 10):
        if raw <= factor * magnitude * 1.0001:
            return factor * magnitude
    return 10 * magnitude


def render(blocks: Sequence[Block], inks: Mapping[str, Ink], control: str, level: str) -> str:
    """The scorecard as HTML."""
    low, high, step = axis(blocks)
    head = (
        '<div class="sc-row sc-head" role="row">'
        '<span role="columnheader">Arm</span>'
        f'<span role="columnheader" class="sc-num">{escape(arm_name(control))} <small>control</small></span>'
        '<span role="columnheader" class="sc-num">This arm</span>'
        f'<span role="columnheader" class="sc-axis">{_ticks(low, high, step)}</span>'
        f'<span role="columnheader" class="sc-num">Lift <small>{escape(level)} interval</small></span>'
        '<span role="columnheader" class="sc-num">p</span>'
        '<span role="columnheader">Decision</span></div>'
    )
    parts = ['<div class="sc" role="table" aria-label="Scorecard">', head]
    for block in blocks:
        parts.append(
            f'<div class="sc-metric" role="row"><span role="cell"><b>{escape(block.name)}</b>'
            f'<i class="sc-role sc-{escape(block.role)}">{escape(block.role)}</i>'
            f"<small>{escape(block.meaning)}</small></span></div>"
        )
        parts += [_row(row, inks, low, high, step) for row in block.rows]
    parts.append("</div>")
    return "".join(parts)


def whole(blocks: Sequence[Block], inks: Mapping[str, Ink], control: str, level: str) -> str:
    """The scorecard with the key to its signs, and how its numbers were made."""
    known = any(row.truth is not None for block in blocks for row in block.rows)
    truth = (
        '<i class="key key-truth"></i>the true lift, which only a simulator knows'
        if known
        else "The true lift is not computed yet: storelift truth DIR"
    )
    return (
        f'<div class="sc-wrap">{render(blocks, inks, control, level)}</div>'
        f'<p class="sc-foot"><i class="key key-thick"></i>{escape(level)} interval at the planned end'
        '<i class="key key-wing"></i>always-valid interval, readable on any day '
        f"<span>&nbsp;&nbsp;{truth}</span><br>Users are the unit. Delta method; Holm over the primary "
        "comparisons, Benjamini-Hochberg over secondary metrics; guardrails by non-inferiority. "
        "Green and red mean good and bad, grey not decided.</p>"
    )


def _row(row: Row, inks: Mapping[str, Ink], low: float, high: float, step: float) -> str:
    sign, word = MARKS[row.mark]
    label = row.p_label if row.p_raw is None else f"{row.p_label}, raw {p_value(row.p_raw)}"
    p = DASH if row.p is None else p_value(row.p)
    short = f"{row.control} → {row.value}, p {p}"
    return (
        f'<div class="sc-row sc-{row.mark}" role="row" title="{escape(row.why, quote=True)}">'
        f'<span role="rowheader">{dot(row.arm, inks)}{escape(arm_name(row.arm))}</span>'
        f'<span role="cell" class="sc-num sc-control">{_stacked(row.control, row.control_counts)}</span>'
        f'<span role="cell" class="sc-num sc-arm">{_stacked(row.value, row.counts)}</span>'
        f'<span role="cell" class="sc-axis">{bar(row, low, high, step)}</span>'
        f'<span role="cell" class="sc-num sc-lift"><b>{escape(percent(row.lift))}</b>'
        f"<small>{escape(interval(row.stated or row.ci))}</small></span>"
        f'<span role="cell" class="sc-num sc-p">{escape(p)}<small>{escape(label)}</small></span>'
        f'<span role="cell" class="sc-mark"><i aria-hidden="true">{sign}</i> {escape(word)}'
        f'<small class="sc-short">{escape(short)}</small></span></div>'
    )


def _stacked(value: str, counts: str) -> str:
    return f"{escape(value)}<small>{escape(counts)}</small>"


def dot(arm: str, inks: Mapping[str, Ink]) -> str:
    """The arm's own sign: its hue and shape."""
    ink = inks.get(arm)
    if ink is None:
        return ""
    return f'<i class="dot dot-{ink.shape}" style="background:{ink.colour}" aria-hidden="true"></i>'


def bar(row: Row, low: float, high: float, step: float) -> str:
    """The interval as a thick bar, the always-valid one as thin wings, the truth as a dotted tick."""

    def at(value: float) -> float:
        return 100 * (value - low) / (high - low)

    parts = [f'<i class="zero" style="left:{at(0.0):.2f}%"></i>']
    parts += [
        f'<i class="grid" style="left:{at(tick):.2f}%"></i>'
        for tick in _at(low, high, step)
        if abs(tick) > step / 2
    ]
    for name, span in (("wing", row.wings), ("thick", row.ci)):
        if span is None:
            continue
        left, right = at(max(low, span[0])), at(min(high, span[1]))
        if right <= left:
            continue
        cut = " cut-left" * (span[0] < low) + " cut-right" * (span[1] > high)
        parts.append(f'<i class="{name}{cut}" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>')
    if row.truth is not None and low <= row.truth <= high:
        parts.append(
            f'<i class="truth" style="left:{at(row.truth):.2f}%" title="true lift {percent(row.truth)}"></i>'
        )
    if row.lift is not None and low <= row.lift <= high:
        parts.append(f'<i class="point" style="left:{at(row.lift):.2f}%"></i>')
    elif row.lift is not None:
        side = "left:1%" if row.lift < low else "right:1%"
        arrow = "◀" if row.lift < low else "▶"
        parts.append(f'<b class="beyond" style="{side}">{arrow} {escape(percent(row.lift))}</b>')
    words = f"{percent(row.lift)}, interval {interval(row.stated or row.ci)}"
    return f'<span class="bar" role="img" aria-label="{escape(words, quote=True)}">{"".join(parts)}</span>'


def _ticks(low: float, high: float, step: float) -> str:
    marks = []
    for tick in _at(low, high, step):
        left = 100 * (tick - low) / (high - low)
        marks.append(f'<i style="left:{left:.2f}%">{escape(percent(tick, _digits(100 * tick)))}</i>')
    return f'<span class="ticks" aria-hidden="true">{"".join(marks)}</span>'


def _digits(value: float) -> int:
    """As many digits after the point as the value has, six at most."""
    return next((digits for digits in range(6) if abs(value - round(value, digits)) < 1e-9), 6)


def _at(low: float, high: float, step: float) -> list[float]:
    count = round((high - low) / step)
    return [low + i * step for i in range(count + 1)]
