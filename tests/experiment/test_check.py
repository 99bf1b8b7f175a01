"""`storelift check`: the contract for a class of one's own, and the example in docs/."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiment import check
from experiment.cli import app
from models.contract import CHECKS
from simulator.schema import Log

ROOT = Path(__file__).parents[2]

FORGETFUL = """
from models.reference import Popularity

class Forgetful(Popularity):
    kind = "forgetful_ranker:Forgetful"
    def publish(self):
        return self
"""


def run(*arguments):
    return CliRunner().invoke(app, ["check", *arguments, "--quiet"])


@pytest.fixture
def forgetful(tmp_path, monkeypatch):
    """The path of a ranker with one fault; its module lies in the working directory."""
    (tmp_path / "forgetful_ranker.py").write_text(FORGETFUL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield "forgetful_ranker:Forgetful"
    del sys.modules["forgetful_ranker"]


def test_the_example_keeps_to_the_contract(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    outcomes = check.check("docs.examples.dcn:DCN", {"embedding_dim": 2, "hidden": [8], "crosses": 1})
    assert [outcome.name for outcome in outcomes] == [one.name for one in CHECKS]
    assert [(outcome.name, outcome.reason) for outcome in outcomes if not outcome.passed] == []


def test_a_fault_is_an_exit_code_and_a_red_line(forgetful):
    result = run(forgetful)
    assert result.exit_code == 1
    assert "✗  published stays" in result.output
    assert "after fitting on: got" in result.output
    assert f"{len(CHECKS) - 1} of {len(CHECKS)} checks hold" in result.output


def test_json_is_all_there_is(forgetful):
    result = run(forgetful, "--json", "--set", "prior=5.0")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["ranker"] == forgetful
    assert document["settings"] == {"prior": 5.0}
    assert document["passed"] is False
    assert [one["name"] for one in document["checks"] if not one["passed"]] == ["published stays"]


def test_settings_come_from_toml(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("prior = 5.0\n")
    result = run("popularity", "--settings", str(file), "--set", "prior=7.0", "--json")
    assert (result.exit_code, json.loads(result.stdout)["settings"]) == (0, {"prior": 7.0})


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nosuch:Thing"], "storelift: kind: got 'nosuch:Thing', but nosuch cannot be imported"),
        (["popularty"], "storelift: kind: got 'popularty', allowed: wide, "),
        (["oracle"], "storelift: kind: got 'oracle', allowed: a ranker that learns"),
        (["popularity", "--set", "pior=1"], "storelift: settings.pior: got an unknown key, allowed: prior"),
        (
            ["popularity", "--settings", "none.toml"],
            "storelift: settings: got none.toml, allowed: a readable TOML",
        ),
        (
            ["popularity", "--set", "prior=1", "--set", "prior.x=1"],
            "storelift: prior.x: got a path below a value",
        ),
    ],
)
def test_bad_input(arguments, line):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(line)


def test_the_material_is_what_the_checks_need():
    made = check.material()
    assert isinstance(made.log, Log)
    assert len(made.block) == len(made.others) == 128
    assert made.block.apps.shape[1] == made.others.apps.shape[1] == 100
    assert all(0 < made.days(day, day).labels.sum() < made.days(day, day).labels.size for day in (1, 2, 3))
