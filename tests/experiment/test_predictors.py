"""Which offline figure foretells the online lift: correlations over cells, and the study that counts them."""

import io
import json

import numpy as np
import pytest
import scipy.stats

from experiment.study import markdown as study_markdown
from experiment.study import plan as study_plan
from experiment.study import predictor_figure
from experiment.study import table as study_table
from experiment.study.predictors import PREDICTORS, TARGET, WHOLE_RUN, pearson, predictors, spearman
from experiment.study.sweep import run_study


def cell(seed, **arms):
    control = dict.fromkeys((*PREDICTORS, "first_day_lift"), 0.0)
    return {"seed": seed, "control": "wide", "arms": {"wide": control, **arms}}


def test_correlations_are_scipys():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, 40).astype(float)
    y = x + rng.normal(0, 3, 40)
    assert pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
    assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert spearman(x[:2], y[:2]) is None
    assert pearson(np.ones(5), y[:5]) is None


def test_the_best_predictor_comes_first():
    rng = np.random.default_rng(1)
    cells = []
    for seed in range(20):
        lifts = {arm: rng.normal(0.02, 0.03) for arm in ("deep", "wide_deep")}
        arms = {
            arm: {
                "first_day_lift": lift,
                "offline_auc": rng.normal(),
                "log_loss": -lift,
                "offpolicy_ips": lift + rng.normal(0, 0.03),
                "offpolicy_dr": lift + 0.01,
                "offpolicy_snips": None,
            }
            for arm, lift in lifts.items()
        }
        cells.append(cell(seed, **arms))
    rows = {row["predictor"]: row for row in predictors(cells)}
    assert set(list(rows)[:2]) == {"log_loss", "offpolicy_dr"}
    assert rows["log_loss"]["spearman"] == rows["offpolicy_dr"]["spearman"] == pytest.approx(1.0)
    assert rows["offpolicy_dr"]["error"] == pytest.approx(0.01)
    assert rows["log_loss"]["error"] is None
    assert rows["log_loss"]["right_sign"] == rows["log_loss"]["cases"] == 40
    assert rows["log_loss"]["right_by_arm"] == {"deep": [20, 20], "wide_deep": [20, 20]}
    low, high = rows["offpolicy_ips"]["spearman_ci"]
    assert low < rows["offpolicy_ips"]["spearman"] < high
    assert rows["offpolicy_snips"] | {"words": ""} == {
        "predictor": "offpolicy_snips", "words": "", "cases": 0, "right_sign": 0, "right_by_arm": {},
        "spearman": None, "spearman_ci": None, "pearson": None, "error": None,
    }  # fmt: skip


def test_what_is_foretold_may_be_another_lift():
    arms = {"first_day_lift": 0.1, "expected_lift": -0.1, "offline_auc": 0.2}
    cells = [cell(seed, deep=arms) for seed in range(3)]
    for made in cells:
        made["arms"]["wide"]["expected_lift"] = 0.0
    right = {target: predictors(cells, target)[0]["right_by_arm"] for target in (TARGET, WHOLE_RUN)}
    assert right == {TARGET: {"deep": [3, 3]}, WHOLE_RUN: {"deep": [0, 3]}}


def test_the_picture_has_a_mark_for_each_case():
    def found(*values):
        return {"values": list(values)}

    wide = {"offline_auc": found(0.8, 0.8), "first_day_lift": found(0.0, 0.0)}
    deep = {"offline_auc": found(0.79, None), "first_day_lift": found(0.02, 0.03)}
    document = {"points": [{"arms": {"wide": wide, "deep": deep}, "lifts": [{"control": "wide"}]}]}
    auc, *others = predictor_figure.figure(document).data
    assert (auc.name, list(auc.x), list(auc.y)) == ("Deep", [pytest.approx(-0.01)], [0.02])
    assert [len(one.x) for one in others] == [0, 0]
    failed = {"arms": {}, "lifts": []}
    assert len(predictor_figure.figure({"points": [failed, *document["points"]]}).data) == 3
    assert not predictor_figure.figure({"points": [failed]}).data


def test_a_study_counts_them(tmp_path):
    data = {
        "title": "Small", "preset": "tiny", "seeds": 1, "arms": ["wide", "deep"], "extras": ["offpolicy"],
        "set": {"users.population": 20_000, "world.apps": 400, "experiment.days": 1},
        "measures": ["offpolicy_ips", "first_day_lift"],
    }  # fmt: skip
    study = study_plan.validated(data, "small")
    document = run_study("small", study, tmp_path, workers=1)
    deep = document["points"][0]["arms"]["deep"]
    assert deep["offpolicy_position_dr"]["mean"] is not None
    assert document["points"][0]["arms"]["wide"]["offpolicy_ips"]["mean"] == 0.0
    assert [row["cases"] for row in document["predictors"]] == [1] * len(PREDICTORS)
    assert [row["by_point"] for row in document["predictors"]] == [{"Small": None}] * len(PREDICTORS)
    assert (
        json.loads((tmp_path / "studies" / "small.json").read_text())["predictors"] == document["predictors"]
    )
    from rich.console import Console

    console = Console(record=True, width=100, file=io.StringIO())
    console.print(study_table.render(document))
    shown = console.export_text()
    assert "foretells the" in shown
    assert " of 1 " in shown
    assert "lift of all days" in shown
    whole = [row["whole_run"] for row in document["predictors"]]
    assert [row["cases"] for row in whole] == [1] * len(PREDICTORS)
    text = study_markdown.markdown(document, "a command")
    assert "| foretells the sign of the lift | first day: Deep | all days: Deep |" in text
