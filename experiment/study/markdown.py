"""A study as Markdown: the tables that `storelift study NAME --write PAGE` keeps up to date in the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiment.study import phrases
from experiment.study.sheets import Sheet, sheets


def markdown(document: Mapping[str, Any], command: str) -> str:
    """The command that makes it, what was run, and every table of the study."""
    blocks = [[f"    {command}"], [_made(document)], *(_lines(sheet) for sheet in sheets(document))]
    blocks += [[line] for line in phrases.remarks(document)]
    return "\n\n".join("\n".join(block) for block in blocks)


def _made(document: Mapping[str, Any]) -> str:
    text = f"{document['title']}: {phrases.made(document)}"
    return f"{text} With {phrases.settings(document)}." if document["set"] else text


def _lines(sheet: Sheet) -> list[str]:
    """The arm that leads is bold, unless all are alike."""
    rows = [
        [row[0], f"**{row[1]}**", *row[2:]] if place in sheet.first else row
        for place, row in enumerate(sheet.rows)
    ]
    return [_row(sheet.head), _row(["---"] * len(sheet.head)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
