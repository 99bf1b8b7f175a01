"""The slices of a run on the terminal: a table per cut, exploration, trust; or a cut with every interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiment.slices.phrases import between, change, points, rate, share, with_interval
from experiment.words import DASH, arm_name, big, interval, number, percent

WIDE = 144
"""Columns of a terminal from which on a cut shows more than what fits 80."""

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]
"""What stands above a column, and what it says of an arm's part."""

NARROWEST = 8
"""Columns that names of arms have at least; longer ones are folded."""

EXPLORED = (
    "Apps and pairs found: shown for the first time, by anybody. Pairs new: of all pairs shown, those that "
    "production had not shown. Rules: of the acquisitions, those with an exception in favour whose pair "
    "production, or the arm itself, had shown first."
)


def render(document: Mapping[str, Any], width: int, cut: str | None = None) -> RenderableType:
    """The whole document, or one cut of it, for a terminal of `width` columns."""
    parts: list[RenderableType] = []
    for name, found in document["cuts"].items():
        if cut in (None, name):
            parts += [Text(), Text.assemble((name, "bold"), f"  {found['meaning']}"), Text()]
            parts.append((_cut if cut is None else _detail)(document, name, width))
    if cut is None:
        for name, words, body in (
            ("exploration", "What was shown, on the first and the last day", _exploration(document)),
            ("trust", "What is predicted too high", trust(document)),
        ):
            parts += [Text(), Text.assemble((name, "bold"), f"  {words}"), Text(), body]
    if document["pairs"] != "ok":
        parts += [Text(), Text("Pairs are not counted in a catalogue of this size.", "yellow")]
    parts += [
        Text(),
        Text(
            "Intervals are clustered by user, exploratory and not corrected for the number of parts. "
            "Each arm is measured on what it chose to show."
            + (" --cut NAME shows every interval of a cut." if cut is None else ""),
            "dim",
        ),
    ]
    return Group(*parts)


def _cut(document: Mapping[str, Any], name: str, width: int) -> RenderableType:
    """A cut in one table: each figure, and the interval of the lift."""
    level = f"{_level(document)}\ninterval"
    columns: list[Column] = [
        ("share", lambda row: share(row["share"])),
        ("ac-\nquired", lambda row: rate(row["rate"])),
        ("true\nchance", lambda row: rate(row["chance"])),
        ("pre-\ndicted", lambda row: rate(row["predicted"])),
        ("cali-\nbration", lambda row: number(row["calibration"], 2)),
        ("AUC", lambda row: number(row["auc"])),
        ("lift", lambda row: percent(row["lift"])),
        (level, lambda row: interval(row["lift_ci"], 0)),
    ]
    if width >= WIDE:
        columns += [
            ("expected\nlift", lambda row: percent(row["expected_lift"])),
            (level, lambda row: interval(row["expected_lift_ci"], 0)),
            ("predicted less\ntrue, points", lambda row: points(row["over"], row["over_ci"])),
            ("AUC\ninterval", lambda row: between(row["auc_ci"], 3, 1)),
        ]
    return _parted(columns, document, name, width)


def _detail(document: Mapping[str, Any], name: str, width: int) -> RenderableType:
    """A cut in four tables: each figure with its interval, and with what the truth says of it."""
    level = f"({_level(document)} interval)"
    shown: list[Column] = [
        ("impres-\nsions", lambda row: big(row["impressions"])),
        (f"share\n{level}", lambda row: with_interval(share(row["share"]), between(row["share_ci"]))),
        (f"acquired\n{level}", lambda row: with_interval(rate(row["rate"]), between(row["rate_ci"], 2))),
        ("true\nchance", lambda row: rate(row["chance"])),
    ]
    predicted: list[Column] = [
        (
            f"predicted\n{level}",
            lambda row: with_interval(rate(row["predicted"]), between(row["predicted_ci"], 2)),
        ),
        ("true\nchance", lambda row: rate(row["chance"])),
        ("predicted less true,\npoints " + level, lambda row: points(row["over"], row["over_ci"])),
    ]
    scored: list[Column] = [
        (
            f"predicted / acquired\n{level}",
            lambda row: with_interval(number(row["calibration"], 2), between(row["calibration_ci"], 2, 1)),
        ),
        (f"AUC\n{level}", lambda row: with_interval(number(row["auc"]), between(row["auc_ci"], 3, 1))),
        ("expected\nAUC", lambda row: number(row["expected_auc"])),
    ]
    lifted: list[Column] = [
        (f"lift\n{level}", lambda row: with_interval(percent(row["lift"]), change(row["lift_ci"]))),
        (
            f"expected lift\n{level}",
            lambda row: with_interval(percent(row["expected_lift"]), change(row["expected_lift_ci"])),
        ),
    ]
    arms = list(document["arms"])
    others = [arm for arm in arms if arm != document["control"]]
    tables: list[RenderableType] = []
    for words, columns, whose in (
        ("What is shown, and what comes of it", shown, arms),
        ("What is predicted, and the truth", predicted, arms),
        ("Calibration and ranking", scored, arms),
        (f"Lift over {arm_name(document['control'])} in the same part", lifted, others),
    ):
        if whose:
            body = _parted(columns, document, name, width, whose)
            tables += [Text(words, "italic"), Text(), body, Text()]
    note = "Expected: by the true chances in place of labels; its interval is of users, without the coin."
    return Group(*tables, Text(note, "dim"))


def _parted(
    columns: Sequence[Column], document: Mapping[str, Any], name: str, width: int, arms: Sequence[str] = ()
) -> RenderableType:
    """A row per arm, of all arms by default, under the name of each part, which has a line of its own."""
    heads = ["", *(head for head, _ in columns)]
    cuts = {arm: document["arms"][arm]["cuts"][name] for arm in arms or document["arms"]}
    groups = [
        (
            part,
            [[f"  {arm_name(arm)}", *(tell(rows[at]) for _, tell in columns)] for arm, rows in cuts.items()],
        )
        for at, part in enumerate(document["cuts"][name]["parts"])
    ]
    lines = [head.split("\n") for head in heads]
    for _, rows in groups:
        for row in rows:
            for known, cell in zip(lines, row, strict=True):
                known.append(cell)
    widths = [max(map(cell_len, known)) for known in lines]
    gap = 2 if sum(widths) + 2 * len(columns) <= width else 1
    spare = width - sum(widths[1:]) - gap * len(columns)
    widths[0] = max(min(widths[0], spare), NARROWEST)

    def grid(rows: Sequence[Sequence[str]], style: str = "") -> Table:
        table = Table.grid(padding=(0, gap, 0, 0), pad_edge=False)
        for place, taken in enumerate(widths):
            if place == 0:
                table.add_column(width=taken, overflow="fold")
            else:
                table.add_column(width=taken, justify="right", vertical="bottom", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(cell, style) for cell in row))
        return table

    made: list[RenderableType] = [grid([heads], "bold"), Text("─" * (sum(widths) + gap * len(columns)))]
    for part, rows in groups:
        made += [Text(part, "bold"), grid(rows)]
    return Group(*made)


def _level(document: Mapping[str, Any]) -> str:
    return f"{1 - document['alpha']:.0%}"


def _exploration(document: Mapping[str, Any]) -> RenderableType:
    table = _table(
        "day", "apps", "bits", "new re-\nleases", "apps\nfound", "pairs\nfound", "pairs\nnew",
        "rules\nknown", "rules\nfound",
    )  # fmt: skip
    for arm, found in document["arms"].items():
        ends = found["days"][:1] + found["days"][1:][-1:]
        for place, day in enumerate(ends):
            table.add_row(
                arm_name(arm) if place == 0 else "",
                str(day["day"]),
                f"{day['distinct_apps']:,.0f}",
                number(day["entropy"], 2),
                share(day["new_release_share"]),
                big(day["new_apps"]),
                DASH if day["new_pairs"] is None else big(day["new_pairs"]),
                share(day["new_pair_share"]),
                share(day["known_rules"]),
                share(day["found_rules"]),
            )
        table.add_section()
    return Group(table, Text(EXPLORED, "dim"))


def trust(document: Mapping[str, Any]) -> RenderableType:
    """Over-generalisation and over-memorisation of each arm, in percentage points."""
    table = _table("over-generalisation\nno exception, ever", "over-memorisation\nexception gone")
    for arm, found in document["arms"].items():
        cells = [found["over_generalisation"], found["over_memorisation"]]
        table.add_row(
            arm_name(arm), *(DASH if one is None else points(one["value"], one["ci"]) for one in cells)
        )
    note = Text(
        "Predicted less true chance, percentage points: where no exception is or was; where one in favour "
        "has gone whose pair was in the training log, over what it is where there never was one.",
        "dim",
    )
    return Group(table, note)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", min_width=16, overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table
