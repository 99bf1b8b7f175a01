"""What an arm showed in parts, against slow counts by sets, the report's totals and `models.evaluation`."""

import dataclasses
import io
import json
import shutil
from collections import Counter

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
from experiment.slices import auc, cuts, seen
from experiment.slices.command import SLICES, find_slices
from experiment.slices.cuts import CUTS
from experiment.slices.measure import _excess
from experiment.slices.parting import part
from experiment.slices.rules import Rules
from experiment.slices.seen import Seen
from experiment.slices.table import render
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
    assert oracle["cuts"]["pair"][3]["expected_lift"] > 0


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


def test_the_tables_fit_eighty_columns(found):
    for width in (80, 130):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(render(found, width))
        text = console.export_text()
        assert all(cut.meaning.split()[0] in text for cut in CUTS.values())
        assert "over-memorisation" in text
        assert "…" not in text.replace(" … ", "")  # nothing was cut off


def test_the_command(run, found):
    result = CliRunner().invoke(app, ["slices", str(run), "--json", "-q"])
    assert json.loads(result.stdout) == found
    result = CliRunner().invoke(app, ["slices", str(run), "--cut", "pairs"])
    assert result.exit_code == 2
    assert f"cut: got 'pairs', allowed: {', '.join(CUTS)}" in result.stderr


def test_a_run_without_its_log_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / SLICES).unlink(missing_ok=True)
    folder = RunFolder.open(copy)
    with folder.locked():
        folder.manifest.artefacts.pop(SLICES, None)
        drop(folder)
    with pytest.raises(BadInput, match="got a run without log/, allowed: a run with its log and truth"):
        find_slices(copy)
