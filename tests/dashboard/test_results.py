import dataclasses

import pytest

from dashboard import measures, reading, results, segments, series, words
from dashboard.reading import read


def test_a_finished_run_has_its_own_report(shared):
    run = read(shared.done)
    assert results.document(run) is run.report
    assert results.document(run, 0.05, "wide") is run.report


def test_the_same_is_built_from_the_users_alone(shared):
    """An unfinished run's figures come by the report's own code."""
    run = read(shared.done)
    built = results.document(dataclasses.replace(run, report=None))
    for ours, theirs in zip(built["comparisons"], run.report["comparisons"], strict=True):
        assert ours["lift"] == pytest.approx(theirs["lift"])
        assert ours["ci"] == pytest.approx(theirs["ci"])
        assert ours["cuped"]["ci"] == pytest.approx(theirs["cuped"]["ci"])
    assert built["gate"] == run.report["gate"]
    assert built["days"][0]["arms"]["deep"]["quality"] == run.report["days"][0]["arms"]["deep"]["quality"]
    assert results.provisional(built)
    assert not results.provisional(run.report)


def test_another_level_and_another_control(shared):
    run = read(shared.done)
    own, wider = run.report["comparisons"][0], results.document(run, 0.01)["comparisons"][0]
    assert wider["ci"][0] < own["ci"][0] < own["ci"][1] < wider["ci"][1]
    turned = results.document(run, None, "deep")
    assert turned["run"]["control"] == "deep"
    against = {(c["arm"], c["control"]): c["lift"] for c in turned["comparisons"]}
    assert 1 / (1 + against["wide", "deep"]) - 1 == pytest.approx(own["lift"])
    assert turned["arms"] == run.report["arms"]


def test_a_true_lift_is_known_whichever_arm_is_the_control(shared):
    run = read(shared.done)
    known = [{**c, "true_lift": 0.25, "expected_lift": None} for c in run.report["comparisons"]]
    own = {**run.report, "comparisons": known}
    assert results.known_lifts(own, "deep", "wide") == {"true_lift": 0.25, "expected_lift": None}
    assert results.known_lifts(own, "wide", "deep") == {
        "true_lift": pytest.approx(-0.2),
        "expected_lift": None,
    }
    assert results.known_lifts(own, "wide", "nobody") == {"true_lift": None, "expected_lift": None}


def test_another_level_keeps_what_the_run_has_learned_since(maker):
    """The end of a run, and the truth, come after a level was chosen."""
    path = maker.run(requests=False)
    run = read(path)
    before = results.document(dataclasses.replace(run, report=None), 0.01)
    assert before["run"]["stopped"] == results.NOT_FINISHED
    assert results.document(run, 0.01)["run"]["stopped"] is None
    report = {**run.report, "comparisons": [{**c, "true_lift": 0.2} for c in run.report["comparisons"]]}
    maker.put(path, "report.json", report)
    known = results.document(read(path), 0.01)["comparisons"]
    assert {c["true_lift"] for c in known} == {0.2}
    assert all(c["expected_lift"] is not None for c in known)


def test_what_the_report_does_not_know_of_a_pair_is_as_computed(shared):
    run = read(shared.done)
    turned = results.document(run, None, "wide_deep")
    pairs = {(c["arm"], c["control"]) for c in run.report["comparisons"]}
    known = pairs | {(control, arm) for arm, control in pairs}
    assert all(c["expected_lift"] is not None for c in turned["comparisons"])
    own = {**run.report, "comparisons": run.report["comparisons"][:1]}
    alone = results.document(dataclasses.replace(run, report=own), None, "wide_deep")
    assert {(c["arm"], c["control"]) for c in alone["comparisons"]} <= known
    assert all(c["expected_lift"] is not None for c in alone["comparisons"])


def test_a_run_whose_users_cannot_be_read_keeps_its_own_report(shared):
    run = read(shared.older)
    assert results.document(run, 0.01, "deep") is run.report
    assert not results.as_asked(run.report, 0.01, None)
    assert not results.as_asked(run.report, None, "deep")


def test_a_restored_day_is_read_again(maker):
    path = maker.run(requests=False)
    file = path / "metrics" / "user_days" / "day=2.parquet"
    whole, run = file.read_bytes(), read(path)
    pair = ("deep", "wide")

    def figures():
        effects = measures.effects(run, [pair], 0.05, "wide")["acquisition_rate"]
        parts = segments.by_segment(run, pair, "country", 0.05)
        lines = series.lines(run, run.report, [pair], over="daily", scale="relative", kind="fixed")
        built = results.document(run, 0.01)["comparisons"][0]["lift"]
        return effects, parts, lines, built, [look.lift for look in results.looks(run)]

    first = figures()
    file.write_bytes(b"")
    damaged = figures()
    assert all(one != other for one, other in zip(first, damaged, strict=True))
    file.write_bytes(whole)
    assert figures() == first


def test_nothing_before_the_first_day(shared):
    assert results.document(read(shared.early)) is None
    assert results.document(read(shared.bare)) is None


def test_effects_are_those_of_the_report(shared):
    run = read(shared.done)
    effects = measures.effects(run, results.pairs(run.report), 0.05, "wide")
    for one, c in zip(effects["acquisition_rate"], run.report["comparisons"], strict=True):
        assert one.lift == pytest.approx(c["lift"])
        assert one.ci == pytest.approx(tuple(c["ci"]))
        assert one.p_value == pytest.approx(c["p_value"])
    family = [one for key in ("acquisitions_per_user", "users_with_acquisition") for one in effects[key]]
    told = {(one["metric"], one["arm"], one["control"]): one["p_bh"] for one in run.report["secondary"]}
    shown = {
        (key, one.arm, one.control): one.p_adjusted
        for key in ("acquisitions_per_user", "users_with_acquisition")
        for one in effects[key]
    }
    assert len(family) == len(told) + 2  # Wide & Deep against Deep is of no family
    assert shown == pytest.approx({**dict.fromkeys(shown), **told})


def test_the_last_cumulative_day_is_the_result(shared):
    run = read(shared.done)
    c = run.report["comparisons"][1]
    pair = (c["arm"], c["control"])
    for scale, value, ends in (("relative", "lift", "ci"), ("absolute", "difference", None)):
        (line,) = series.lines(run, run.report, [pair], over="cumulative", scale=scale, kind="fixed")
        assert line.values[-1] == pytest.approx(c[value])
        if ends:
            assert line.bands[-1] == pytest.approx(tuple(c[ends]))
    (line,) = series.lines(run, run.report, [pair], over="cumulative", scale="relative", kind="always-valid")
    assert line.bands[-1] == pytest.approx(tuple(c["always_valid_look_ci"]))
    (line,) = series.lines(run, run.report, [pair], over="daily", scale="relative", kind="fixed")
    assert len(line.values) == 3


def test_lines_of_a_report_without_users(shared, tmp_path):
    """An older or trimmed run draws what its report says."""
    run = read(shared.done)
    alone = dataclasses.replace(run, path=tmp_path)
    (line,) = series.lines(
        alone, run.report, [("deep", "wide")], over="cumulative", scale="relative", kind="fixed"
    )
    assert line.values[-1] == pytest.approx(run.report["comparisons"][0]["lift"])
    assert results.looks(alone) == ()


def test_exposures_end_with_the_users_of_the_report(shared):
    run = read(shared.done)
    for arm, users in measures.exposures(run).items():
        assert users == sorted(users)
        assert users[-1] == run.report["arms"][arm]["users"]


@pytest.mark.parametrize("dimension", list(segments.DIMENSIONS))
def test_segments_hold_all_users(shared, dimension):
    run = read(shared.done)
    parts = segments.by_segment(run, ("deep", "wide"), dimension, 0.05)
    assert len(parts) > 1
    if dimension != "since":
        assert sum(one.users for one in parts) == run.report["arms"]["deep"]["users"]
        assert sum(one.top for one in parts) == run.report["arms"]["deep"]["acquisitions"]
    assert all(one.p_adjusted is None or one.p_adjusted >= one.p_value for one in parts)


def test_verdict_of_a_winner(shared):
    run = read(shared.done)
    found = words.verdict(run, run.report)
    assert found.tone == "good"
    assert found.headline.startswith("Wide & Deep acquires ")
    assert found.headline.endswith("more than Wide; Deep does too.")
    assert "95% interval" in found.evidence[0]


def test_verdict_of_a_loser(shared):
    run = read(shared.done)
    found = words.verdict(run, results.document(run, None, "wide_deep"))
    assert found.tone == "bad"
    assert found.headline == "Wide & Deep wins: Deep and Wide acquire less."


def test_a_broken_sample_ratio_blocks_the_verdict(shared):
    run = read(shared.unbalanced)
    found = words.verdict(run, run.report)
    assert found.tone == "alarm"
    assert found.headline.startswith("Do not read the lifts")
    checks = words.health(run, run.report)
    assert not checks[0].good
    assert words.trust(checks).startswith("Look at this first: users do not match their shares")


def test_before_the_end_only_the_always_valid_figures_decide(shared):
    run = read(shared.failed)
    built = results.document(run)
    found = words.verdict(run, built)
    assert found.headline.startswith("Unfinished, after day 2 of 3: ")
    assert all("always-valid" in line for line in found.evidence)
    assert "always-valid" in found.note


def test_before_the_end_the_adjusted_always_valid_p_decides(shared):
    run = read(shared.failed)
    built = results.document(run)
    c = {**built["comparisons"][0], "always_valid_p": 0.03, "always_valid_p_adjusted": 0.06}
    assert not words.decisive(c, built)
    del c["always_valid_p_adjusted"]  # as in reports of before
    assert words.decisive(c, built)


def test_an_a_a_test_is_spelt_so(shared):
    run = read(shared.failed)
    built = results.document(run)
    same = {**built, "run": {**built["run"], "identical_models": True}}
    assert "after day 2 of 3: A/A test: " in words.verdict(run, same).headline


def test_with_nothing_to_compare_no_arm_is_said_to_agree(shared):
    run = read(shared.done)
    undefined = [{**c, "status": "no_impressions", "lift": None} for c in run.report["comparisons"]]
    same = {**run.report["run"], "identical_models": True}
    found = words.verdict(run, {**run.report, "run": same, "comparisons": undefined})
    assert (found.tone, found.headline, found.note) == ("open", "Nothing can be compared yet.", "")


def test_a_refused_model_is_in_the_health(shared):
    run = read(shared.done)
    checks = words.health(run, run.report)
    (bad,) = [c for c in checks if not c.good]
    assert bad.words == "Gate refused 1 of 9 models"
    assert "Deep after day 3: holdout: AUC fell." in bad.detail
    assert words.trust(checks) == "Nothing speaks against trusting it. Gate refused 1 of 9 models."


def test_ago():
    import time

    assert words.ago(time.time() - 200) == "3 min ago"
    assert words.ago(None) == "never"


def test_run_settings(shared):
    run = read(shared.done)
    assert run.setting("experiment.days") == 3
    assert run.setting("experiment.none", "x") == "x"
    assert run.control == "wide"
    assert reading.chosen([], "x") is None


def test_a_damaged_run_is_not_to_be_trusted(shared):
    run = read(shared.changed)
    found = words.verdict(run, run.report)
    assert found.tone == "alarm"
    assert found.headline.startswith("Do not trust these numbers")
    assert "Some files cannot be trusted" in [c.words for c in words.health(run, run.report) if not c.good]
    assert "Nothing speaks" not in words.trust(words.health(run, run.report))


def test_days_left_out_forbid_a_verdict(maker):
    path = maker.run(requests=False)
    (path / "metrics" / "user_days" / "day=2.parquet").write_bytes(b"")
    run = read(path)
    assert words.verdict(run, run.report).tone == "alarm"
    assert words.blocked(run, run.report)
