"""Where the arms differ: `metrics/slices.json`, the parts of what each showed, as lines and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard import intact
from dashboard.figures import Interval, Line
from dashboard.reading import Document, Run, document
from experiment.slices.command import SLICES
from experiment.slices.document import FORMAT
from experiment.slices.phrases import between, change, point, points, rate, share
from experiment.words import DASH, arm_name, number, percent


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a part: its name, the format of its axis, and whether it is a difference.

    Attributes:
        name: as people read it. tickformat: of the axis, in d3's words; None for plain numbers.
        from_zero: whether the axis begins at 0.
    """

    name: str
    tickformat: str | None
    from_zero: bool = False


MEASURES = {
    "lift": Measure("Lift over the control", "+.2~%"),
    "expected_lift": Measure("Expected lift: by the true chances", "+.2~%"),
    "auc": Measure("AUC within the part", None),
    "over": Measure("Predicted less true chance", "+.2~%"),
    "rate": Measure("Acquisition rate", ".2~%", from_zero=True),
    "calibration": Measure("Predicted over acquired", ".2f"),
    "share": Measure("Share of what it shows", ".2~%", from_zero=True),
}
"""By their names in the document."""

HEAD = (
    "Part, arm", "Share", "Acquired", "True chance", "Predicted", "Over the truth, points",
    "Predicted over acquired", "AUC", "Lift", "Expected lift",
)  # fmt: skip

UNBROKEN, NARROW = "\u00a0", "\u202f"
"""Spaces that a page keeps and at which no line ends."""

EXPLORED = {
    "distinct_apps": ("Different apps shown", None),
    "entropy": ("Entropy of what is shown, bits", None),
    "new_release_share": ("Share of new releases", ".2~%"),
    "new_pair_share": ("Pairs shown that production had not", ".2~%"),
    "new_pairs": ("Pairs shown for the first time", None),
    "found_rules": ("Acquisitions by rules found itself", ".2~%"),
}
"""Exploration by day: as people read it, and the format of the axis."""


def found(run: Run) -> Document | None:
    """The run's slices; None where they have not been measured so, or the file is not what was written."""
    known = trusted(run, SLICES)
    return known if known is not None and known.get("format") == FORMAT else None


def trusted(run: Run, name: str) -> Document | None:
    """A JSON document that the run's manifest lists; None where it is not there as it was written."""
    return document(run, name) if intact.split(run.key, [run.path / name])[0] else None


def lines(slices: Document, cut: str, measure: str) -> list[Line]:
    """A line per arm over the parts of a cut; the control has no lift."""
    made = []
    for arm, own in slices["arms"].items():
        if measure in ("lift", "expected_lift") and arm == slices["control"]:
            continue
        rows = own["cuts"][cut]
        bands = [_pair(row.get(f"{measure}_ci")) for row in rows]
        made.append(Line(arm, [row["part"] for row in rows], [row[measure] for row in rows], bands))
    return made


def rows(slices: Document, cut: str) -> list[list[str]]:
    """The table of a cut: below each part, a row of figures and one of intervals per arm that showed it."""
    level = _indented(f"{1 - slices['alpha']:.0%} interval")
    made = []
    for place, part in enumerate(slices["cuts"][cut]["parts"]):
        own = {arm: found["cuts"][cut][place] for arm, found in slices["arms"].items()}
        shown = {arm: one for arm, one in own.items() if one["impressions"]}
        if shown:
            made.append([part, *[""] * (len(HEAD) - 1)])
        for arm, one in shown.items():
            made += [[_indented(arm_name(arm)), *_figures(one)], [level, *_intervals(one)]]
    return made


def _indented(name: str) -> str:
    return UNBROKEN * 4 + name.replace(" ", UNBROKEN)


def _figures(one: Mapping[str, Any]) -> list[str]:
    return [
        share(one["share"]),
        *(rate(one[name]) for name in ("rate", "chance", "predicted")),
        point(one["over"]),
        number(one["calibration"], 2),
        number(one["auc"]),
        percent(one["lift"]),
        percent(one["expected_lift"]),
    ]


def _intervals(one: Mapping[str, Any]) -> list[str]:
    """Without their units, which stand above them; nothing where there is no interval."""
    told = [
        between(one["share_ci"]),
        between(one["rate_ci"], 2),
        DASH,
        between(one["predicted_ci"], 2),
        change(one["over_ci"], 2),
        between(one["calibration_ci"], 2, 1),
        between(one["auc_ci"], 3, 1),
        change(one["lift_ci"]),
        change(one["expected_lift_ci"]),
    ]
    return ["" if text == DASH else text.replace(" ", NARROW) for text in told]


def trust(slices: Document) -> list[list[str]]:
    """Over-generalisation and over-memorisation by arm, in percentage points."""
    kinds = ("over_generalisation", "over_memorisation")
    return [
        [
            arm_name(arm),
            *(DASH if own[kind] is None else points(own[kind]["value"], own[kind]["ci"]) for kind in kinds),
        ]
        for arm, own in slices["arms"].items()
    ]


def explored(slices: Document, measure: str) -> list[Line]:
    """Exploration of each arm by day."""
    made = []
    for arm, own in slices["arms"].items():
        known = [(day["day"], day[measure]) for day in own["days"] if day[measure] is not None]
        if known:
            made.append(Line(arm, [day for day, _ in known], [value for _, value in known]))
    return made


def _pair(ends: Sequence[float] | None) -> Interval | None:
    return None if ends is None else (float(ends[0]), float(ends[1]))
