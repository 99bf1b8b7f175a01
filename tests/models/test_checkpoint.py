"""A model folder holds one model, whole, or none."""

import numpy as np
import pytest

from models import checkpoint

OLD, NEW = {"a": np.zeros(3)}, {"a": np.ones(3)}


def test_a_model_that_json_cannot_hold_leaves_the_old_one(tmp_path):
    checkpoint.write(tmp_path, "wide", OLD, form="trainable", name="old")
    for meta, error in ((np.int64(3), TypeError), (float("nan"), ValueError)):
        with pytest.raises(error):
            checkpoint.write(tmp_path, "wide", NEW, form="trainable", name="new", more=meta)
        arrays, found = checkpoint.read(tmp_path, "wide", "trainable")
        assert (found["name"], arrays["a"].tolist()) == ("old", [0, 0, 0])


@pytest.mark.parametrize("step", range(5))
def test_a_write_that_stops_anywhere_never_mixes_two_models(tmp_path, monkeypatch, step):
    checkpoint.write(tmp_path, "wide", OLD, form="trainable", name="old")
    done = 0

    def counted(function):
        def call(*arguments, **named):
            nonlocal done
            if done == step:
                raise OSError("the disk is full")
            done += 1
            return function(*arguments, **named)

        return call

    path = type(tmp_path)
    monkeypatch.setattr(checkpoint, "save_file", counted(checkpoint.save_file))
    for name in ("write_text", "unlink", "replace"):
        monkeypatch.setattr(path, name, counted(getattr(path, name)))
    with pytest.raises(OSError, match="the disk is full"):
        checkpoint.write(tmp_path, "wide", NEW, form="trainable", name="new")
    monkeypatch.undo()
    try:
        arrays, found = checkpoint.read(tmp_path, "wide", "trainable")
    except FileNotFoundError:
        assert step > 2  # only then is there neither model
    else:
        assert (found["name"], arrays["a"].tolist()) == ("old", [0, 0, 0])
    checkpoint.write(tmp_path, "wide", NEW, form="trainable", name="new")
    arrays, found = checkpoint.read(tmp_path, "wide", "trainable")
    assert (found["name"], arrays["a"].tolist()) == ("new", [1, 1, 1])
