"""A process holds the models that serve now, not those of days gone by."""

from pathlib import Path

import pytest

from experiment import serving
from experiment.errors import NoModelError
from experiment.loading import load
from experiment.worlds import world_of


@pytest.fixture
def loaded(monkeypatch):
    read = []

    def load_model(folder, world, kind, settings):
        read.append(str(folder))
        return object()

    monkeypatch.setattr(serving, "load_model", load_model)
    monkeypatch.setattr(serving, "_models", {})
    return read


def test_an_arm_whose_first_model_was_refused_is_named(tmp_path):
    with pytest.raises(
        NoModelError, match=r"^arms\.deep: got a ranker of which no model has passed the gate before day 1"
    ):
        serving.policy_of(tmp_path, load("tiny"), "deep", 1, None)


def test_of_each_arm_one_model_is_held_and_of_few_arms(loaded):
    world = world_of(load("tiny"))

    def model(arm, day):
        return serving._published(Path(f"models/arm={arm}/day={day}"), world, "wide", "{}")

    first = model("a", 1)
    assert model("a", 1) is first
    assert model("b", 1) is not first
    assert model("a", 2) is not first
    assert loaded == ["models/arm=a/day=1", "models/arm=b/day=1", "models/arm=a/day=2"]
    assert sorted(path.name for path in serving._models) == ["arm=a", "arm=b"]
    for arm in range(10):
        model(arm, 1)
    assert len(serving._models) == serving.HELD_ARMS
    model("a", 2)
    assert loaded[-1] == "models/arm=a/day=2"
    serving.forget()
    assert not serving._models
