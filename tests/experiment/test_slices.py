"""What an arm showed in parts, against slow counts by sets, the report's totals and `models.evaluation`."""

import dataclasses
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from experiment import running
from experiment.cli import app
from experiment.daily import day_log, day_truth
from experiment.errors import BadInput
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.slices import auc, cuts, phrases, seen
from experiment.slices.auc import PartAucs
from experiment.slices.command import SLICES, find_slices
from experiment.slices.cuts import CUTS
from experiment.slices.document import FORMAT, build
from experiment.slices.measure import ArmSlices, _excess, ratios
from experiment.slices.parting import part
from experiment.slices.rules import Rules
from experiment.slices.seen import Seen
from experiment.slices.table import render
from experiment.stats.moments import Moments
from experiment.study.cell import drop
from experiment.worlds import world_of
from models import evaluation
from simulator.preferences import Exceptions
from simulator.schema import NO_APP

SMALL = ["world.apps=800", "users.population=20000", "experiment.bucket_share=0.01", "experiment.days=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "small"
    running.run(load("tiny", SMALL, arms="wide,oracle", workers=1), folder)
    return folder


@pytest.fixture(scope="module")
def found(run):
    return find_slices(run)


def test_each_cut_holds_all_impressions_of_the_report(run, found):
    report = RunFolder.open(run).report()
    assert list(found["cuts"]) == list(CUTS)
    for arm, sliced in found["arms"].items():
        for name, rows in sliced["cuts"].items():
            assert [row["part"] for row in rows] == list(CUTS[name].parts)
            for count in ("impressions", "acquisitions"):
                assert sum(row[count] for row in rows) == report["arms"][arm][count]
            expected = sum((row["chance"] or 0.0) * row["impressions"] for row in rows)
            assert expected / report["arms"][arm]["impressions"] == pytest.approx(
                report["arms"][arm]["expected_rate"]
            )
            for row in rows:
                assert row["share_ci"][0] <= row["share"] <= row["share_ci"][1]


def test_it_is_saved_listed_and_not_measured_again(run, found, monkeypatch):
    folder = RunFolder.open(run)
    assert folder.verify() == []
    assert json.loads(folder.trusted(run / SLICES).read_bytes()) == found
    monkeypatch.setattr("experiment.slices.command._tasks", None)
    assert find_slices(run) == found


def test_a_document_of_another_format_is_measured_anew(run, found, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    folder = RunFolder.open(copy)
    with folder.locked():
        folder.write_json(copy / SLICES, {"format": FORMAT - 1})
        folder.finish_day(2)
    assert find_slices(copy) == found
    assert json.loads((copy / SLICES).read_bytes()) == found


def test_what_knows_the_truth_neither_generalises_nor_memorises_too_much(found):
    oracle = found["arms"]["oracle"]
    assert oracle["over_generalisation"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert oracle["over_memorisation"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert oracle["cuts"]["stale"][0]["calibration"] > 0
    wide = found["arms"]["wide"]
    nothing = wide["cuts"]["stale"][0]  # stale rules are the other failure
    assert wide["over_generalisation"]["value"] == nothing["over"] != 0
    assert wide["over_generalisation"]["impressions"] == nothing["impressions"]
    assert wide["cuts"]["pair"][3]["lift"] is None
    above = oracle["cuts"]["pair"][3]
    assert 0 < above["expected_lift_ci"][0] < above["expected_lift"] < above["expected_lift_ci"][1]


def test_the_parts_of_a_day_are_those_that_sets_tell(run):
    """Day 2 of the wide arm, by dictionaries of its training log and of the exceptions of each day."""
    config = RunFolder.open(run).config
    world, users = world_of(config), np.sort(np.unique(day_log(run, config, ("wide",), 2).requests.user_id))
    known, rules = Seen.nothing(config.world.apps, users), Rules.none(800, config.world.exception_slots)
    pairs, apps, visits, production, ever = Counter(), Counter(), Counter(), set(), set()
    past: dict[tuple[int, int, float], int] = {}
    for day in (*config.pre_days(), 1):
        log = day_log(run, config, ("production" if day <= 0 else "wide",), day)
        known.show(log, day)
        known.learn(log)
        visits.update(log.requests.user_id.tolist())
        for installed, shown in zip(log.requests.installed, log.requests.apps, strict=True):
            met = [(int(i), int(a)) for i in installed if i != NO_APP for a in shown]
            pairs.update(met)
            apps.update(shown.tolist())
            ever.update(met)
            if day <= 0:
                production.update(met)
        if day == 0:
            known.begin()
        rules.note(world.exceptions(day), day)
        for a, slots in enumerate(zip(*dataclasses.astuple(world.exceptions(day)), strict=True)):
            past.update({(int(i), a, float(w)): day for i, w in zip(*slots, strict=True)})
    log, truth, today = day_log(run, config, ("wide",), 2), day_truth(run, ("wide",), 2), world.exceptions(2)
    codes = part(log, truth, known, rules, today, world.apps, 2)
    gone = {}
    for (i, a, w), day in past.items():
        if day < 2 and pairs[i, a]:
            gone.setdefault((i, a), []).append((w, 2 - day))

    def graded(count):
        return sum(count > step for step in (0, 3, 10))

    for b in range(0, len(log), 3):
        installed = [int(i) for i in log.requests.installed[b] if i != NO_APP]
        for s, a in enumerate(log.requests.apps[b].tolist()):
            sign = truth.exceptions[b, s]
            assert codes["pair"][b, s] == graded(max((pairs[i, a] for i in installed), default=0))
            assert codes["popularity"][b, s] == sum(apps[a] > step for step in (0, 10, 100))
            assert codes["history"][b, s] == graded(visits[int(log.requests.user_id[b])])
            held = [i for i, w in zip(today.companions[a], today.weights[a], strict=True) if w > 0]
            held = [int(i) for i in held if i in installed]
            if sign > 0:
                assert codes["exception"][b, s] == 2 + graded(max(pairs[i, a] for i in held))
                who = [1 if (i, a) in production else 2 if (i, a) in ever else 3 for i in held]
                assert codes["learned"][b, s] == min(who)
            else:
                assert codes["exception"][b, s] == (1 if sign < 0 else 0)
                assert codes["learned"][b, s] == 0
            rest = [one for i in installed for one in gone.get((i, a), [])]
            favour = [since for w, since in rest if w > 0]
            stale = 1 if sign != 0 else 1 + graded(min(favour)) if favour else 5 if rest else 0
            assert codes["stale"][b, s] == stale
    assert {0, 1, 2} <= set(np.unique(codes["stale"]).tolist())


def test_counts_stop_at_fifteen_and_neighbours_keep_theirs():
    table = np.zeros(8, np.uint8)
    installed, shown = np.array([[1, NO_APP]], np.int32), np.array([[0, 1, 1]], np.int32)
    for _ in range(10):
        seen._count(table, installed, shown, 4, NO_APP)
    at = [(table[place >> 1] >> ((place & 1) << 2)) & 15 for place in range(16)]
    assert at == [0] * 4 + [10, 15] + [0] * 10


def test_a_redrawn_slot_is_another_rule():
    rules = Rules.none(1, 2)
    first = Exceptions(np.array([[3, 4]], np.int32), np.array([[1.0, -1.0]]))
    rules.note(first, 0)
    rules.note(first, 1)
    for day in range(2, 9):  # more rules than there was room for
        rules.note(Exceptions(np.array([[3, 4]], np.int32), np.array([[1.0 + day, -1.0]])), day)
    assert rules.used.tolist() == [9]
    known = zip(rules.companions[0], rules.weights[0], rules.last[0], strict=True)
    assert [tuple(map(float, one)) for one in known][:9] == [
        (3, 1, 1),
        (4, -1, 8),
        *[(3, 1 + day, day) for day in range(2, 9)],
    ]


def test_aucs_are_those_of_the_evaluation():
    rng = np.random.default_rng(0)
    n = 6000
    chance = rng.uniform(0.02, 0.5, n)
    label = (rng.random(n) < chance).astype(np.int8)
    score = auc.levels(np.log(chance) + rng.normal(0, 1, n))
    user, code = rng.integers(0, 400, n).astype(np.int32), rng.integers(0, 3, n).astype(np.uint8)
    label[code == 2] = 0
    found = auc.by_part(score, label, chance.astype(np.float32), user, code, 3)
    for at in (0, 1):
        own = code == at
        known = evaluation.clustered_auc(label[own], score[own].astype(float), user[own])
        assert found.auc[at] == pytest.approx(known.auc[0], rel=1e-12)
        assert found.variance[at] == pytest.approx(known.covariance[0, 0], rel=1e-9)
        expected = evaluation.expected_auc(chance[own], score[own].astype(float))
        assert found.expected[at] == pytest.approx(expected, rel=1e-5)
    assert np.isnan([found.auc[2], found.variance[2], found.expected[2]]).all()


def test_scores_beyond_the_range_tie():
    assert auc.levels(np.array([-40.0, -16.0, 16.0, 99.0])).tolist() == [0, 0, 65535, 65535]


def test_the_excess_is_a_paired_difference_of_ratios():
    rng = np.random.default_rng(1)
    users = 3000
    sums = np.zeros((6, users, 4))
    sums[..., 0] = rng.integers(1, 9, (6, users))
    taste = rng.normal(0, 0.05, users)
    sums[..., 2] = 0.1 * sums[..., 0]
    sums[..., 3] = (0.13 + taste) * sums[..., 0]
    sums[2:5, :, 3] += 0.02 * sums[2:5, :, 0]
    value, se = _excess(sums)
    assert value == pytest.approx(0.02, abs=4 * se)
    assert se < 0.05 * np.sqrt(2 / users) / 2  # what a user brings to both sides takes itself out
    sums[2:5] = 0.0
    assert _excess(sums) is None


def test_a_catalogue_that_is_too_large_has_no_pairs(run, monkeypatch):
    monkeypatch.setattr(seen, "MOST_APPS", 799)
    config = RunFolder.open(run).config
    log, world = day_log(run, config, ("wide",), 1), world_of(config)
    known = Seen.nothing(800, np.unique(log.requests.user_id))
    known.learn(log)
    assert known.show(log, 1)[1:] == (0, 0, 0)
    codes = part(
        log, day_truth(run, ("wide",), 1), known, Rules.none(800, 5), world.exceptions(1), world.apps, 1
    )
    assert list(codes) == ["age", "popularity", "history", "found"]


def test_ages_and_who_found_an_app(run):
    config = RunFolder.open(run).config
    log, world = day_log(run, config, ("wide",), 2), world_of(config)
    known = Seen.nothing(800, np.zeros(0, np.int64))
    known.show(day_log(run, config, ("production",), 0), 0)
    known.show(day_log(run, config, ("wide",), 1), 1)
    codes = part(
        log, day_truth(run, ("wide",), 2), known, Rules.none(800, 5), world.exceptions(2), world.apps, 2
    )
    before = np.unique(day_log(run, config, ("production",), 0).requests.apps)
    yesterday = np.unique(day_log(run, config, ("wide",), 1).requests.apps)
    shown = log.requests.apps
    who = np.where(np.isin(shown, before), 0, np.where(np.isin(shown, yesterday), 2, 1))
    assert np.array_equal(codes["found"], who)
    age = 2 - world.apps.release_day[shown].astype(np.int64)
    assert np.array_equal(codes["age"], np.select([age <= 2, age <= 9, age <= cuts.BASE], [0, 1, 2], 3))
    assert not codes["history"].any()


def test_exploration_by_day(run, found):
    config = RunFolder.open(run).config
    known = {(int(i), int(a)) for day in config.pre_days() for i, a in _pairs(run, config, "production", day)}
    for day in found["arms"]["wide"]["days"]:
        met = list(_pairs(run, config, "wide", day["day"]))
        assert day["new_pair_share"] == pytest.approx(_new_share(met, run, config))
        assert day["new_pairs"] == len(set(met) - known)
        known |= set(met)
        assert 0 < day["distinct_apps"] <= 2 ** day["entropy"] * 800
        assert 0 <= day["known_rules"] + day["found_rules"] <= 1


def _new_share(met, run, config):
    production = {pair for day in config.pre_days() for pair in _pairs(run, config, "production", day)}
    return sum(pair not in production for pair in met) / len(met)


def _pairs(run, config, arm, day):
    requests = day_log(run, config, (arm,), day).requests
    for installed, shown in zip(requests.installed.tolist(), requests.apps.tolist(), strict=True):
        yield from ((i, a) for i in installed if i != NO_APP for a in shown)


def _arm(arm, sums):
    """What would have been found of an arm with these sums [parts, users, 4] in the cut `history`."""
    made = {name: Moments.from_users(*both) for name, both in ratios(sums, sums[..., 0].sum(axis=0)).items()}
    nan = np.full(len(sums), np.nan)
    return ArmSlices(arm, False, {"history": made}, {"history": PartAucs(nan, nan, nan)}, None, {})


def _users(rng, users, level):
    """Users of different taste, and for each the labels that the coin gave."""
    sums = np.zeros((4, users, 4))
    sums[..., 0] = rng.integers(1, 30, (4, users))
    sums[..., 2] = sums[..., 0] * level * rng.gamma(2.0, 0.5, users)
    sums[..., 1] = rng.poisson(sums[..., 2])
    sums[..., 3] = 1.1 * sums[..., 2]
    return sums


def _document(control, treatment):
    return build(load("tiny", arms="wide,deep"), [_arm("wide", control), _arm("deep", treatment)], [1])


def test_the_interval_of_the_expected_lift_is_that_of_users_drawn_again():
    rng = np.random.default_rng(3)
    sides = _users(rng, 1500, 0.05), _users(rng, 1500, 0.06)
    draws = []
    for _ in range(2000):
        c, t = (side[1][rng.integers(0, side.shape[1], side.shape[1])].sum(axis=0) for side in sides)
        draws.append([(t[at] / t[0]) / (c[at] / c[0]) - 1 for at in (1, 2)])
    row = _document(*sides)["arms"]["deep"]["cuts"]["history"][1]
    for at, name in enumerate(("lift", "expected_lift")):
        low, high = row[f"{name}_ci"]
        assert low < row[name] < high
        drawn = np.quantile(np.array(draws)[:, at], [0.025, 0.975])
        assert [low, high] == pytest.approx(drawn.tolist(), abs=0.1 * (high - low))
    assert np.ptp(row["expected_lift_ci"]) < 0.9 * np.ptp(row["lift_ci"])  # it is free of the coin


def test_what_has_no_interval_has_none():
    rng = np.random.default_rng(4)
    control, treatment = _users(rng, 300, 0.05), _users(rng, 300, 0.06)
    treatment[0, :, 1] = 0.0  # nobody acquired
    treatment[2] = 0.0  # nothing was shown
    treatment[3, 1:] = 0.0  # one user, and few impressions
    treatment[3, 0] = [1.0, 1.0, 0.5, 0.5]
    document = _document(control, treatment)
    assert all(row["expected_lift_ci"] is None for row in document["arms"]["wide"]["cuts"]["history"])
    rows = document["arms"]["deep"]["cuts"]["history"]
    assert (rows[0]["rate"], rows[0]["rate_ci"], rows[0]["lift_ci"]) == (0.0, None, None)
    assert rows[0]["expected_lift_ci"] is not None  # chances are never 0
    assert rows[1]["rate_ci"] is not None
    assert (rows[2]["expected_lift"], rows[2]["expected_lift_ci"], rows[2]["rate_ci"]) == (None, None, None)
    low, high = rows[3]["share_ci"]
    assert low == 0.0 < rows[3]["share"] < high  # a share is not below 0


def _printed(found, width, cut=None):
    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    console.print(render(found, width, cut))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text.replace(" … ", "")  # nothing was cut off
    return text


@pytest.mark.parametrize("width", [80, 130, 144, 200])
def test_the_tables_fit_their_terminal(found, width):
    text = _printed(found, width)
    assert all(cut.meaning.split()[0] in text for cut in CUTS.values())
    assert "over-memorisation" in text
    oracle = found["arms"]["oracle"]["cuts"]["pair"][3]
    (line,) = [line for line in _below(text, "more often") if line.startswith("  Oracle")]
    cells = line.split()
    assert cells[1:6] == [
        f"{oracle['share']:.1%}",
        *(f"{oracle[name]:.2%}" for name in ("rate", "chance", "predicted")),
        f"{oracle['calibration']:.2f}",
    ]
    assert (f"{oracle['auc_ci'][0]:.3f} … " in line) == (width >= 144)


def _below(text, part):
    """The lines below a part's name, of its first table."""
    lines = text.splitlines()
    at = [line.strip() for line in lines].index(part)
    return lines[at + 1 : at + 3]


def test_a_cut_by_itself_has_every_interval_in_eighty_columns(found):
    alone = {**found, "alpha": 0.1}
    for cut in CUTS:
        text = _printed(alone, 80, cut)
        assert "90% interval" in text
        for arm, own in found["arms"].items():
            for row in own["cuts"][cut]:
                told = [
                    phrases.with_interval(phrases.share(row["share"]), phrases.between(row["share_ci"])),
                    phrases.with_interval(phrases.rate(row["rate"]), phrases.between(row["rate_ci"], 2)),
                    phrases.between(row["predicted_ci"], 2),
                    phrases.points(row["over"], row["over_ci"]),
                    phrases.between(row["calibration_ci"], 2, 1),
                    phrases.between(row["auc_ci"], 3, 1),
                ]
                if arm != "wide":
                    told += [phrases.change(row["lift_ci"]), phrases.change(row["expected_lift_ci"])]
                assert [words for words in told if words not in text] == [], (cut, arm, row["part"])
        assert not re.search(r"Wide +– +–$", text, re.MULTILINE)  # the control has no lift over itself


def test_figures_as_people_read_them():
    assert (phrases.share(0.1234), phrases.rate(0.1234), phrases.rate(None)) == ("12.3%", "12.34%", "–")
    assert phrases.between([0.1, 0.1256]) == "10.0 … 12.6"
    assert phrases.between([0.798, 0.8], 3, 1) == "0.798 … 0.800"
    assert phrases.change([-0.05, 0.0]) == "−5.0 … 0.0"
    assert phrases.points(-0.0123, [-0.02, 0.001]) == "−1.23 (−2.00 … +0.10)"
    assert (phrases.points(0.01, None), phrases.points(None, None)) == ("+1.00", "–")
    assert phrases.between(None) == phrases.change(None) == "–"


def test_a_long_name_of_an_arm_is_folded(found):
    name = "a_ranker_of_my_own_with_a_name_that_is_far_too_long"
    arms = {"wide": found["arms"]["wide"], name: found["arms"]["oracle"]}
    for cut in (None, "stale"):
        text = _printed({**found, "arms": arms}, 80, cut)
        assert f"{found['arms']['oracle']['cuts']['stale'][0]['auc']:.3f}" in text


def test_the_command(run, found, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["slices", str(run), "--json", "-q"])
    assert json.loads(result.stdout) == found
    result = CliRunner().invoke(app, ["slices", str(run), "--cut", "pairs"])
    assert result.exit_code == 2
    assert f"cut: got 'pairs', allowed: {', '.join(CUTS)}" in result.stderr
    result = CliRunner().invoke(app, ["slices", str(run), "--cut", "age", "-q"])
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "predicted / acquired" in result.stdout
    assert "expected lift" in result.stdout


def test_help_and_the_page_name_every_cut():
    told = re.sub(r"[\s│]+", " ", CliRunner().invoke(app, ["slices", "--help"]).stdout)
    assert ", ".join(CUTS) in told
    page = (Path(__file__).parents[2] / "docs" / "slices.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(CUTS)


def test_a_run_without_its_log_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / SLICES).unlink(missing_ok=True)
    folder = RunFolder.open(copy)
    with folder.locked():
        folder.manifest.artefacts.pop(SLICES, None)
        drop(folder)
    with pytest.raises(BadInput, match="got a run without log/, allowed: a run with its log and truth"):
        find_slices(copy)
