import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import card_rows, comparing, markup, paper, scorecard
from dashboard.reading import read
from dashboard.scorecard import Block, Row
from dashboard.words import Check, Verdict, lift_takeaway
from experiment import webpage
from experiment.palette import inks
from experiment.words import interval

EVIL = "<script>alert(1)</script>\"'"


def row(lift, ci, wings=None, **more):
    return Row("deep", "1", "1", "1 / 2", "1 / 2", lift, ci, wings, **more)


def test_all_rows_share_one_axis_with_zero_on_it(shared):
    run = read(shared.done)
    blocks = card_rows.blocks(run, run.report)
    html = scorecard.render(blocks, inks(["wide", "deep", "wide_deep"]), "wide", "95%")
    zeros = set(re.findall(r'class="zero" style="left:([\d.]+)%', html))
    assert len(zeros) == 1
    assert html.count('role="img"') == sum(len(block.rows) for block in blocks) == 10


@given(st.floats(-0.9, 2), st.floats(0.0001, 0.5))
def test_bars_lie_where_their_numbers_are(lift, half):
    block = Block("m", "primary", "", [row(lift, (lift - half, lift + half))])
    low, high, step = scorecard.axis([block])
    assert low <= min(0.0, lift - half)
    assert high >= max(0.0, lift + half)
    assert 2 <= round((high - low) / step) <= 12
    html = scorecard.bar(block.rows[0], low, high, step)
    left, width = map(float, re.search(r'class="thick" style="left:([\d.]+)%;width:([\d.]+)%', html).groups())
    at = 100 * (lift - half - low) / (high - low)
    assert abs(left - at) < 0.011
    assert abs(width - 100 * 2 * half / (high - low)) < 0.011


def test_a_far_row_is_cut_and_says_so():
    html = scorecard.bar(row(5.0, (4.0, 6.0)), -0.1, 0.1, 0.05)
    assert "▶ +500.0%" in html
    assert 'class="thick' not in html


def test_undefined_is_a_dash():
    html = scorecard.render(
        [Block("m", "primary", "", [row(None, None, mark="undefined")])], {}, "wide", "95%"
    )
    assert "undefined" in html
    assert 'class="thick' not in html


def test_good_and_bad_are_said_by_colour_sign_and_word(shared):
    run = read(shared.done)
    html = scorecard.render(card_rows.blocks(run, run.report), inks(["deep", "wide_deep"]), "wide", "95%")
    assert re.search(r"sc-better.*?▲</i> better", html, re.DOTALL)


def test_cuped_narrows_the_primary_rows(shared):
    run = read(shared.done)
    plain, adjusted = (card_rows.blocks(run, run.report, cuped=on)[0].rows[0] for on in (False, True))
    assert adjusted.ci == tuple(run.report["comparisons"][0]["cuped"]["ci"])
    assert adjusted.ci != plain.ci


def test_an_adjusted_row_points_where_its_own_lift_does(shared):
    run = read(shared.done)
    c = run.report["comparisons"][0]
    against = {**c, "cuped": {**c["cuped"], "lift": -c["lift"], "p_adjusted": 0.001}}
    turned = {**run.report, "comparisons": [against]}
    assert [card_rows.blocks(run, turned, cuped=on)[0].rows[0].mark for on in (False, True)] == [
        "better",
        "worse",
    ]
    early = {**turned, "run": {**turned["run"], "stopped": "decided"}}
    row = card_rows.blocks(run, early, cuped=True)[0].rows[0]
    assert (row.mark, row.p, row.p_raw, row.p_label) == ("early", None, None, "")


def test_before_the_end_every_interval_is_the_always_valid_one_and_says_so(shared):
    run = read(shared.done)
    early = {**run.report, "run": {**run.report["run"], "stopped": "decided"}}
    c = early["comparisons"][0]
    ends = interval(c["always_valid_look_ci"])
    assert ends != interval(c["ci"])
    assert f"<td>{ends}</td>" in paper.beside(early)
    assert "<th>Always-valid 95% interval</th>" in paper.beside(early)
    assert lift_takeaway(c, early).endswith(f"always-valid 95% interval {ends}")
    assert lift_takeaway(c, run.report).endswith(f", 95% interval {interval(c['ci'])}")


def test_everything_is_escaped(shared):
    ink = inks([EVIL])
    evil = Row(EVIL, EVIL, EVIL, EVIL, EVIL, 0.1, (0.0, 0.2), why=EVIL, p_label=EVIL)
    html = scorecard.whole([Block(EVIL, "primary", EVIL, [evil])], ink, EVIL, EVIL)
    html += markup.verdict(Verdict("good", EVIL, (EVIL,), EVIL), EVIL)
    html += markup.health([Check(True, EVIL, EVIL), Check(False, EVIL, EVIL)])
    html += markup.empty(EVIL, EVIL, EVIL) + webpage.table([EVIL], [[EVIL]]) + markup.state(EVIL)
    html += markup.run_bar(read(shared.hostile))
    assert "<script" not in html
    assert "<img" not in html
    assert "'\"" not in html.replace("&#x27;", "").replace("&quot;", "")


def test_the_export_has_all_metrics(shared):
    run = read(shared.done)
    lines = card_rows.export(run, run.report).strip().splitlines()
    assert lines[0].split(",") == list(card_rows.EXPORT)
    assert len(lines) == 1 + 5 * 3


def test_the_papers_figures_stand_apart(shared):
    report = read(shared.done).report
    assert "<td class=theirs>0.728</td><td class=theirs>+3.9%</td>" in paper.beside(report)
    turned = {**report, "run": {**report["run"], "control": "deep"}}
    assert "<td class=theirs>0.728</td><td class=theirs>–</td>" in paper.beside(turned)


def test_comparing_shows_only_what_differs(shared):
    runs = [read(shared.done), read(shared.seed1)]
    assert [line[0] for line in comparing.differing(runs)] == ["seed"]
    assert comparing.same_but_seed(runs)
    spread = comparing.over_seeds([run.report for run in runs])
    assert [(s.arm, s.control, len(s.lifts)) for s in spread[:1]] == [("deep", "wide", 2)]
    assert not comparing.same_but_seed([runs[0], read(shared.aa)])
    assert not comparing.same_but_seed([runs[0], runs[0]])
    assert not comparing.same_but_seed([*runs, runs[0]])


def test_what_must_not_be_read_is_said_beside_its_name(shared):
    runs = {name: read(getattr(shared, name)) for name in ("done", "unbalanced", "changed")}
    found = {name: run.report for name, run in runs.items()}
    found["stopped"] = {**found["done"], "run": {**found["done"]["run"], "stopped": "decided"}}
    runs["stopped"] = runs["done"]
    assert comparing.labels(runs, found) == {
        "done": "done",
        "unbalanced": "⚠ unbalanced, do not read",
        "changed": "⚠ changed, do not read",
        "stopped": "stopped, before its end",
    }
    assert [name for name, run in runs.items() if comparing.sound(run)] == ["done", "stopped"]


def test_before_the_planned_end_only_always_valid_figures_decide(shared):
    run = read(shared.done)
    early = {**run.report, "run": {**run.report["run"], "stopped": "not finished"}}
    primary, *others = card_rows.blocks(run, early)
    against_control = [c for c in early["comparisons"] if c["control"] == "wide"]
    assert len(primary.rows) == len(against_control) == 2
    for row, c in zip(primary.rows, against_control, strict=True):
        assert row.stated == row.wings == tuple(c["always_valid_look_ci"])
        assert row.p == c["always_valid_p_adjusted"]
    assert {row.mark for block in others for row in block.rows} == {"early"}
    assert {(row["p"], row["p (Holm)"]) for row in card_rows.numbers(early)} == {("–", "–")}
    rows = [line.split(",") for line in card_rows.export(run, early).splitlines()[1:]]
    assert {tuple(row[-3:-1]) for row in rows} == {("", "")}
    assert {(row.p, row.p_raw, row.p_label) for block in others for row in block.rows} == {(None, None, "")}
    assert "read at the end" in scorecard.render(others, {}, "wide", "95%")


def test_a_guardrail_has_the_p_value_that_decides_it(shared):
    run = read(shared.done)
    told = {(one["metric"], one["arm"]): one["p_value"] for one in run.report["guardrails"]}
    (block,) = [b for b in card_rows.blocks(run, run.report) if b.name == "New releases shown"][:1] or [None]
    assert [row.p for row in block.rows] == pytest.approx(
        [told["new_release_share", r.arm] for r in block.rows]
    )


@pytest.mark.parametrize("name", ["unbalanced", "changed"])
def test_no_row_decides_where_the_health_forbids_it(shared, name):
    run = read(getattr(shared, name))
    blocks = card_rows.blocks(run, run.report)
    assert {row.mark for block in blocks for row in block.rows} == {"blocked"}
    html = scorecard.render(blocks, {}, "wide", "95%")
    assert "do not read" in html
    assert "better" not in html
