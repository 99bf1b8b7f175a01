"""`storelift explain`: exact sums, equal to what was logged, and the same apps under every arm's model."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from experiment import explanation, plan
from experiment.cli import app
from experiment.daily import day_log, day_truth
from experiment.errors import BadInput
from experiment.folder.manifest import RunFolderError
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.running import run

SMALL = ["world.apps=800", "users.population=8000", "experiment.bucket_share=0.02", "experiment.days=1"]
ARMS = ("wide", "deep", "wide_deep", "oracle")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("explain") / "run"
    run(load("tiny", [*SMALL, "run.workers=1"], arms=",".join(ARMS)), path)
    return RunFolder.open(path)


def _first(folder, arm, day=1):
    log = day_log(folder.path, folder.config, (arm,), day)
    return int(log.requests.request_id[0]), log.take(slice(0, 1))


@pytest.mark.parametrize("arm", ["wide", "deep", "wide_deep"])
def test_the_shares_of_a_score_sum_to_what_was_logged(folder, arm):
    log = day_log(folder.path, folder.config, (arm,), 1)
    for row in range(3):
        document = explanation.explain(folder, int(log.requests.request_id[row]))
        assert document["arm"] == document["group"] == arm
        assert [one["app"] for one in document["apps"]] == log.requests.apps[row].tolist()
        for one, score in zip(document["apps"], log.scores[row].tolist(), strict=True):
            assert one["score"] == score
            assert sum(one["parts"].values()) == pytest.approx(score, abs=2e-5)
        assert [one["rank"] for one in document["arms"][arm]["apps"]] == list(range(1, 11))


def test_labels_and_true_chances_are_those_of_the_run(folder):
    request, log = _first(folder, "deep")
    truth = day_truth(folder.path, ("deep",), 1)
    document = explanation.explain(folder, request)
    assert [one["label"] for one in document["apps"]] == log.labels[0].tolist()
    assert [one["probability"] for one in document["apps"]] == truth.probabilities[0].tolist()
    assert document["request"]["user_id"] == int(log.requests.user_id[0])
    assert [one["propensity"] for one in document["apps"]] == [None] * 10


def test_every_arm_ranks_the_shown_apps_by_its_own_scores(folder):
    request, log = _first(folder, "wide")
    arms = explanation.explain(folder, request)["arms"]
    assert list(arms) == [*ARMS, "production"]
    for arm, one in arms.items():
        scores = [row["score"] for row in one["apps"]]
        assert [row["app"] for row in one["apps"]] == log.requests.apps[0].tolist(), arm
        assert (
            np.argsort(np.negative(scores), kind="stable").tolist()
            == np.argsort([row["rank"] for row in one["apps"]]).tolist()
        )
    assert set(arms["deep"]["apps"][0]["parts"]) == {"deep logit"}
    assert "bias" in arms["wide"]["apps"][0]["parts"]
    assert arms["oracle"]["status"] == "oracle/oracle: a ranker of this kind gives no shares"
    assert {one["status"] for name, one in arms.items() if name != "oracle"} == {"ok"}


def test_before_day_1_production_alone_has_a_model(folder):
    document = explanation.explain(folder, _first(folder, "production", 0)[0])
    assert list(document["arms"]) == ["production"]
    assert document["arm"] == "production"
    bootstrap = explanation.explain(folder, _first(folder, "production", -2)[0])
    assert bootstrap["model_version"] == "production/popularity"
    assert bootstrap["arms"]["production"]["status"].endswith("gives no shares")
    assert 0 < bootstrap["apps"][0]["propensity"] < 1


def test_the_command_prints_one_document_and_saves_it_whole_for_the_dashboard(folder):
    request, log = _first(folder, "wide_deep")
    shown = int(log.requests.apps[0, 2])
    words = ["explain", str(folder.path), "--request", str(request), "--json"]
    result = CliRunner().invoke(app, [*words, "--app", str(shown), "--arm", "wide"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [one["app"] for one in document["apps"]] == [shown]
    assert list(document["arms"]) == ["wide"]
    saved = json.loads((folder.path / "explanations" / f"request-{request}.json").read_text())
    assert len(saved["apps"]) == 10
    assert list(saved["arms"]) == [*ARMS, "production"]
    assert set(saved["arms"]["deep"]["apps"][0]) == {"app", "rank", "score", "parts"}
    assert folder.verify() == []


def test_the_table_names_the_request_the_shown_apps_and_the_shares(folder):
    request, log = _first(folder, "wide")
    first = int(log.requests.apps[0, 0])
    plain = CliRunner().invoke(app, ["explain", str(folder.path), "--request", str(request)])
    assert plain.exit_code == 0
    assert f"Request {request}: user {int(log.requests.user_id[0])}, day 1" in plain.stdout
    assert f"app {first}: {float(log.scores[0, 0]):+.3f} = " in plain.stdout
    assert "true chance" in plain.stdout
    whole = CliRunner().invoke(
        app, ["explain", str(folder.path), "--request", str(request), "--app", str(first)]
    )
    (total,) = re.findall(r"^  (\S+)  sum$", whole.stdout, re.MULTILINE)
    assert float(total) == pytest.approx(float(log.scores[0, 0]), abs=2e-5)


def test_a_request_that_is_not_there_is_bad_input(folder):
    request, log = _first(folder, "wide")
    config = folder.config
    nobody = next(
        u for u in range(config.users.population) if plan.layer_of(config).arm_of(np.array([u]))[0] < 0
    )
    none = nobody << 16 | (1 + (1 << 15))
    with pytest.raises(BadInput, match=rf"^request: got {none} \(user {nobody}\), allowed: users of "):
        explanation.explain(folder, none)
    with pytest.raises(BadInput, match=r"^request: got 5 \(user 0, day -32763\), allowed: users 0 to 7999 "):
        explanation.explain(folder, 5)
    with pytest.raises(BadInput, match=r"^request: got -1, allowed: a request_id of the run's log$"):
        explanation.explain(folder, -1)
    visitors = set(day_log(folder.path, config, ("wide",), 1).requests.user_id.tolist())
    absent = next(
        int(u)
        for shard in plan.shards(config)
        if shard.group == "wide"
        for u in plan.shard_members(config, shard)
        if int(u) not in visitors
    )
    with pytest.raises(BadInput, match=r"allowed: a request of arm wide on day 1; none is logged$"):
        explanation.explain(folder, absent << 16 | (1 + (1 << 15)))
    for words, message in (
        (["--arm", "fm"], "arm: got 'fm', allowed on day 1: wide, deep, wide_deep, oracle, production"),
        (["--app", "-7"], f"app: got -7, allowed: {', '.join(map(str, log.requests.apps[0].tolist()))}"),
    ):
        result = CliRunner().invoke(app, ["explain", str(folder.path), "--request", str(request), *words])
        assert result.exit_code == 2
        assert message in result.stderr


def test_a_damaged_log_is_named(folder, tmp_path):
    request, _ = _first(folder, "deep")
    import shutil

    shutil.copytree(folder.path, tmp_path / "copy")
    part = next((tmp_path / "copy" / "log" / "arm=deep" / "day=1").glob("part-*.parquet"))
    (tmp_path / "copy" / "log" / "arm=deep" / "day=1" / part.name).write_bytes(part.read_bytes() + b" ")
    with pytest.raises((RunFolderError, ValueError), match="part-"):
        explanation.explain(RunFolder.open(tmp_path / "copy"), request)
