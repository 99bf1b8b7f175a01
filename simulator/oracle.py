"""The ranker that knows the truth: the upper limit of what any learner can reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.schema import Array, Requests
from simulator.world import World


@dataclass(frozen=True)
class Oracle:
    """Scores by the world's own log odds; no learner may hold one."""

    world: World

    def score(self, requests: Requests) -> Array:
        """True log odds float32[B, C] of requests of one day."""
        profiles = self.world.profiles(requests.user_id)
        odds, _ = self.world.log_odds(profiles, np.arange(len(requests)), requests)
        return odds.astype(np.float32)
