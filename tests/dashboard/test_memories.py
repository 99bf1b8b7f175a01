"""What the wide parts remember, from models and logs that a test writes."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from dashboard import memories
from dashboard.reading import read
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.folder.tensors import write_arrays


def remembering(path, arm, day, pairs):
    """Gives the run a model of `arm` that serves from `day` on and holds weights by (installed, shown)."""
    file = RunPaths(path).model(arm, day) / "arrays.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    lefts, rights = (np.array(side, np.int32) for side in zip(*pairs, strict=True))
    weights = np.array(list(pairs.values()), np.float32)
    write_arrays(file, {"wide.cross_weights": weights, "wide.lefts": lefts, "wide.rights": rights})
    folder = RunFolder.open(path)
    with folder.locked():
        folder.register([file])
        folder.finish_day(folder.manifest.finished_day)


def test_the_strongest_rules_and_what_became_of_them(maker):
    path = maker.run()
    log = pq.read_table(min(RunPaths(path).log("wide", 3).glob("*.parquet")), partitioning=None)
    truth = pq.read_table(min(RunPaths(path).truth("wide", 3).glob("*.parquet")), partitioning=None)
    app = int(log.column("apps")[0].as_py()[0])
    shown = [
        (row["labels"][k], exceptions[k])
        for row, exceptions in zip(log.to_pylist(), truth.column("exceptions").to_pylist(), strict=True)
        for k in range(len(row["apps"]))
        if row["apps"][k] == app and 3 in row["installed"]
    ]
    remembering(path, "wide", 2, {(3, app): -2.0, (4, 99): 1.5, (9, app): 0.5})
    remembering(path, "wide", 4, {(1, 1): 9.0})  # it has not served yet
    count, rules = memories.strongest(read(path), "wide")
    assert count == 3
    assert [(rule.installed, rule.shown, rule.weight) for rule in rules] == [
        (3, app, -2.0),
        (4, 99, 1.5),
        (9, app, 0.5),
    ]
    first, never, absent = rules
    assert first.times == len(shown) > 0
    assert first.rate == pytest.approx(np.mean([label for label, _ in shown]))
    assert first.exception == pytest.approx(np.mean([exception for _, exception in shown]), abs=1e-6)
    for rule in (never, absent):
        assert (rule.times, rule.rate, rule.exception) == (0, None, None)
    assert memories.rows([never]) == [["4", "99", "+1.50", "0", "–", "–"]]


def test_a_model_that_was_changed_is_not_read(maker):
    path = maker.run()
    remembering(path, "wide", 1, {(3, 5): 2.0})
    assert memories.strongest(read(path), "wide")[0] == 1
    (RunPaths(path).model("wide", 1) / "arrays.safetensors").write_bytes(b"other")
    assert memories.strongest(read(path), "wide") == (0, [])
    assert memories.strongest(read(path), "deep") == (0, [])


def test_the_page_shows_them(maker, window, says):
    path = maker.run()
    remembering(path, "wide", 1, {(3, 5): 2.0})
    at = window(path.parent, page="generalise")
    assert not at.exception
    assert "1 pair" in str([one.value for one in at.markdown])
    assert "True exception" in says(at)
