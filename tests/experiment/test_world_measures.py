"""Spectra of matrices whose ranks are known, and of worlds with and without exceptions."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from experiment.cli import app
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.preference import measures
from experiment.preference.command import WORLD, render, save
from experiment.preference.figure import figure, write_page
from experiment.worlds import world_of

SIZES = {"users": 80, "apps": 120, "day": 1}


@pytest.fixture(scope="module")
def found():
    return measures.measure(load("tiny"), **SIZES)


def test_equal_singular_values_count_themselves():
    found = measures.spectrum(np.array([2.0] * 7 + [0.0] * 5))
    assert found["effective_rank"] == pytest.approx(7)
    assert (found["size"], found["rank_90"]) == (12, 7)
    assert found["left"]["4"] == pytest.approx(3 / 7)
    assert found["left"]["256"] == 0.0
    assert measures.spectrum(np.zeros(4)) is None


def test_values_are_those_of_the_decomposition():
    matrix = np.random.default_rng(0).normal(size=(30, 50))
    assert measures._values(matrix @ matrix.T) == pytest.approx(np.linalg.svd(matrix, compute_uv=False))


def test_smooth_taste_has_its_dimensions_and_exceptions_have_many(found):
    smooth, whole, exceptions = (found["spectra"][name] for name in ("smooth", "whole", "exceptions"))
    dimension = load("tiny").world.taste_dimension
    assert smooth["effective_rank"] <= dimension
    assert smooth["left"]["4"] == pytest.approx(0.0, abs=1e-9)
    assert whole["effective_rank"] > 3 * dimension
    assert whole["left"]["16"] > 0.005
    assert exceptions["effective_rank"] > 0.8 * exceptions["size"]
    assert found["rank_of_r"] > 0.9 * 800
    assert found["variance"]["whole"] > found["variance"]["smooth"]


def test_sparsity_is_that_of_the_world(found):
    config = load("tiny")
    world = world_of(config)
    cells = {(int(i), a) for a, row in enumerate(world.exceptions(1).companions) for i in row}
    assert found["sparsity"]["cells_of_r"] == pytest.approx(len(cells) / 800**2, rel=1e-3)
    assert 0.001 < found["sparsity"]["pairs_with_exception"] < 0.5


def test_a_world_without_exceptions_is_smooth_alone():
    config = load("tiny", ["world.exception_slots=0"])
    found = measures.measure(config, **SIZES)
    assert found["spectra"]["exceptions"] is None
    assert found["spectra"]["whole"] == found["spectra"]["smooth"]
    assert (found["rank_of_r"], found["sparsity"]["pairs_with_exception"]) == (0, 0.0)
    assert len(figure(found).data) == 2
    assert render(found) is not None


def test_the_figure_names_the_ranks(found, tmp_path):
    names = [trace.name for trace in figure(found).data]
    assert [name.split(":")[0] for name in names] == [
        "Smooth taste",
        "With the exceptions",
        "Exceptions alone",
    ]
    write_page(tmp_path / "spectra.html", found)
    text = (tmp_path / "spectra.html").read_text("utf-8")
    assert text.count("<figure ") == 1
    assert "<td>Smooth taste</td>" in text


def test_a_runs_world_is_saved_and_listed(tmp_path):
    folder = RunFolder.create(tmp_path / "run", load("tiny"))
    folder.finish({"run": {}}, "")
    document = save(tmp_path / "run", **SIZES)
    opened = RunFolder.open(tmp_path / "run")
    assert opened.verify() == []
    assert json.loads(opened.trusted(tmp_path / "run" / WORLD).read_bytes()) == document


def test_the_command(found):
    sizes = ["--users", "80", "--apps", "120"]
    result = CliRunner().invoke(app, ["world", "--preset", "tiny", *sizes, "--json"])
    assert json.loads(result.stdout) == found
    result = CliRunner().invoke(app, ["world", "--preset", "tiny", *sizes])
    assert "Exceptions alone" in result.stdout
    result = CliRunner().invoke(app, ["world", "--preset", "tiny", "--run", "nowhere"])
    assert result.exit_code == 2
    assert "run: got it beside preset, set or seed, allowed: a run, or settings" in result.stderr
