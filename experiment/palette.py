"""One hue and marker per arm, the same on every page; colour never stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GREY = "#6B7280"
"""Production, reference rankers, and lines that nothing depends on."""

KNOWN = {
    "wide": "#D55E00",
    "deep": "#009E73",
    "wide_deep": "#0072B2",
    "ensemble": "#CC79A7",
    "fm": "#E69F00",
    "production": GREY,
    "random": GREY,
    "popularity": GREY,
    "oracle": GREY,
}
OTHERS = ("#56B4E9", "#CC79A7", "#E69F00", "#8C6BB1", "#A6761D", "#1B9E77", "#E7298A", "#7570B3")

SERIES = ("#8C6BB1", "#A6761D", "#C0568B")
"""Of lines and bars that are no arm's: methods, engines."""

OWN_SHAPES = {"wide": "circle", "deep": "square", "wide_deep": "diamond"}
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")

BAND = 0.18
"""Opacity of an interval's band."""


@dataclass(frozen=True, slots=True)
class Ink:
    """How an arm is drawn.

    Attributes:
        colour: a hue of Okabe and Ito. shape: of its markers.
    """

    colour: str
    shape: str

    @property
    def band(self) -> str:
        """The hue, thin, for the area of an interval."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{BAND})"


def inks(arms: Sequence[str]) -> dict[str, Ink]:
    """How each of `arms` is drawn: known arms by name, others in their order."""
    spare = [hue for hue in OTHERS if hue not in {KNOWN[arm] for arm in arms if arm in KNOWN}] or list(OTHERS)
    found: dict[str, Ink] = {}
    others = drawn = 0
    free = [shape for shape in SHAPES if shape not in {OWN_SHAPES[arm] for arm in arms if arm in OWN_SHAPES}]
    for arm in arms:
        hue = KNOWN.get(arm)
        if hue is None:
            hue, others = spare[others % len(spare)], others + 1
        shape = OWN_SHAPES.get(arm)
        if shape is None:
            shape, drawn = free[drawn % len(free)], drawn + 1
        found[arm] = Ink(hue, shape)
    return found
