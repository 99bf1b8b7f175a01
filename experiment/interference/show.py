"""The designs on the terminal and as a figure: bias with intervals over seeds, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment import webpage
from experiment.words import DASH, arm_name, interval, percent

EXPLAINED = (
    "Bias: the design's expected lift less that of the same users where each arm has the world to itself. "
    "Error: of the estimate, root mean square. Data: impressions learned from, of those that the arm would "
    "have alone. Arm, control: what the design does to the rate of either, against the same users where it "
    "is alone. co-diverted: an arm chooses among its own part of the candidates, so its bias is of that "
    "too, a mean over all ways to hand the apps round; its standard error leaves out which app went where."
)

HEADS = ("", "bias", "95%", "error", "std.\nerror", "holds\neffect", "data", "arm", "control")


def render(document: Mapping[str, Any]) -> Any:
    """A row per design and arm."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for head in HEADS[1:]:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows(document):
        table.add_row(*row)
    words = f"{about(document)} {EXPLAINED}"
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
            percent(one["error"]).lstrip("+"),
            percent(one["se"]["mean"]).lstrip("+"),
            f"{one['covered']}/{one['seeds']}",
            DASH if one["data"]["mean"] is None else f"{one['data']['mean']:.0%}",
            percent(one["gained"]["mean"]),
            percent(one["control_gained"]["mean"]),
        ]
        for one in document["designs"]
    ]


def about(document: Mapping[str, Any]) -> str:
    """Of what the figures are, and the global effects."""
    size = f"{len(document['seeds'])} seeds, {document['days']} days, {document['users']:,} users"
    return f"Preset {document['preset']}: {size}, {_pair(document)}. {effects(document)}"


def effects(document: Mapping[str, Any]) -> str:
    """The global effect of each arm."""
    means = {one["arm"]: percent(one["global"]["mean"]) for one in document["designs"]}
    if len(means) == 1:
        return f"Global effect: {next(iter(means.values()))}."
    return "Global effects: " + ", ".join(f"{arm_name(arm)} {mean}" for arm, mean in means.items()) + "."


def against(document: Mapping[str, Any]) -> list[str]:
    """The arms, the control last."""
    return [*(arm for arm in document["arms"] if arm != document["control"]), document["control"]]


def _pair(document: Mapping[str, Any]) -> str:
    return " against ".join(arm_name(arm) for arm in against(document))


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
        title=f"Bias of each design: {_pair(document)}",
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
    webpage.write(path, f"Designs under interference: {_pair(document)}", parts)
