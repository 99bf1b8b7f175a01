"""Experiments drawn out of known outcomes: exact sums, the statistics themselves, and their error rates."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference
from statsmodels.stats.proportion import proportions_ztest
from typer.testing import CliRunner

from experiment import running
from experiment.calibration import calibrate
from experiment.calibration.document import acceptance, figures
from experiment.calibration.draws import FINITE, SUPER, VIEWS, Population, draw, group_sums
from experiment.calibration.figure import figure
from experiment.calibration.methods import METHODS, Drawn, answers
from experiment.calibration.replays import DrawTask, ask
from experiment.cli import app
from experiment.errors import BadInput
from experiment.folder import atomic
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.stats import comparison
from experiment.stats.moments import Moments, stack
from experiment.stats.results import Plan
from experiment.truth import command as truth
from experiment.truth.potential import Potential, days_path, users_path

ARMS = ("wide", "deep", "wide_deep")
PAIRS = (("deep", "wide"), ("wide_deep", "wide"), ("wide_deep", "deep"))


def outcomes(users: int, days: int = 3, seed: int = 0, lifts=(0.0, 0.1, -0.05)) -> Potential:
    """Users who differ in how often they come and in what they like; the arms' effect differs by day."""
    rng = np.random.default_rng(seed)
    visits = rng.random((users, days)) < np.clip(rng.gamma(2, 0.25, users), 0.05, 0.95)[:, None]
    shown = np.broadcast_to((10 * visits).astype(np.int32), (len(lifts), users, days))
    taste = np.clip(rng.gamma(2, 0.04, users), 0, 0.3)[:, None]
    chance = np.stack([taste * (1 + lift * np.arange(1, days + 1)) for lift in lifts])
    acquired = rng.binomial(shown, np.clip(chance, 0, 1)).astype(np.int32)
    before = rng.binomial(7, np.clip(visits.mean(axis=1), 0.1, 0.9)) * 10
    group = rng.permutation(np.arange(users) % len(lifts)).astype(np.int16)
    return Potential(
        ARMS[: len(lifts)], tuple(range(1, days + 1)), np.arange(users), group, np.zeros(users, np.int8),
        before, rng.binomial(before, taste[:, 0]), shown, acquired, chance * shown,
    )  # fmt: skip


def task(view: str, start: int, stop: int, **changes) -> DrawTask:
    fields = {"pairs": PAIRS, "planned": Plan(4e-5, 4e-3), "alpha": 0.05, **changes}
    return DrawTask(Path(), view, 0, start, stop, **fields)


@pytest.fixture(scope="module")
def potential():
    return outcomes(900)


@pytest.fixture(scope="module")
def population(potential):
    return Population.of(potential)


def test_groups_have_their_sizes_and_every_user_the_same_chance(population):
    replays = range(300)
    drawn = draw(population, SUPER, 0, replays)
    assert np.array_equal(drawn.sum(axis=2), np.broadcast_to(population.sizes, (300, 3)))
    assert drawn.max() > 1
    assigned = draw(population, FINITE, 0, replays)
    assert np.array_equal(assigned.sum(axis=2), np.broadcast_to(population.sizes, (300, 3)))
    assert (assigned.sum(axis=1) == 1).all()
    for weights in (drawn, assigned):
        share = population.sizes / len(population)
        z = (weights.mean(axis=0) - share[:, None]) / np.sqrt(share * (1 - share) / 300)[:, None]
        assert np.abs(z).max() < 5
        assert 0.85 < z.std() < 1.35
        assert not np.array_equal(weights[0], weights[1])


def test_a_users_neighbours_say_nothing_of_its_group(population):
    assigned = draw(population, FINITE, 3, range(400))[:, 0].astype(float)
    together = np.corrcoef(assigned[:, :40].T) - np.eye(40)
    assert np.abs(together).max() < 5 / np.sqrt(400)


@pytest.mark.parametrize("view", VIEWS)
def test_sums_are_exact(population, view):
    weights = draw(population, view, 0, range(5))
    whole = population.columns.astype(np.int64)
    for group in range(3):
        sums = group_sums(population, weights, group, (0, 1, 2))
        assert np.array_equal(sums, weights[:, group].astype(np.int64) @ whole)
        some = group_sums(population, weights, group, (0, 2))
        needed = sums == some
        assert needed[:, : population.slices((0,))[0, 1]].all()
        assert (some[~needed] == 0).all()


def test_large_counts_are_summed_exactly_too():
    potential = outcomes(40)
    big = (potential.impressions * 30_000).astype(np.int32)
    large = Potential(
        **{**{name: getattr(potential, name) for name in Potential.__slots__}, "impressions": big}
    )
    population = Population.of(large)
    assert population.columns.dtype == np.int64
    weights = draw(population, SUPER, 0, range(3))
    expected = weights[:, 1].astype(object) @ population.columns.astype(object)
    assert (group_sums(population, weights, 1, (0, 1, 2)) == expected).all()


def test_few_users_drawn_often_do_not_overflow():
    few = outcomes(3)
    population = Population.of(few.take(few.visited))
    weights = draw(population, SUPER, 0, range(2000))
    expected = weights[:, 0].astype(np.int64) @ population.columns.astype(np.int64)
    assert np.array_equal(group_sums(population, weights, 0, (0, 1, 2)), expected)


@pytest.mark.parametrize("view", VIEWS)
def test_blocks_and_tasks_do_not_show(population, view):
    whole = ask(population, task(view, 0, 60))
    parts = [ask(population, task(view, 0, 25, block=7)), ask(population, task(view, 25, 60, block=64))]
    assert set(whole) == {(pair, method) for pair in PAIRS for method in METHODS}
    for key, one in whole.items():
        for name in one.__slots__:
            joined = np.concatenate([getattr(part[key], name) for part in parts])
            assert np.array_equal(getattr(one, name), joined, equal_nan=True), (key, name)


def _literal_looks(potential: Potential, users: np.ndarray, arm: int) -> Moments:
    """The looks of drawn users, counted as a report counts them."""
    x = potential.acquisitions[arm][users].cumsum(axis=1)
    y = potential.impressions[arm][users].cumsum(axis=1)
    before = potential.pre_acquisitions[users], potential.pre_impressions[users]
    looks = []
    for at in range(len(potential.days)):
        seen = y[:, at] > 0
        looks.append(Moments.from_users(x[seen, at], y[seen, at], before[0][seen], before[1][seen]))
    return stack(looks)


@pytest.mark.parametrize("view", VIEWS)
def test_answers_are_those_of_the_statistics_asked_one_by_one(potential, view):
    came = potential.take(potential.visited)
    population = Population.of(potential)
    plan = calibrate.planned_variance(potential, 7, len(potential.days))
    found = ask(population, task(view, 0, 6, planned=plan))
    weights = draw(population, view, 0, range(6))
    for arm, control in PAIRS:
        t, c = ARMS.index(arm), ARMS.index(control)
        for replay in range(6):
            treated = np.repeat(np.arange(len(came)), weights[replay, t])
            controls = np.repeat(np.arange(len(came)), weights[replay, c])
            for under in (t, c):
                literal = comparison.compare(
                    _literal_looks(came, controls, c), _literal_looks(came, treated, under), planned=plan
                )
                welch = comparison.compare(
                    _literal_looks(came, controls, c)[-1],
                    _literal_looks(came, treated, under)[-1],
                    use_t=True,
                )
                one = {method: found[(arm, control), method] for method in METHODS}
                said = {
                    "z": literal.p_value, "welch_t": welch.p_value, "cuped": literal.cuped.p_value,
                    "always_valid": literal.always_valid_p,
                }  # fmt: skip
                if under == c:
                    for method, p in said.items():
                        assert one[method].p_null[replay] == pytest.approx(p, rel=1e-9), method
                        assert one[method].rejected_null[replay] == (p < 0.05)
                    continue
                lift = came.lift(arm, control)
                intervals = {
                    "z": literal.lift_ci, "welch_t": welch.lift_ci, "fieller": literal.lift_fieller_ci,
                    "cuped": literal.cuped.lift_ci, "always_valid_running": literal.always_valid_lift_ci,
                }  # fmt: skip
                for method, ends in intervals.items():
                    assert one[method].width[replay] == pytest.approx(ends[1] - ends[0], rel=1e-8), method
                    assert one[method].covered[replay] == (ends[0] <= lift <= ends[1]), method
                    assert one[method].truth[replay] == pytest.approx(lift, rel=1e-12)
                for method, p in said.items():
                    assert one[method].rejected[replay] == (p < 0.05), method
                assert one["z"].estimate[replay] == pytest.approx(literal.lift, rel=1e-10)
                assert one["cuped"].estimate[replay] == pytest.approx(literal.cuped.lift, rel=1e-10)


def test_the_naive_methods_are_what_they_are_called(potential, population):
    weights = draw(population, SUPER, 0, range(4))
    c, t = (group_sums(population, weights, group, (0, 1)) for group in (0, 1))
    truths = population.true_rates(1) / population.true_rates(0) - 1
    drawn = Drawn(population.looks_of(c, 0), population.looks_of(t, 1), population.last_of(c, 0),
                  population.last_of(t, 1), truths)  # fmt: skip
    said = answers(drawn, Plan(4e-5, 4e-3), 0.05)
    for replay in range(4):
        (xc, yc), (xt, yt) = drawn.control_last.total[replay, :2], drawn.treatment_last.total[replay, :2]
        p = proportions_ztest([xt, xc], [yt, yc])[1]
        assert said["naive_impressions"].p_value[replay] == pytest.approx(p, rel=1e-9)
        looks = [
            comparison.compare(drawn.control[replay, day], drawn.treatment[replay, day]) for day in range(3)
        ]
        significant = [one for one in looks if one.p_value < 0.05]
        shown = (significant or looks[-1:])[0]
        assert said["naive_peeking"].estimate[replay] == pytest.approx(shown.lift, rel=1e-9)
        assert said["naive_peeking"].rejected[replay] == bool(significant)
        low, high = (end / (xc / yc) for end in _difference_ci(looks[-1]))
        assert said["naive_scaled"].lower[replay] == pytest.approx(low, rel=1e-9)
        assert said["naive_scaled"].upper[replay] == pytest.approx(high, rel=1e-9)


def _difference_ci(one):
    half = one.method.q * one.difference_se
    return one.difference - half, one.difference + half


@pytest.fixture(scope="module")
def many():
    """8,000 experiments in each view out of 3,000 users with known outcomes."""
    potential = outcomes(3000, days=5, lifts=(0.0, 0.03))
    population = Population.of(potential)
    plan = calibrate.planned_variance(potential, 7, len(potential.days))
    pairs = (("deep", "wide"),)
    found = {view: ask(population, task(view, 0, 8000, pairs=pairs, planned=plan)) for view in VIEWS}
    return {view: {method: one[pairs[0], method] for method in METHODS} for view, one in found.items()}


@pytest.mark.parametrize("view", VIEWS)
def test_p_values_are_uniform_under_a_a(many, view):
    found = many[view]
    slack = 4 * np.sqrt(0.05 * 0.95 / 8000)
    for method in ("z", "welch_t", "fieller", "cuped"):
        assert abs(found[method].rejected_null.mean() - 0.05) < slack + 0.003, method
        if method != "fieller":
            assert reference.kstest(found[method].p_null, "uniform").statistic < 0.025, method
    assert found["always_valid"].rejected_null.mean() < 0.05


def test_coverage_is_as_stated_and_the_naive_are_seen_failing(many):
    slack = 4 * np.sqrt(0.05 * 0.95 / 8000)
    for method in ("z", "welch_t", "fieller", "cuped"):
        assert abs(many[SUPER][method].covered.mean() - 0.95) < slack + 0.003, method
        assert many[FINITE][method].covered.mean() > 0.95 - slack - 0.003, method
    for view in VIEWS:
        found = many[view]
        assert found["always_valid"].covered.mean() >= 0.95
        assert found["naive_impressions"].rejected_null.mean() > 0.08
        assert found["naive_peeking"].rejected_null.mean() > 0.1
        assert np.nanmean(found["cuped"].width) < np.nanmean(found["z"].width)
        assert figures(found["z"])["estimate_bias"] == pytest.approx(0, abs=0.003)


def test_the_figures_of_nothing_are_none():
    nan = np.full(3, np.nan)
    from experiment.calibration.replays import Replays

    no = np.zeros(3, bool)
    found = figures(Replays(nan, nan, nan, no, no, no, nan))
    assert found["estimate_mean"] is found["estimate_sd"] is found["interval_width"] is None
    assert (found["coverage"], found["undefined"]) == (0.0, 1.0)


def test_bands(many):
    methods = {method: figures(one) for method, one in many[SUPER].items()}
    one = {"arm": "deep", "control": "wide", "methods": methods}
    checks = acceptance({SUPER: {"comparisons": [one]}, FINITE: {"comparisons": [one]}})
    assert len(checks) == 2 * (4 * 2 + 2)
    assert acceptance({SUPER: {"comparisons": [one]}}, 0.1) == []
    methods["z"] = methods["z"] | {"coverage": 0.97}
    methods["always_valid"] = methods["always_valid"] | {"coverage": 0.94}
    missed = {
        (c["view"], c["method"], c["figure"])
        for c in acceptance({SUPER: {"comparisons": [one]}, FINITE: {"comparisons": [one]}})
        if not c["kept"] and c["method"] in ("z", "always_valid")
    }
    assert (SUPER, "always_valid", "coverage") in missed
    assert (SUPER, "z", "coverage") in missed
    assert (FINITE, "z", "coverage") not in missed


def test_populations_that_make_no_sense_are_refused(potential):
    shown = potential.impressions.copy()
    shown[1, 0] += 1
    fields = {name: getattr(potential, name) for name in Potential.__slots__}
    with pytest.raises(ValueError, match="come more often under some arm"):
        Population.of(Potential(**{**fields, "impressions": shown}))
    with pytest.raises(ValueError, match="none in the whole run"):
        Population.of(Potential(**{**fields, "impressions": 0 * shown}))


def test_a_plan_without_a_pre_period_is_of_the_window(potential):
    fields = {name: getattr(potential, name) for name in Potential.__slots__}
    none = np.zeros(len(potential), np.int64)
    bare = Potential(**{**fields, "pre_impressions": none, "pre_acquisitions": none})
    assert calibrate.planned_variance(bare, 7, len(bare.days)).difference > 0


@pytest.fixture(scope="module")
def aa(tmp_path_factory):
    """A finished A/A run: two arms that serve identical models."""
    folder = tmp_path_factory.mktemp("run") / "aa"
    settings = ["world.apps=800", "users.population=20000", "experiment.days=2", "experiment.pre_days=3"]
    settings += ["production.bootstrap_days=1", "world.horizon_start=-2", "world.horizon_days=5"]
    config = load("aa", settings, arms="a,b", workers=1)
    running.run(config, folder)
    return folder


def test_identical_arms_have_a_true_lift_of_exactly_0(aa, tmp_path):
    folder = shutil.copytree(aa, tmp_path / "aa")
    (one,) = truth.find_truth(folder)["comparisons"]
    assert one["true_lift"] == 0.0
    assert one["expected_lift"] == 0.0
    assert all(day["contribution"] == 0.0 for day in one["days"])
    potential = Potential.read(folder)
    assert np.array_equal(potential.acquisitions[0], potential.acquisitions[1])


def test_calibrate_finds_the_truth_first_and_writes_its_document(aa, tmp_path):
    folder = shutil.copytree(aa, tmp_path / "aa")
    one = calibrate.calibrate(folder, 60, workers=1)
    assert json.loads((folder / "calibration.json").read_text()) == one
    assert RunFolder.open(folder).verify() == []
    assert (one["replays"], one["looks"]) == (60, 2)
    (compared,) = one["views"][FINITE]["comparisons"]
    assert compared["true_lift"] == 0.0
    found = compared["methods"]["z"]
    assert found["power"] == found["false_positive_rate"]
    assert sum(compared["p_value_histogram"]) == 60
    assert sum(compared["estimates"]["counts"]) == 60
    another = calibrate.calibrate(folder, 60, workers=2)
    assert {**one, "clock": None} == {**another, "clock": None}
    assert calibrate.calibrate(folder, 60, workers=1, seed=1)["views"] != one["views"]


def test_the_command_prints_tables_figures_or_json(aa, tmp_path):
    folder = str(shutil.copytree(aa, tmp_path / "aa"))
    page = tmp_path / "page.html"
    options = ["--replays", "40", "--workers", "1"]
    result = CliRunner().invoke(
        app, ["calibrate", folder, *options, "--figure", str(page)], env={"COLUMNS": "80"}
    )
    assert result.exit_code == 0
    assert "Super-population" in result.stdout
    assert "peeking daily" in result.stdout
    assert "drawing experiments: 2 of 2" in result.stderr
    assert page.read_text("utf-8").count("<figure ") == 2
    assert "<td>peeking daily</td>" in page.read_text("utf-8")
    plain = CliRunner().invoke(app, ["calibrate", folder, *options, "--json", "-q"])
    document = json.loads(plain.stdout)
    assert plain.stderr == ""
    drawn = figure(document, SUPER)
    assert len(drawn.data) == 4
    assert list(drawn.data[0].x) == [
        document["views"][SUPER]["comparisons"][0]["methods"][method]["false_positive_rate"]
        for method in reversed(METHODS)
    ]


def test_bad_input_is_named(tmp_path):
    with pytest.raises(BadInput, match="replays: got 1, allowed: at least 2"):
        calibrate.calibrate(tmp_path, 1)
    result = CliRunner().invoke(app, ["calibrate", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"storelift: {tmp_path}: got no run folder")


def test_one_arm_has_nothing_to_calibrate(tmp_path):
    folder = RunFolder.create(tmp_path / "run", load("tiny", arms="wide"))
    folder.write_json(folder.path / "truth.json", {})
    folder.finish({"comparisons": []}, "")
    with pytest.raises(BadInput, match="got a run with one arm, allowed: a run that compares arms"):
        calibrate.calibrate(folder.path, 10)


def test_potential_outcomes_survive_the_disk(potential, tmp_path):
    users, by_day = potential.tables()
    atomic.write_table(users_path(tmp_path), users)
    atomic.write_table(days_path(tmp_path), by_day)
    read = Potential.read(tmp_path)
    assert read.arms == potential.arms
    for name in ("user_id", "group", "pre_impressions", "impressions", "acquisitions"):
        assert np.array_equal(getattr(read, name), getattr(potential, name)), name
    came = potential.impressions > 0
    assert np.array_equal(read.expected[came], potential.expected[came])
