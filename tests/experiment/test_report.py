import copy
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from experiment.loading import load
from experiment.quality import Quality
from experiment.reporting import text as report_text
from experiment.reporting.outcomes import Outcomes, pre_moments, users_table
from experiment.reporting.report import ArmResult, GateEntry, Report, analyse, build, decided, pairs
from experiment.reporting.table import render
from experiment.stats.moments import Moments
from models.gate import Verdict

RATES = {"wide": 0.060, "deep": 0.061, "wide_deep": 0.072}
USERS, DAYS = 2000, [1, 2, 3]
CONFIG = load("tiny")
CLOCK = {"seconds": 1.0}


def rows(rng: np.random.Generator, users: np.ndarray, days: list[int], rate: float) -> dict[str, np.ndarray]:
    ids, day = (a.ravel() for a in np.meshgrid(users, np.array(days), indexing="ij"))
    came = rng.random(len(ids)) < 0.5
    ids, day = ids[came], day[came]
    chance = np.clip(rate * (0.3 + (ids * 2654435761 % 97) / 70), 0, 1)
    return {
        "user_id": ids,
        "day": day.astype(np.int32),
        "country": (ids % 5).astype(np.int8),
        "impressions": np.full(len(ids), 10, np.int32),
        "acquisitions": rng.binomial(10, chance).astype(np.int32),
        "expected": 10 * chance,
        "new_impressions": np.ones(len(ids), np.int32),
    }


def quality(auc: float) -> Quality:
    return Quality(1000, auc, (auc - 0.01, auc + 0.01), auc, auc, 0.5, 0.2, 1.0, 10, 2.0)


def results(rates: dict[str, float] = RATES, users: int = USERS) -> list[ArmResult]:
    rng = np.random.default_rng(0)
    out = []
    for k, (arm, rate) in enumerate(rates.items()):
        ids = np.arange(users, dtype=np.int64) * 7 + k * 10**6
        window, pre = rows(rng, ids, DAYS, rate), rows(rng, ids, [-2, -1, 0], 0.05)
        served = {day: quality(0.7) for day in DAYS}
        out.append(ArmResult(arm, users, window, pre, quality(0.72 + k / 1000), served))
    return out


GATE = [GateEntry(0, "deep", Verdict(True)), GateEntry(1, "deep", Verdict(False, ("holdout: bad",)))]


@pytest.fixture(scope="module")
def report() -> Report:
    return build(CONFIG, results(), DAYS, GATE, CLOCK)


def test_the_document_has_what_the_contract_says(report: Report) -> None:
    assert list(report.document) == [
        "format",
        "run",
        "foreseen",
        "verdict",
        "arms",
        "comparisons",
        "secondary",
        "guardrails",
        "days",
        "health",
        "gate",
    ]
    assert report.document["run"]["clock"] == CLOCK
    assert list(report.arms) == list(RATES)
    for arm in report.arms.values():
        assert {
            "assigned", "users", "impressions", "acquisitions", "acquisition_rate", "expected_rate",
            "offline_auc", "offline_auc_ci", "expected_auc", "gauc", "log_loss", "calibration",
        } <= set(arm)  # fmt: skip
    assert [(c["arm"], c["control"]) for c in report.comparisons] == [
        ("deep", "wide"), ("wide_deep", "wide"), ("wide_deep", "deep"),
    ]  # fmt: skip
    for c in report.comparisons:
        assert {
            "arm", "control", "metric", "lift", "ci", "p_value", "p_adjusted", "always_valid_p",
            "always_valid_ci", "cuped", "true_lift", "expected_lift", "status",
        } <= set(c)  # fmt: skip
        assert (c["metric"], c["status"], c["true_lift"]) == ("acquisition_rate", "ok", None)
        assert c["ci"][0] < c["lift"] < c["ci"][1]
        assert c["always_valid_ci"][0] < c["ci"][0] < c["ci"][1] < c["always_valid_ci"][1]
        assert c["p_value"] <= c["p_adjusted"] <= 1
    assert json.loads(json.dumps(report.document, allow_nan=False)) == report.document


def test_the_numbers_are_those_of_the_users(report: Report) -> None:
    for arm, result in zip(report.arms.values(), results(), strict=True):
        window = result.window
        assert arm["users"] == len(np.unique(window["user_id"])) < arm["assigned"] == USERS
        assert arm["impressions"] == window["impressions"].sum()
        assert arm["acquisitions"] == window["acquisitions"].sum()
        assert arm["acquisition_rate"] == arm["acquisitions"] / arm["impressions"]
        assert arm["expected_rate"] == pytest.approx(window["expected"].sum() / arm["impressions"])
    wide, deep = report.arms["wide"], report.arms["deep"]
    first = report.comparison("deep", "wide")
    assert first["lift"] == pytest.approx(deep["acquisition_rate"] / wide["acquisition_rate"] - 1)
    assert first["expected_lift"] == pytest.approx(deep["expected_rate"] / wide["expected_rate"] - 1)
    with pytest.raises(KeyError, match="comparison: got wide against deep, which this run does not compare"):
        report.comparison("wide", "deep")


def test_each_day_has_its_counts_and_its_running_verdict(report: Report) -> None:
    days = report.document["days"]
    assert [day["day"] for day in days] == DAYS
    for arm in RATES:
        assert sum(d["arms"][arm]["impressions"] for d in days) == report.arms[arm]["impressions"]
        assert sum(d["arms"][arm]["acquisitions"] for d in days) == report.arms[arm]["acquisitions"]
    last = {(c["arm"], c["control"]): c for c in days[-1]["comparisons"]}
    for c in report.comparisons:
        look = last[c["arm"], c["control"]]
        assert (look["lift"], look["always_valid_p"]) == (c["lift"], c["always_valid_p"])
        p_values = [d["comparisons"][report.comparisons.index(c)]["always_valid_p"] for d in days]
        assert p_values == sorted(p_values, reverse=True)


def test_the_order_of_rows_never_matters(report: Report) -> None:
    shuffled = []
    rng = np.random.default_rng(1)
    for result in results():
        order = rng.permutation(len(result.window["user_id"]))
        window = {name: values[order] for name, values in result.window.items()}
        shuffled.append(ArmResult(result.name, USERS, window, result.pre, result.offline, result.served))
    assert build(CONFIG, shuffled, DAYS, GATE, CLOCK).document == report.document


def test_health_says_what_is_wrong() -> None:
    fine = build(CONFIG, results(), DAYS, GATE, CLOCK).document
    assert [state for state, _ in report_text.health(fine)] == ["good", "good", "note"]
    assert fine["health"]["gate_refusals"] == 1
    lopsided = results()
    some = {name: values[: len(values) // 2] for name, values in lopsided[1].window.items()}
    lopsided[1] = ArmResult("deep", USERS, some, lopsided[1].pre)
    ill = build(CONFIG, lopsided, DAYS, [], CLOCK).document
    assert ill["health"]["srm"]["alarm"]
    assert ill["verdict"] == "Do not read the lifts: the arms' users do not match their shares (p < .0001)."
    assert ill["arms"]["deep"]["offline_auc"] is None


def test_a_leak_of_some_users_is_an_alarm() -> None:
    arms = results()
    window = arms[2].window
    gone = np.unique(window["user_id"])[:80]
    arms[2] = ArmResult(arms[2].name, USERS, rows_without(window, gone), arms[2].pre, arms[2].offline)
    whole, leaking = (
        build(CONFIG, one, DAYS, [], CLOCK).document["health"]["srm"] for one in (results(), arms)
    )
    assert not whole["alarm"]
    assert leaking["alarm"]
    assert sum(leaking["expected"].values()) == pytest.approx(sum(leaking["observed"].values()))


def rows_without(window: dict[str, np.ndarray], users: np.ndarray) -> dict[str, np.ndarray]:
    stay = ~np.isin(window["user_id"], users)
    return {name: values[stay] for name, values in window.items()}


def test_undefined_is_null_with_a_status() -> None:
    arms = results({"wide": 0.05, "deep": 0.05}, users=40)
    arms[1].window["acquisitions"][:] = 0
    config = load("tiny", arms="wide,deep")
    document = build(config, arms, DAYS, [], CLOCK).document
    (c,) = document["comparisons"]
    assert (c["status"], c["lift"], c["ci"], c["detectable_lift"]) == ("zero_treatment", -1.0, None, None)
    assert "Deep cannot be compared with Wide: the arm acquired nothing." in document["verdict"]
    nobody = {name: values[:0] for name, values in arms[1].window.items()}
    arms[1] = ArmResult("deep", 40, nobody, {name: v[:0] for name, v in arms[1].pre.items()})
    document = build(config, arms, DAYS, [], CLOCK).document
    (c,) = document["comparisons"]
    assert (c["status"], c["lift"], c["p_value"], c["expected_lift"]) == ("no_users", None, None, None)
    assert document["arms"]["deep"]["acquisition_rate"] is None
    json.dumps(document, allow_nan=False)
    console = Console(width=80, file=io.StringIO())
    console.print(render(document, 80))
    report_text.markdown(document)


def test_one_arm_alone_is_reported() -> None:
    document = build(load("tiny", arms="wide"), results({"wide": 0.06}), DAYS, [], CLOCK).document
    assert document["comparisons"] == []
    assert document["verdict"] == "One arm only: there is nothing to compare."
    assert report_text.power_note(document) is None


def test_the_verdict_names_who_won() -> None:
    document = build(CONFIG, results(), DAYS, GATE, CLOCK).document
    best = document["comparisons"][1]
    assert best["p_adjusted"] < 0.05
    assert document["verdict"].startswith("Wide & Deep acquires more than Wide: +")
    assert "after Holm). No difference is shown for Deep (" in document["verdict"]
    worse = copy.deepcopy(document)
    worse["comparisons"][0] |= {"lift": -0.05, "ci": [-0.08, -0.02], "p_adjusted": 0.001}
    worse["comparisons"][1] |= {"lift": 0.01, "p_adjusted": 0.5}
    assert report_text.verdict(worse) == (
        "Deep acquires less than Wide: −5.0% (95% interval −8.0 … −2.0%, p = .0010 after Holm). "
        "No difference is shown for Wide & Deep (+1.0%, p = .500)."
    )
    worse["comparisons"][0] |= {"p_adjusted": 0.2}
    assert report_text.verdict(worse) == (
        "No difference is shown from Wide: Deep (−5.0%, p = .200) and Wide & Deep (+1.0%, p = .500)."
    )


def test_a_run_that_stopped_early_is_judged_by_the_always_valid_p() -> None:
    document = build(CONFIG, results(), DAYS, GATE, CLOCK, stopped="decided on day 3").document
    for c in document["comparisons"]:
        c |= {"p_adjusted": 0.001, "always_valid_p": 0.01, "always_valid_p_adjusted": 0.3, "lift": 0.02}
    assert report_text.verdict(document) == (
        "Stopped early: decided on day 3. "
        "No difference is shown from Wide: Deep (+2.0%, p = .300) and Wide & Deep (+2.0%, p = .300)."
    )
    for c in document["comparisons"]:
        c |= {"always_valid_p_adjusted": 0.01, "always_valid_look_ci": [0.004, 0.036], "ci": [0.015, 0.025]}
    console = Console(width=80, file=io.StringIO())
    console.print(render(document, 80))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "always-valid 95%" in shown
    assert "…" not in shown.replace(" … ", "")
    for text in (shown, report_text.markdown(document), report_text.verdict(document)):
        assert "+0.4 … +3.6%" in text
    assert "+1.5 … +2.5%" not in shown


def test_an_a_a_test_is_judged_as_one() -> None:
    config = load("aa")
    document = build(config, results({"a": 0.06, "b": 0.06, "c": 0.06}), DAYS, [], CLOCK).document
    for c in document["comparisons"]:
        c |= {"p_adjusted": 0.5}
    assert report_text.verdict(document) == "A/A: no arm is shown to differ from a, as it should be."
    document["comparisons"][1] |= {"p_adjusted": 0.01}
    assert report_text.verdict(document) == (
        "A/A: c seems to differ from a; that happens in at most 5% of such runs."
    )


def test_stopping_needs_every_arm_decided() -> None:
    assert not decided(CONFIG, analyse(CONFIG, results(), DAYS))
    clear = analyse(CONFIG, results({"wide": 0.05, "deep": 0.1, "wide_deep": 0.11}), DAYS)
    assert decided(CONFIG, clear)
    assert not decided(
        load("tiny", arms="wide"), analyse(load("tiny", arms="wide"), results({"wide": 0.1}), DAYS)
    )
    assert pairs(load("tiny", ["experiment.control=deep"])) == [("wide", "deep"), ("wide_deep", "deep")]


def test_power_names_the_users_that_the_papers_lift_takes(report: Report) -> None:
    note = report_text.power_note(report.document)
    c = report.comparison("wide_deep", "wide")
    needed = float(f"{USERS * (c['detectable_lift'] / 0.039) ** 2:.2g}")
    assert note is not None
    assert note.startswith(f"A lift of ±{100 * c['detectable_lift']:.1f}% is found with 80% power (±")
    assert note.endswith(f"; the paper's +3.9% takes about {int(needed):,} users per arm.")


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_the_terminal(report: Report, width: int) -> None:
    document = copy.deepcopy(report.document)
    for c in document["comparisons"]:
        c["true_lift"] = -0.123
    console = Console(width=width, file=io.StringIO())
    console.print(render(document, width, [("storelift dashboard", "look closer")]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text.replace(" … ", "")
    ours = next(i for i, line in enumerate(lines) if line.startswith("Wide & Deep "))
    assert "0.722" in lines[ours]
    assert lines[ours + 1].split() == ["in", "the", "paper", "0.728", "+3.9%"]
    assert ("impres-" in text) == (width == 140)


def test_the_markdown_has_the_papers_figures_beside_ours(report: Report) -> None:
    text = report.markdown()
    wide = "| Wide (control) | 0.720 | 0.726 | 0.0% |  | 0.0% |  | 0.0% | 0.0% |"
    assert wide in text
    assert "| Deep | 0.721 | 0.722 |" in text
    assert "- Deep, night after day 1: holdout: bad" in text
    assert report._repr_markdown_() == text


def test_outcomes_are_users_cumulative_over_days() -> None:
    (arm, *_) = results(users=50)
    outcomes = Outcomes.of(arm.window, arm.pre)
    looks = outcomes.looks(DAYS)
    assert looks.shape == (3,)
    upto = arm.window["day"] <= 2
    users, index = np.unique(arm.window["user_id"][upto], return_inverse=True)
    x = np.bincount(index, arm.window["acquisitions"][upto])
    y = np.bincount(index, arm.window["impressions"][upto])
    before = [
        [arm.pre[name][arm.pre["user_id"] == user].sum() for user in users]
        for name in ("acquisitions", "impressions")
    ]
    byhand = Moments.from_users(x, y, *before)
    assert np.allclose(looks[1].total, byhand.total)
    assert np.allclose(looks[1].scatter, byhand.scatter)
    assert pre_moments(arm.pre).total.tolist() == [
        arm.pre["acquisitions"].sum(),
        arm.pre["impressions"].sum(),
    ]


def test_the_users_table_is_what_analyze_takes(report: Report, tmp_path) -> None:
    from experiment.analyze.input import read_users

    arms = results()
    table = users_table({arm.name: Outcomes.of(arm.window, arm.pre) for arm in arms})
    assert table.schema.names == [
        "user_id", "arm", "day", "impressions", "installs", "expected_installs", "new_impressions",
        "pre_impressions", "pre_installs", "country", "activity",
    ]  # fmt: skip
    assert set(table.column("activity").to_pylist()) <= set(range(10))
    pq.write_table(table, tmp_path / "users.parquet")
    data = read_users(tmp_path / "users.parquet")
    assert data.days == DAYS
    for arm in arms:
        looks = Outcomes.of(arm.window, arm.pre).looks(DAYS)
        assert np.allclose(data.arms[arm.name].total, looks.total)
        assert np.allclose(data.arms[arm.name].scatter, looks.scatter)
