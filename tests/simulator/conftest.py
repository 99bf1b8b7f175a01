import pytest

from simulator.settings import RetrievalSettings, UserSettings, WorldSettings
from simulator.world import World


@pytest.fixture(scope="session")
def world() -> World:
    return small_world(3)


def small_world(seed: int, **settings: float) -> World:
    return World(
        WorldSettings(apps=1500, **settings),
        UserSettings(population=50_000),
        RetrievalSettings(candidates=60),
        seed,
    )


@pytest.fixture(scope="session")
def make_world():
    return small_world
