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
from experiment.preference.phrases import embedding, findings, rows
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


@pytest.mark.parametrize("dense", [0, 2000])
def test_what_is_left_of_the_whole_r_is_that_of_its_decomposition(monkeypatch, dense):
    monkeypatch.setattr(measures, "DENSE", dense)
    config = load("tiny", ["world.apps=300"])
    r = measures._matrix(world_of(config), 1)
    start = np.random.default_rng(0).standard_normal(300)
    left = measures._left(r, start)
    squares = np.linalg.svd(r.toarray(), compute_uv=False) ** 2
    assert list(left) == ["1", "2", "4", "8", "16", "32", "64", "128"]
    assert list(left.values()) == pytest.approx([squares[int(d) :].sum() / squares.sum() for d in left])
    assert measures._left(r, start) == left


def test_fewer_rows_of_r_leave_less(found):
    for dimensions in ("16", "32", "64"):
        assert found["spectra"]["exceptions"]["left"][dimensions] < found["left_of_r"][dimensions] - 0.05
    every = measures.measure(load("tiny"), users=80, apps=800, day=1)
    assert every["spectra"]["exceptions"]["left"]["32"] == pytest.approx(every["left_of_r"]["32"])


def test_effective_rank_with_exceptions_grows_with_the_sample(found):
    more = measures.measure(load("tiny"), users=160, apps=240, day=1)
    ranks = [found["half"]["effective_rank"]] + [
        document["spectra"]["whole"]["effective_rank"] for document in (found, more)
    ]
    assert ranks[1] > 1.2 * ranks[0]
    assert ranks[2] > 1.2 * ranks[1]
    assert (found["half"]["users"], found["half"]["apps"]) == (40, 60)
    said = " ".join(findings(found))
    assert f"grows with it: with exceptions {ranks[1]:,.1f} of 80 users x 120 apps" in said
    assert f"{ranks[0]:,.1f} of 40 x 60 of them" in said


def test_variances_are_said_as_such(found):
    said, parts = " ".join(findings(found)), found["variance"]
    assert "Variances, not shares, of the log odds" in said
    for name, words in (("smooth", "smooth taste"), ("exceptions", "exceptions"), ("whole", "both together")):
        assert f"{parts[name]:.2f} of {words}" in said


def test_what_is_left_of_r_says_of_which_r(found):
    assert f"leaves {found['left_of_r']['32']:.0%} of R." in embedding(found)
    assert rows(found)[-1][0] == "R, the whole"
    assert rows(found)[-1][4:] == [f"{found['left_of_r'][d]:.1%}" for d in ("16", "32", "64", "128")]
    sampled = f"leaves {found['spectra']['exceptions']['left']['32']:.0%} of R's sampled rows."
    old = {key: value for key, value in found.items() if key not in ("left_of_r", "half")}
    assert sampled in embedding(old)
    assert [row[0] for row in rows(old)] == ["Smooth taste", "With exceptions", "R, sampled rows"]
    assert sampled in " ".join(findings(old))
    assert "too large" not in " ".join(findings(old))


def test_of_a_large_catalogue_the_whole_r_is_left_out(monkeypatch):
    monkeypatch.setattr(measures, "MOST_SPLIT", 799)
    found = measures.measure(load("tiny"), **SIZES)
    assert found["left_of_r"] is None
    assert "of R's sampled rows." in embedding(found)
    assert findings(found)[-1] == "Of 800 apps the whole R is too large to be taken apart."


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
    assert found["left_of_r"] is None
    assert embedding(found) is None
    assert len(figure(found).data) == 2
    assert render(found) is not None
    assert "sample" not in " ".join(findings(found))


def test_exceptions_of_no_weight_are_none():
    found = measures.measure(load("tiny", ["world.exception_weight=0"]), **SIZES)
    assert (found["rank_of_r"], found["sparsity"]["cells_of_r"]) == (0, 0.0)
    assert found["left_of_r"] is None


def test_the_figure_names_the_ranks(found, tmp_path):
    names = [trace.name for trace in figure(found).data]
    assert [name.split(":")[0] for name in names] == [
        "Smooth taste",
        "With exceptions",
        "R, sampled rows",
    ]
    ranks = [found["spectra"][name]["effective_rank"] for name in ("smooth", "whole", "exceptions")]
    assert [name.split(": effective rank ")[1] for name in names] == [
        f"{rank:,.0f} of {size}" for rank, size in zip(ranks, (80, 80, 120), strict=True)
    ]
    write_page(tmp_path / "spectra.html", found)
    text = (tmp_path / "spectra.html").read_text("utf-8")
    assert text.count("<figure ") == 1
    assert "<td>Smooth taste</td>" in text
    assert "<td>R, the whole</td>" in text
    assert embedding(found) in text


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
    assert "R, the whole" in result.stdout
    assert " ".join(embedding(found).split()) in " ".join(result.stdout.split())
    result = CliRunner().invoke(app, ["world", "--preset", "tiny", "--run", "nowhere"])
    assert result.exit_code == 2
    assert "run: got it beside preset, set or seed, allowed: a run, or settings" in result.stderr
