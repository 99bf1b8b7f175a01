"""What the loop hands over to be judged: each arm's days, and the gate's verdicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.schema import Array

if TYPE_CHECKING:
    from experiment.quality import Quality
    from models.gate import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class ArmResult:
    """What one arm did, as the loop hands it over.

    Attributes:
        name: of the arm.
        assigned: users of its bucket, whether they came or not.
        window: user-days of the experiment, see `Outcomes.of`.
        pre: user-days of the same bucket in the pre-period.
        offline: of its first model on the holdout; None where it has none.
        served: of the scores that it served with, by simulated day.
    """

    name: str
    assigned: int
    window: Mapping[str, Array]
    pre: Mapping[str, Array]
    offline: Quality | None = None
    served: Mapping[int, Quality] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateEntry:
    """The gate's verdict on the model that an arm trained in the night after `day`."""

    day: int
    arm: str
    verdict: Verdict
