"""The claims of the paper as text: a table for the terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiment.study.measures import MEASURES
from experiment.study.phrases import claim_span, figure, span
from experiment.words import DASH, arm_name, percent


def render(document: Mapping[str, Any]) -> Any:
    """The claims for a terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", ratio=1)
    for head in ("paper", "here, over seeds", "holds", "observed"):
        table.add_column(head, justify="right", no_wrap=True)
    section = None
    for claim in document["claims"]:
        if claim["section"] != section:
            table.add_section()
            section = claim["section"]
        style = {True: "green", False: "red", None: ""}[claim["met"]]
        seen = claim["observed"]
        held = DASH if seen is None else _held(seen)
        table.add_row(
            claim["name"], claim["paper"], claim_span(claim, width=False), _held(claim), held, style=style
        )
    parts: list[Any] = [
        Text(),
        Text(_made(document), "dim"),
        Text(),
        table,
        Text(),
        Text(verdict(document), "bold"),
    ]
    if document["table2"] is not None:
        parts += [Text(), *(Text(line) for line in _table2(document["table2"]))]
    return Group(*parts)


def verdict(document: Mapping[str, Any]) -> str:
    """Whether the orders of Table 1 are reproduced, in a sentence."""
    orders = [claim for claim in document["claims"] if claim["order"] and claim["section"] == "Table 1"]
    if document["orders_met"] is None:
        return "Too few seeds to say whether the orders of Table 1 hold."
    met = sum(bool(claim["met"]) for claim in orders)
    needed = orders[0]["needed"]
    return (
        f"{met} of {len(orders)} orders of Table 1 are reproduced: the mean's interval excludes 0, and the "
        f"order holds in at least {needed} of {len(document['seeds_done'])} seeds."
    )


def markdown(document: Mapping[str, Any]) -> str:
    """The tables of `docs/paper.md`, with the command that makes them."""
    seeds = document["seeds"]
    command = (
        f"storelift reproduce --preset {document['preset']} --seeds {len(seeds)} --first-seed {seeds[0]}"
    )
    command += "".join(f" --set {path}={_toml(value)}" for path, value in document["set"].items())
    lines = [
        f"    {command} --write docs/paper.md",
        "",
        _made(document),
        "",
        f"**{verdict(document)}**",
        "",
        "| claim | paper | here: mean (95% interval over seeds) | seeds in which it holds | as observed |",
        "| --- | --- | --- | --- | --- |",
    ]
    for claim in document["claims"]:
        name = f"**{claim['name']}**" if claim["met"] else claim["name"]
        lines.append(
            f"| {name} | {claim['paper']} | {claim_span(claim)} | {_held(claim)} | {_observed(claim)} |"
        )
    lines += [
        "",
        "In bold: an order whose interval excludes 0 and that holds in enough seeds; a bound held in all.",
        "",
        "| Table 1 | AUC, paper | expected AUC | offline AUC | gain, paper | expected lift | observed lift |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in document["table1"].items():
        paper = found["paper"]
        auc = figure(paper["offline_auc"], "auc")[:-1] if paper else DASH
        gain = percent(paper["lift"]) if paper else DASH
        ours = {m: DASH if found[m] is None else span(found[m], MEASURES[m].form) for m in list(found)[:4]}
        lines.append(
            f"| {arm_name(name)} | {auc} | {ours['expected_auc']} | {ours['offline_auc']} | {gain} | "
            f"{ours['expected_lift']} | {ours['observed_lift']} |"
        )
    if document["table2"] is not None:
        lines += ["", *_table2(document["table2"])]
    return "\n".join(lines)


def _made(document: Mapping[str, Any]) -> str:
    done, seeds = document["seeds_done"], document["seeds"]
    text = (
        f"Preset {document['preset']}, seeds {seeds[0]} to {seeds[-1]} ({len(done)} done), "
        f"{document['cpu_seconds'] / 60:.0f} CPU-minutes."
    )
    if len(document["programs"]) > 1:
        text += f" Made by {len(document['programs'])} versions of the program."
    return text


def _held(claim: Mapping[str, Any]) -> str:
    return f"{claim['holds']} of {len(claim['values'])}"


def _observed(claim: Mapping[str, Any]) -> str:
    seen = claim["observed"]
    return DASH if seen is None else f"{claim_span({**claim, **seen})}, {_held(seen)}"


def _table2(table: Mapping[str, Any]) -> list[str]:
    """Table 2 as Markdown lines."""
    lines = [
        f"| Table 2: {table['candidates']} candidates | batch x threads | paper, ms | p50 | p95 | p99 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['name']} | {row['batch']} x {row['threads']} | {row['paper_ms']:.0f} | "
        + " | ".join(f"{row[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms"))
        + " |"
        for row in table["rows"]
    ]
    return lines


def _toml(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)
