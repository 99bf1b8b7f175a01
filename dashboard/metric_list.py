"""The metrics of the scorecard."""

from __future__ import annotations

from dataclasses import dataclass

from experiment.reporting.outcomes import MARGINS


@dataclass(frozen=True, slots=True)
class Metric:
    """A ratio of two totals over users.

    Attributes:
        key: its name in exports. name: for people. role: primary, secondary, guardrail or simulator.
        top, bottom: columns; "users" counts users, "acquirers" those with an acquisition.
        meaning: a sentence. margin: tolerated relative harm of a guardrail.
        digits: after the point. unit: "%" or "".
    """

    key: str
    name: str
    role: str
    top: str
    bottom: str
    meaning: str
    margin: float | None = None
    digits: int = 2
    unit: str = "%"


PRIMARY = Metric(
    "acquisition_rate",
    "Acquisition rate",
    "primary",
    "acquisitions",
    "impressions",
    "Apps acquired per app shown: what the experiment is about.",
)
METRICS = (
    PRIMARY,
    Metric(
        "acquisitions_per_user",
        "Acquisitions per user",
        "secondary",
        "acquisitions",
        "users",
        "Apps acquired per user who came at least once.",
        unit="",
    ),
    Metric(
        "users_with_acquisition",
        "Users who acquire anything",
        "secondary",
        "acquirers",
        "users",
        "Share of the users with at least one acquisition: a gain must not come from a few.",
    ),
    Metric(
        "impressions_per_user",
        "Impressions per user",
        "guardrail",
        "impressions",
        "users",
        "How much users came back; a ranker must not drive them away.",
        margin=MARGINS["impressions_per_user"],
        unit="",
    ),
    Metric(
        "new_release_share",
        "New releases shown",
        "guardrail",
        "new_impressions",
        "impressions",
        "Share of the shown apps that were released in the last days: a ranker must not bury them.",
        margin=MARGINS["new_release_share"],
    ),
)
