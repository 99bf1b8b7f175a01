"""Faults put in on purpose are what their names say."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiment import faults, plan
from experiment.loading import load
from experiment.worlds import world_of
from models import registry
from models.scorer import Published


@pytest.mark.parametrize("kind", ["wide", "deep", "wide_deep", "fm"])
def test_nan_weights_are_weights(kind):
    config = load(
        "tiny", ["faults.nan_weights_on_day=2"], arms=f"wide,{kind}" if kind != "wide" else "wide,fm"
    )
    (learner,) = (one for one in plan.learners(config, 2) if one.arms == (kind,))
    world = world_of(config)
    ranker = registry.create(kind, world.apps, world.cardinalities, learner.parsed_settings(), 0)
    model = ranker.publish()
    assert faults.break_model(config, learner, 1, model) is model
    broken = faults.break_model(config, learner, 2, model)
    assert isinstance(broken, Published)
    for name, array in broken.arrays.items():
        if array.dtype.kind == "f" and not name.startswith("features."):
            assert np.isnan(array).all(), name
        else:
            assert np.array_equal(array, model.arrays[name]), name


def test_a_ranker_without_weights_gives_such_scores():
    config = load("tiny", ["faults.nan_weights_on_day=2"], arms="wide,popularity")
    (learner,) = (one for one in plan.learners(config, 2) if one.arms == ("popularity",))
    world = world_of(config)
    ranker = registry.create("popularity", world.apps, world.cardinalities, {}, 0)
    broken = faults.break_model(config, learner, 2, ranker.publish())
    assert np.isnan(broken.score(SimpleNamespace(apps=np.zeros((3, 4), np.int32)))).all()
