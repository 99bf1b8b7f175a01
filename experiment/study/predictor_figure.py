"""What offline figures say of each arm, against its lift on the first day: a panel each. A pure function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiment.palette import inks
from experiment.study.predictors import PREDICTORS, TARGET
from experiment.words import arm_name

SHOWN = ("offline_auc", "gauc", "offpolicy_position_dr")
CAPTION = (
    "Each mark an arm of a seed, against the control: right of 0 the figure promises a gain, above 0 there "
    "is one. In the shaded corners the figure has the sign wrong."
)


def figure(document: Mapping[str, Any]) -> Any:
    """A plotly figure of `SHOWN`, of a study that measured `offpolicy`; nothing is read or written."""
    from plotly.subplots import make_subplots

    made = make_subplots(1, len(SHOWN), shared_yaxes=True, horizontal_spacing=0.03)
    control = next((lift["control"] for one in document["points"] for lift in one["lifts"]), "")
    arms = [
        arm for arm in dict.fromkeys(a for one in document["points"] for a in one["arms"]) if arm != control
    ]
    ink = inks(arms)
    for column, measure in enumerate(SHOWN, 1):
        for corner in ({"x0": -9, "x1": 0, "y0": 0, "y1": 9}, {"x0": 0, "x1": 9, "y0": -9, "y1": 0}):
            made.add_shape(
                **corner, fillcolor="#94a3b8", opacity=0.16, line_width=0, layer="below", row=1, col=column
            )
        widest = 0.0
        for arm in arms:
            x, y = _cases(document, arm, control, measure)
            widest = max([widest, *map(abs, x)])
            made.add_scatter(
                x=x, y=y, name=arm_name(arm), legendgroup=arm, showlegend=column == 1, mode="markers",
                marker={"color": ink[arm].colour, "symbol": ink[arm].shape, "size": 9, "opacity": 0.75},
                row=1, col=column,
            )  # fmt: skip
        is_lift = measure.startswith("offpolicy_")
        made.update_xaxes(
            range=[-1.1 * (widest or 1.0), 1.1 * (widest or 1.0)], zeroline=True, row=1, col=column,
            title_text=f"lift by {PREDICTORS[measure]}" if is_lift else f"{PREDICTORS[measure]}, difference",
            tickformat="+.0%" if is_lift else "+.3f",
        )  # fmt: skip
    lifts = [abs(y) for arm in arms for y in _cases(document, arm, control, SHOWN[0])[1]]
    high = 1.1 * max(lifts, default=1.0)
    made.update_yaxes(range=[-high, high], zeroline=True, tickformat="+.0%")
    made.update_yaxes(title_text="expected lift, first day", row=1, col=1)
    made.update_layout(
        template="plotly_white", height=430, legend={"orientation": "h", "y": 1.12}, margin={"t": 50}
    )
    return made


def _cases(
    document: Mapping[str, Any], arm: str, control: str, measure: str
) -> tuple[list[float], list[float]]:
    """The figure's difference from the control's, and the lift, of each seed at each point."""
    said: list[float] = []
    lifts: list[float] = []
    for one in document["points"]:
        ours, theirs = (
            one["arms"].get(name, {}).get(measure, {}).get("values", []) for name in (arm, control)
        )
        found = one["arms"].get(arm, {}).get(TARGET, {}).get("values", [])
        for value, base, lift in zip(ours, theirs, found, strict=False):
            if None not in (value, base, lift):
                said.append(value - base)
                lifts.append(lift)
    return said, lifts
