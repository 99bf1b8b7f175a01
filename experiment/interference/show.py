"""The designs on the terminal and as a figure: bias with intervals over seeds, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment import webpage
from experiment.words import DASH, arm_name, interval, percent

EXPLAINED = (
    "Bias: the design's expected lift less that of the same users where each arm has the world to itself. "
    "Noise: what the draw of users adds to the lift, standard deviation over seeds. Error: of the estimate, "
    "root mean square. Holds: in how many seeds the estimate's own interval has the global effect. Data: "
    "impressions learned from, of those that the arm would have alone. Arm, control: what the design does to "
    "the rate of either, against the same users where it is alone. co-diverted: an arm chooses among its own "
    "part of the candidates, so its bias is of that too, a mean over all ways to hand the apps round; its "
    "standard error leaves out which app went where."
)

HEADS = (
    "", "bias", "95%", "noise", "error of the estimate", "standard error", "holds the effect", "data", "arm",
    "control",
)  # fmt: skip

SHORT = {
    "bias": "bias", "95%": "95%", "error of the estimate": "error", "standard error": "std.\nerror",
    "holds the effect": "holds", "arm": "arm", "control": "control",
}  # fmt: skip
"""The columns that 80 characters have room for, of `HEADS`, and their heads there."""


def render(document: Mapping[str, Any]) -> Any:
    """A row per design and arm; what has no room in it stands below."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")  # it alone gives way on a narrow terminal: a number is never cut
    for head in SHORT.values():
        table.add_column(head, justify="right", no_wrap=True)
    several, above = len(document["arms"]) > 2, None
    below = []
    for one, row in zip(document["designs"], rows(document), strict=True):
        if several and one["design"] != above:
            table.add_row(one["design"])
            above = one["design"]
        first = f"  {arm_name(one['arm'])}" if several else one["design"]
        cells = dict(zip(HEADS, row, strict=True))
        table.add_row(first, *(cells[head].replace(" of ", "/") for head in SHORT))
        below.append(f"{row[0]} {cells['noise']}, {cells['data']}")
    words = f"{about(document)} {EXPLAINED} Noise and data: {'; '.join(below)}."
    parts: list[Any] = [Text(), table, Text(), Text(words, "dim")]
    if len(document["seeds"]) < document["seeds_asked"]:
        parts.append(Text(f"{len(document['seeds'])} of {document['seeds_asked']} seeds are done.", "yellow"))
    return Group(*parts)


def rows(document: Mapping[str, Any]) -> list[list[str]]:
    """A row per design and arm, see `HEADS`."""
    return [
        [
            named(document, one),
            percent(one["bias"]["mean"], 2),
            interval(one["bias"]["ci"], 2),
            percent(one["noise"]["sd"]).lstrip("+"),
            percent(one["error"]).lstrip("+"),
            percent(one["se"]["mean"]).lstrip("+"),
            f"{one['covered']} of {one['seeds']}",
            DASH if one["data"]["mean"] is None else f"{one['data']['mean']:.0%}",
            percent(one["gained"]["mean"]),
            percent(one["control_gained"]["mean"]),
        ]
        for one in document["designs"]
    ]


def markdown(document: Mapping[str, Any], command: str) -> str:
    """The command that makes it, of what the figures are, and a row per design and arm.

    `storelift interference --write PAGE` keeps it up to date in the docs.
    """
    heads = [pair(document), *HEADS[1:]]
    if len(document["arms"]) == 2:
        heads[-2:] = arm_name(document["designs"][0]["arm"]), arm_name(document["control"])
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows(document))]
    return "\n\n".join([f"    {command}", about(document), "\n".join(lines)])


def about(document: Mapping[str, Any]) -> str:
    """Of what the figures are, and the global effects."""
    size = f"{len(document['seeds'])} seeds, {document['days']} days, {document['users']:,} users"
    return f"Preset {document['preset']}: {size}, {pair(document)}. {effects(document)}"


def effects(document: Mapping[str, Any]) -> str:
    """The global effect of each arm, with its 95% interval over seeds where there are several."""
    found = {one["arm"]: _with_interval(one["global"]) for one in document["designs"]}
    if len(found) == 1:
        return f"Global effect, 95% interval over seeds: {next(iter(found.values()))}."
    each = ", ".join(f"{arm_name(arm)} {words}" for arm, words in found.items())
    return f"Global effects, 95% intervals over seeds: {each}."


def _with_interval(found: Mapping[str, Any]) -> str:
    mean = percent(found["mean"])
    return mean if found["ci"] is None else f"{mean} ({interval(found['ci'])})"


def pair(document: Mapping[str, Any]) -> str:
    """Which arms are held against the control."""
    arms = ", ".join(arm_name(arm) for arm in document["arms"] if arm != document["control"])
    return f"{arms} against {arm_name(document['control'])}"


def named(document: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    """A design, with its arm where there are several."""
    return one["design"] if len(document["arms"]) == 2 else f"{one['design']}: {arm_name(one['arm'])}"


def figure(document: Mapping[str, Any]) -> Any:
    """Each seed's bias as a dot, the mean with its interval beside; nothing is read or written."""
    import plotly.graph_objects as go

    made = go.Figure()
    made.add_vline(x=0, line_color="gray", line_width=1)
    names = [named(document, one) for one in document["designs"]]
    for one, name in zip(document["designs"], names, strict=True):
        values = [value for value in one["bias"]["values"] if value is not None]
        made.add_scatter(
            x=values, y=[name] * len(values), mode="markers", name="a seed", showlegend=name == names[0],
            marker={"color": "gray", "size": 6, "opacity": 0.5},
        )  # fmt: skip
    known = [(name, one["bias"]) for name, one in zip(names, document["designs"], strict=True)]
    known = [(name, bias) for name, bias in known if bias["mean"] is not None]
    ends = [bias["ci"] or [bias["mean"], bias["mean"]] for _, bias in known]
    made.add_scatter(
        x=[bias["mean"] for _, bias in known],
        y=[name for name, _ in known],
        mode="markers",
        name="mean, 95%",
        marker={"color": "#2563a8", "symbol": "diamond", "size": 11},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [end[1] - bias["mean"] for end, (_, bias) in zip(ends, known, strict=True)],
            "arrayminus": [bias["mean"] - end[0] for end, (_, bias) in zip(ends, known, strict=True)],
            "width": 5,
        },
    )
    made.update_layout(
        title=f"Bias of each design: {pair(document)}",
        template="plotly_white",
        height=120 + 70 * len(names),
        xaxis={"title": "expected lift less that of the same users, each arm alone", "tickformat": "+.1%"},
        yaxis={"autorange": "reversed"},
    )
    return made


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the figure and its numbers as one HTML page.

    Raises:
        BadInput: the file cannot be written.
    """
    drawn = figure(document)
    drawn.update_layout(title=None, margin={"t": 40})
    caption = "Bias of each design: a dot per seed, and the mean with its 95% interval. Without bias: 0."
    parts = [
        webpage.words(about(document)),
        webpage.figure(drawn, caption),
        webpage.table(HEADS, rows(document)),
        webpage.words(EXPLAINED, quiet=True),
    ]
    webpage.write(path, f"Designs under interference: {pair(document)}", parts)
