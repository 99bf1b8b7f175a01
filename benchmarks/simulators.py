"""Other simulators with a random ranker that shows ten items, for `storelift bench simulate`.

SARDINE (`pip install sardine-rec`) and RecLab (`pip install reclab`). Each lets users of changing state meet
random slates of ten, in an environment that its authors ship. Neither retrieves candidates, scores them or
writes a log, all of which is in our figure.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from experiment.machine import Clock

SLATE = 10


def _figures(visits: int, clock: Clock) -> dict[str, float]:
    wall, cpu = clock.wall(), clock.cpu()
    return {
        "impressions_per_second": round(visits * SLATE / wall, 1),
        "visits_per_second": round(visits / wall, 1),
        "impressions_per_cpu_second": round(visits * SLATE / cpu, 1),
    }


def sardine(visits: int) -> dict[str, float]:
    """SARDINE's slate environment with boredom: 1,000 items, one user at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gymnasium

        __import__("sardine")  # registers its environments
        environment = gymnasium.make("sardine/SlateTopK-Bored-v0", disable_env_checker=True).unwrapped
    slates = np.random.default_rng(0).integers(0, 1000, (visits, SLATE))
    environment.reset(seed=0)
    clock = Clock()
    for slate in slates:
        _, _, terminated, truncated, _ = environment.step(slate)
        if terminated or truncated:
            environment.reset()
    return _figures(visits, clock)


def reclab(visits: int) -> dict[str, float]:
    """RecLab's topics with drifting tastes and boredom: 1,000 users, 1,700 items."""
    from reclab.environments import make

    environment = make("topics-dynamic-v1")
    environment.seed(0)
    environment.reset()
    rng, done = np.random.default_rng(0), 0
    clock = Clock()
    while done < visits:
        online = len(environment.online_users)
        environment.step(rng.integers(0, 1700, (online, SLATE)))
        done += online
    return _figures(done, clock)


PEERS: dict[str, Callable[[int], dict[str, float]]] = {"sardine": sardine, "reclab": reclab}
