"""Luck of training: its spread in figures that were made up, its key, and the hash that older runs keep."""

import numpy as np
import pytest
from scipy import stats

from experiment import plan
from experiment.loading import load
from experiment.study import phrases, spread, summary
from experiment.study import plan as study_plan


def cell(seed, variant, rates):
    control = next(iter(rates))
    arms = {
        arm: {"expected_rate": rate, "expected_lift": rate / rates[control] - 1}
        for arm, rate in rates.items()
    }
    clock = {"cpu_seconds": 1.0, "seconds": 1.0}
    return {
        "seed": seed,
        "variant": variant,
        "control": control,
        "arms": arms,
        "program": "x",
        "clock": clock,
    }


def test_pooled_is_the_deviation_within_groups():
    rng = np.random.default_rng(0)
    groups = [list(rng.normal(10 * seed, 0.01, 50)) for seed in range(4)]
    found = spread.pooled(groups)
    assert found["sd"] == pytest.approx(np.sqrt(np.mean([np.var(g, ddof=1) for g in groups])))
    assert found["df"] == 196
    assert found["ci"] == pytest.approx(found["sd"] * np.sqrt(196 / stats.chi2.ppf([0.975, 0.025], 196)))
    assert spread.pooled([[1.0], []]) == {"sd": None, "ci": None, "df": 0}


def test_the_lift_of_two_copies_has_the_deviation_that_is_found():
    rng = np.random.default_rng(1)
    cells = [cell(s, "v", {a: 0.1 * np.exp(rng.normal(0, 0.01)) for a in "abc"}) for s in range(400)]
    lifts = [one["arms"]["b"]["expected_lift"] for one in cells]
    assert spread.over_arms(cells)["sd"] == pytest.approx(np.std(lifts), rel=0.1)
    assert spread.over_arms(cells)["df"] == 800


def test_over_variants_seeds_do_not_count():
    cells = [
        cell(seed, str(v), {"wide": 0.1, "deep": 0.1 * (1 + 0.05 * seed + 0.01 * v)})
        for seed in (0, 1)
        for v in (0, 1, 2)
    ]
    (found,) = spread.over_variants(cells)
    assert found["arm"] == "deep"
    assert found["sd"] == pytest.approx(0.01)
    assert found["mean"] == pytest.approx(0.035)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("luck", "Deep: its lift of +1.0% varies by 0.00% (standard deviation, 95% interval 0.00% to 0.00%)"),
        ("own-log-aa", "three times Wide: the lift of one over another varies by 14.1"),
    ],
)
def test_the_studies_say_it(name, words):
    study = study_plan.shipped()[name]
    rates = {"wide": 0.1, "deep": 0.101} if name == "luck" else {"a": 0.1, "b": 0.1 * np.exp(0.1414)}
    cells = {
        (point.name, seed): cell(seed, point.name, rates)
        for point in study.points()
        for seed in study.seed_list()
    }
    document = summary.document(name, study, cells)
    assert any(line.startswith(words) for line in phrases.luck(document))


def test_another_training_seed_is_another_key_and_the_default_is_the_old_one():
    plain, other = load("tiny"), load("tiny", ["experiment.training_seed=1"])
    assert plan.training_key(plain, 3) != plan.training_key(other, 3)
    assert plan.training_key(plain, 3) == 6190452741885641148
    assert plain.config_hash() == load("tiny", ["experiment.training_seed=0"]).config_hash()
    assert other.config_hash() != plain.config_hash()


def test_arms_of_one_kind_with_own_logs_do_not_share_a_learner():
    study = study_plan.shipped()["own-log-aa"]
    for one in study_plan.cells(study):
        assert [learner.arms for learner in plan.learners(one.config, 1)][:3] == [("a",), ("b",), ("c",)]
        assert len({arm.kind for arm in one.config.arms.values()}) == 1
