import html as escaping
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dashboard import foretold, launch
from experiment.folder import lock
from experiment.folder.journal import LOCK, Journal
from experiment.folder.rundir import RunFolder

PAGES = ("overview", "lift", "quality", "latency", "generalise", "live", "data", "compare", "start")
RUNS = ("done", "failed", "early", "interrupted", "gone", "bare", "torn", "older", "unbalanced", "hostile")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_every_run(window, shared, says, page):
    at = window(shared.root)
    for name in RUNS:
        at.switch_page("views/overview.py").run()
        at.selectbox(key="run").set_value(getattr(shared, name).name).run()
        at.switch_page(f"views/{page}.py").run()
        assert not at.exception, f"{page} of {name}: {at.exception[0].message if at.exception else ''}"
        said = says(at)
        assert "<img src=x" not in said
        assert "<b>no</b>" not in said
        for chart in at.get("plotly_chart"):
            assert chart.proto.id or chart.proto.spec


def test_what_a_page_takes_no_notice_of_is_grey(window, shared):
    at = window(shared.root)
    grey = {}
    for page in PAGES:
        at.switch_page(f"views/{page}.py").run()
        grey[page] = [key for key in ("run", "level", "against") if at.selectbox(key=key).disabled]
    assert grey.pop("compare") == ["run", "against"]
    assert grey.pop("start") == ["run", "level", "against"]
    for page in ("latency", "data", "generalise"):
        assert grey.pop(page) == ["level", "against"]
    assert not any(grey.values())


@pytest.mark.parametrize("page", PAGES)
def test_every_page_without_runs(window, tmp_path, says, page):
    at = window(tmp_path, page=page)
    assert not at.exception
    if page != "start":
        assert "storelift run --preset tiny" in says(at)


def test_the_verdict_comes_first(window, shared, says):
    at = window(shared.root, "done")
    said = says(at)
    assert "Wide &amp; Deep acquires" in said
    assert "95% interval" in said
    assert "Gate refused 1 of 9 models" in said
    assert said.index("Users match their shares") < said.index("acquires") < said.index('class="sc"')


def test_a_broken_sample_ratio_blocks_it(window, shared, says):
    said = says(window(shared.root, "unbalanced"))
    assert "Do not read the lifts" in said
    assert "verdict-alarm" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("failed", "This run failed"),
        ("early", "It ended before the first day"),
        ("interrupted", "This run is not finished"),
        ("torn", "not as it was written"),
        ("older", "format 0"),
    ],
)
def test_what_is_wrong_is_said_with_the_command_that_mends_it(window, shared, says, name, words):
    path = getattr(shared, name)
    said = escaping.unescape(says(window(shared.root, path.name)))
    assert words in said
    mends = {"torn": f"verify {path}", "older": f"run --config {path / 'config.toml'}"}
    assert f"storelift {mends.get(name, f'resume {path}')}" in said


def test_a_run_of_another_version_has_its_verdict_but_is_not_checked(window, shared, says):
    said = says(window(shared.root, "older"))
    assert "Do not trust" not in said
    assert "Of another version" in said


def test_cuped_and_levels_change_the_scorecard(window, shared, says):
    at = window(shared.root, "done")
    before = says(at)
    at.toggle(key="cuped").set_value(True).run()
    assert "adjusted for the pre-period" in says(at)
    at.toggle(key="cuped").set_value(False).run()
    at.selectbox(key="level").set_value("99%").run()
    assert "99% interval" in says(at)
    assert before != says(at)


def test_the_lift_page_draws_what_is_chosen(window, shared):
    at = window(shared.root, "done", "lift")
    spec = json.loads(at.get("plotly_chart")[0].proto.spec)
    assert [t["name"] for t in spec["data"] if t.get("showlegend") is not False] == [
        "Deep − Wide",
        "Wide & Deep − Wide",
    ]
    fixed = spec["data"][1]["y"]
    at.segmented_control(key="kind").set_value("always-valid").run()
    wider = json.loads(at.get("plotly_chart")[0].proto.spec)["data"][1]["y"]
    assert wider[-1] > fixed[-1]
    at.segmented_control(key="scale").set_value("absolute").run()
    at.segmented_control(key="over").set_value("daily").run()
    assert not at.exception
    assert "markers" in {t["mode"] for t in json.loads(at.get("plotly_chart")[0].proto.spec)["data"]}
    for dimension in ("country", "activity", "since"):
        at.segmented_control(key="dimension").set_value(dimension).run()
        assert not at.exception


def test_against_another_arm_the_lifts_are_still_drawn(window, shared):
    at = window(shared.root, "done", "lift")
    for against in ("deep", "wide_deep", "wide"):
        at.selectbox(key="against").set_value(against).run()
        drawn = json.loads(at.get("plotly_chart")[0].proto.spec)["data"]
        assert sum("lines+markers" in str(trace.get("mode")) for trace in drawn) == 2, against


def test_a_run_that_keeps_its_level_says_so(window, shared, says):
    at = window(shared.root, "older", "lift")
    at.selectbox(key="level").set_value("99%").run()
    assert not at.exception
    said = says(at)
    assert "Level and control cannot be changed" in said
    assert "More days alone" not in said


def test_the_true_lift_is_a_dotted_line(window, maker):
    path = maker.run(requests=False)
    report = json.loads((path / "report.json").read_text())
    for c in report["comparisons"]:
        c["true_lift"] = 0.2
    maker.put(path, "report.json", report)
    at = window(maker.root, page="lift")
    spec = json.loads(at.get("plotly_chart")[0].proto.spec)
    dotted = [t for t in spec["data"] if t.get("line", {}).get("dash") == "dot"]
    assert [set(t["y"]) for t in dotted] == [{0.2}, {0.2}]


def test_calibration_is_shown_when_there_is_one(window, maker, says):
    path = maker.run(requests=False)
    methods = {"z": {"false_positive_rate": 0.05, "coverage": 0.95, "power": 0.8, "interval_width": 0.1}}
    one = {
        "arm": "deep",
        "control": "wide",
        "true_lift": 0.1,
        "methods": methods,
        "p_value_histogram": [5, 5],
    }
    views = {"super_population": {"comparisons": [one]}}
    maker.put(path, "calibration.json", {"run": {"alpha": 0.1}, "replays": 10, "views": views})
    at = window(maker.root, page="lift")
    assert not at.exception
    assert "z, delta method" in says(at)
    assert "rejects 10% of A/A experiments, and its intervals hold the truth in 90%;" in says(at)
    maker.put(path, "calibration.json", {"older": 1})
    at.run()
    assert "not of a kind that this version knows" in says(at)


def test_quality_measures_and_the_log(window, shared):
    at = window(shared.root, "done", "quality")
    for name in ("Log loss", "Calibration", "AUC per request"):
        at.selectbox(key="measure").set_value(name).run()
        assert not at.exception
    charts = len(at.get("plotly_chart"))
    at.toggle(key="curve").set_value(True).run()
    assert len(at.get("plotly_chart")) == charts + 1


def test_latency_beside_the_papers(window, maker, says):
    path = maker.run(requests=False)
    row = {"batch": 200, "threads": 1, "p50_ms": 1.23, "p95_ms": 2.0, "p99_ms": 3.0}
    maker.put(path, "latency/serving.json", {"machine": {"cores": 2}, "fp32": [row]})
    at = window(maker.root, page="latency")
    assert not at.exception
    assert "1.23" in says(at)
    assert "cores 2" in says(at)


def test_slices_and_the_world_are_read_from_the_run(window, maker, sliced, says):
    from experiment.folder.rundir import RunFolder
    from experiment.preference.measures import spectrum

    path = maker.run(requests=False)
    at = window(maker.root, page="generalise")
    assert not at.exception
    for command in ("storelift slices", "storelift world --run", "storelift study drift"):
        assert command in says(at)
    folder = RunFolder.open(path)
    folder.write_json(path / "metrics" / "slices.json", sliced)
    shape = {"users": 5, "apps": 6, "sparsity": {"pairs_with_exception": 0.03, "cells_of_r": 0.0003}}
    spectra = {name: spectrum([3.0, 2.0, 1.0]) for name in ("smooth", "whole", "exceptions")}
    folder.write_json(path / "metrics" / "world.json", {**shape, "spectra": spectra})
    folder.finish_day(3)
    at = window(maker.root, page="generalise")
    assert not at.exception
    said = says(at)
    assert "in favour, gone 1-3 days" in said
    assert "+0.50\u202f…\u202f+1.50" in said
    assert "Expected lift" in said
    assert "leaves 0% of R" in said
    at.selectbox(key="of-parts").set_value("auc").run()
    assert not at.exception
    assert any("AUC within the part" in chart.proto.spec for chart in at.get("plotly_chart"))


def test_what_the_log_foretold_is_read_from_the_run(window, maker, says):
    from experiment.folder.rundir import RunFolder

    path = maker.run(requests=False)
    at = window(maker.root, page="generalise")
    assert "storelift offpolicy" in says(at)
    figures = {"offline_auc": 0.8, "gauc": 0.7, "log_loss": 0.2}
    deep = {
        "arm": "deep",
        "expected_lift": 0.02,
        "estimates": {
            "direct": {"lift": -0.1, "ci": [-0.11, -0.09]},
            "ips": {"lift": 0.031, "ci": [0.01, 0.05]},
            "snips": {"lift": None, "ci": None},
        },
    }
    document = {"arms": {"deep": figures, "wide": figures}, "comparisons": [deep]}
    folder = RunFolder.open(path)
    folder.write_json(path / "metrics" / "offpolicy.json", document)
    folder.finish_day(3)
    at = window(maker.root, page="generalise")
    assert not at.exception
    said = says(at)
    assert said.index("+3.1% (+1.0 … +5.0%)") > said.index("IPS")
    made = foretold.leaves(document)
    assert [leaf.label for leaf in made if leaf.sure] == ["IPS"]
    assert [row[0] for row in foretold.rows(document)] == ["Wide", "Deep"]


def test_designs_are_shown(window, maker, says):
    maker.run(requests=False)
    at = window(maker.root, page="generalise")
    assert "storelift interference" in says(at)
    found = {"mean": 0.01, "sd": 0.015, "ci": [-0.01, 0.03], "values": [0.0, 0.02]}
    one = dict.fromkeys(("global", "bias", "noise", "se", "gained", "control_gained"), found)
    one |= {"design": "shared", "arm": "deep", "error": 0.02, "covered": 1, "seeds": 2, "data": {"mean": 1.0}}
    document = {
        "arms": ["wide", "deep"], "control": "wide", "preset": "quick", "days": 7, "users": 20_000,
        "seeds": [0, 1], "seeds_asked": 3, "designs": [one],
    }  # fmt: skip
    (maker.root / "interference").mkdir()
    (maker.root / "interference" / "a.json").write_text(json.dumps(document))
    (maker.root / "interference" / "b.json").write_text("{}")
    at = window(maker.root, page="generalise")
    assert not at.exception
    said = says(at)
    assert "Deep against Wide: 2 of 3 seeds, 7 days, 20,000 users of preset quick." in said
    assert "Global effect, 95% interval over seeds: +1.0% (−1.0 … +3.0%)." in said
    assert "1 of 2" in said


def test_studies_are_shown(window, maker, says):
    maker.run(requests=False)
    (maker.root / "studies").mkdir()
    lead = {"mean": 0.02, "ci": None, "n": 1}
    winner = {"first": "deep", "second": "wide", "lead": lead, "ahead": 1}
    lifts = [{"arm": "deep", "control": "wide", "expected_lift": 0.02, "ci": None}]
    points = [{"label": "a x b", "value": "a x b", "lifts": lifts, "winner": winner, "seeds_done": [0]}]
    document = {"title": "<i>T</i>", "knob": "k", "seeds": [0], "points": points, "cells": 1, "cells_done": 1}
    (maker.root / "studies" / "sweep.json").write_text(json.dumps(document))
    auc = {arm: {"expected_auc": {"mean": 0.8, "ci": None}} for arm in ("wide", "deep")}
    grid = [point | {"knob_values": [1, 2], "arms": auc} for point in points]
    two = document | {"knob": "a × b", "knobs": ["a", "b"], "figure": "expected_auc", "points": grid}
    (maker.root / "studies" / "two.json").write_text(json.dumps(two))
    for name, kept in (("other", ("label", "value")), ("torn", ("label", "value", "lifts", "knob_values"))):
        rest = [{key: point[key] for key in kept} for point in grid]
        (maker.root / "studies" / f"{name}.json").write_text(json.dumps(two | {"points": rest}))
    at = window(maker.root, page="generalise")
    assert not at.exception
    assert at.selectbox(key="study").options == ["sweep", "two"]
    said = says(at)
    assert "before Wide" in said
    assert "Variants side by side." in said
    at.selectbox(key="study").set_value("two").run()
    assert not at.exception
    assert "Two knobs: a × b. Means of expected AUC" in says(at)
    assert any("less Wide" in chart.proto.spec for chart in at.get("plotly_chart"))


def test_sql_on_the_data_page(window, shared):
    at = window(shared.root, "done", "data")
    at.button(key="ask").click().run()
    assert not at.exception
    assert list(at.dataframe[-1].value.columns) == ["arm", "sim_day", "impressions", "acquisitions"]
    area = next(area for area in at.text_area if area.key.startswith("query-"))
    area.set_value("COPY log TO 'x'").run()
    at.button(key="ask").click().run()
    assert "allowed: one SELECT" in at.error[0].value


def test_two_runs_side_by_side(window, shared, says):
    at = window(shared.root, page="compare")
    at.multiselect(key="compared").set_value(["done", "seed1"]).run()
    assert not at.exception
    assert "Mean lift" in says(at)
    assert len(at.get("plotly_chart")) == 2
    for search in ("seed1", "no such run"):
        at.text_input(key="search").set_value(search).run()
        assert at.multiselect(key="compared").value == ["done", "seed1"]
        assert "Mean lift" in says(at)
    assert "No such run" in says(at)


def test_runs_that_must_not_be_read_are_in_no_mean(window, maker, says):
    for seed in (0, 1):
        maker.run(f"good{seed}", seed=seed, requests=False)
    maker.run("bad", seed=2, broken_ratio=True, requests=False)
    maker.run("short", seed=3, finished=2, requests=False)
    at = window(maker.root, page="compare")
    at.multiselect(key="compared").set_value(["good0", "good1", "bad", "short"]).run()
    said = says(at)
    assert "Left out, as not to be read, or not yet: 2 of 4." in said
    assert "<td>Deep against Wide</td><td>2</td>" in said
    at.multiselect(key="compared").set_value(["good0", "good1"]).run()
    assert "Left out" not in says(at)


def test_what_each_arm_shows_is_told_of_an_unfinished_run_too(window, shared, says):
    at = window(shared.root, "failed", "generalise")
    assert "hold no such figures" not in says(at)
    assert len(at.get("plotly_chart")) == 2


def test_a_running_run_can_be_followed_and_stopped(window, maker, says, monkeypatch):
    path = maker.run(finished=2, requests=False)
    with lock.locked(path / LOCK):
        maker.told(path, "running")
        at = window(maker.root, page="live")
        assert not at.exception
        assert "state-running" in says(at)
        assert "holdout: AUC fell" in says(at)
        assert [m.label for m in at.metric][:2] == ["Impressions", "Per second"]
        asked = []
        monkeypatch.setattr(launch, "stop", lambda folder: asked.append(folder) or True)
        next(b for b in at.button if b.label == "Stop the run").click().run()
        assert asked == [path]
        at.switch_page("views/overview.py").run()
        assert "So far, after day 2 of 3: " in says(at)
        assert not [b for b in at.button if b.label.endswith("reload")]


class Failed(launch.Launched):
    """A start that has failed before its run had a folder."""

    code = 1

    def last_words(self) -> str:
        return "no disk"


def test_a_failed_start_is_said_once(window, shared, says, monkeypatch, tmp_path):
    failed = Failed(tmp_path / "x", None, tmp_path / "x.log")
    monkeypatch.setattr(launch, "started_here", lambda name: failed if name == "x" else None)
    at = window(shared.root, "done")
    at.session_state["watch"] = "x"
    at.switch_page("views/live.py").run()
    assert "x did not start" in says(at)
    assert "no disk" in says(at)
    at.run()
    assert "did not start" not in says(at)
    assert "What happened" in says(at)


def test_who_picks_a_run_no_longer_waits_for_another(window, shared, says, monkeypatch, tmp_path):
    waiting = launch.Launched(tmp_path / "x", SimpleNamespace(poll=lambda: None), tmp_path / "x.log")
    monkeypatch.setattr(launch, "started_here", lambda name: waiting if name == "x" else None)
    at = window(shared.root, "done")
    at.session_state["watch"] = "x"
    at.switch_page("views/live.py").run()
    assert "Starting x" in says(at)
    at.selectbox(key="run").set_value("seed1").run()
    assert "Starting x" not in says(at)
    assert "What happened" in says(at)


def test_a_run_that_stopped_early_is_at_its_own_day(window, maker):
    path = maker.run(days=5, finished=2, requests=False)
    maker.told(path, "failed", message="no disk")
    journal = Journal(path, RunFolder.open(path).config)
    journal.update("failed", phase="analysing", sim_day=5)
    at = window(maker.root, page="live")
    bars = [element.proto.text for element in at.get("progress")]
    assert [text.rpartition(" · ")[2] for text in bars] == ["day 2 of 5"]


def test_starting_refuses_what_the_command_line_refuses(window, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(launch, "start", lambda order, root: started.append(order))
    at = window(tmp_path, page="start")
    assert not at.exception
    assert not next(b for b in at.button if b.label == "Start").disabled
    at.number_input(key="start-world.drift-tiny").set_value(3.0).run()
    assert at.error[0].value.startswith("world.drift: got 3.0, allowed: a number")
    assert next(b for b in at.button if b.label == "Start").disabled
    at.number_input(key="start-world.drift-tiny").set_value(0.5).run()
    at.number_input(key="start-world.apps-tiny").set_value(200).run()
    at.number_input(key="start-world.turnover-tiny").set_value(0.9).run()
    assert at.error[0].value.startswith("world.apps: got 200, of which ")
    assert next(b for b in at.button if b.label == "Start").disabled
    at.number_input(key="start-world.apps-tiny").set_value(2000).run()
    at.text_input(key="start-name").set_value("../up").run()
    assert at.error[0].value.startswith("name: got '../up'")
    at.text_area(key="start-more").set_value("world.nonsense=1").run()
    assert "unknown key" in at.error[0].value
    assert not started


def test_beside_other_runs_a_new_one_is_waited_for(window, shared, says, monkeypatch, tmp_path):
    waiting = launch.Launched(tmp_path / "x", SimpleNamespace(poll=lambda: None), tmp_path / "x.log")
    monkeypatch.setattr(launch, "start", lambda order, root: waiting)
    monkeypatch.setattr(launch, "started_here", lambda name: waiting if name == "x" else None)
    at = window(shared.root, "done", page="start")
    next(b for b in at.button if b.label == "Start").click().run()
    assert not at.exception
    assert "Starting x" in says(at)


def test_starting_hands_over_what_was_chosen(window, tmp_path, monkeypatch):
    started = []

    def start(order, root):
        started.append((order, root))
        raise OSError("no more processes")

    monkeypatch.setattr(launch, "start", start)
    at = window(tmp_path, page="start")
    at.number_input(key="start-days-tiny").set_value(5).run()
    at.multiselect(key="start-arms-tiny").set_value(["wide", "deep"]).run()
    at.text_input(key="start-name").set_value("first").run()
    next(b for b in at.button if b.label == "Start").click().run()
    ((order, root),) = started
    assert order == launch.Order("tiny", 0, ("wide", "deep"), ("experiment.days=5",), "first")
    assert root == Path(tmp_path)
    assert at.error[0].value == "no more processes"


def test_a_request_is_explained_by_all_arms(window, maker, says):
    path = maker.run()
    at = window(maker.root, page="data")
    assert "storelift explain" in says(at)
    number = next(box for box in at.selectbox if box.label == "Request").value
    arms = {
        arm: {
            "status": "ok",
            "model_version": f"{arm}/3",
            "apps": [{"app": 7, "rank": 1, "score": 0.5, "parts": parts}],
        }
        for arm, parts in (("wide", {"<b>bias</b>": 0.5}), ("deep", {}))
    }
    shown = [{"app": 7, "score": 0.5, "probability": 0.6, "label": 1}]
    name = f"explanations/request-{number}.json"
    maker.put(path, name, {"apps": shown, "arms": arms})
    at.run()
    assert not at.exception
    assert "1 (0.50)" in says(at)
    assert "60.0%" in says(at)
    maker.put(path, name, {"other": 1})
    at.run()
    assert not at.exception
    assert "Not of a kind" in says(at)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_prints_its_own_comments(page):
    """A string that stands alone in a page's script is written on the page."""
    import ast

    root = Path(launch.__file__).parent
    for file in (root / "app.py", root / "views" / f"{page}.py"):
        body = ast.parse(file.read_text()).body[1:]
        alone = [
            one.lineno for one in body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
        ]
        assert alone == [], file.name


def test_a_day_that_an_arm_did_not_serve_gives_way(window, shared):
    at = window(shared.root, "done", page="data")
    at.selectbox(key="arm").set_value("production").run()
    at.selectbox(key="day").set_value(0).run()
    at.selectbox(key="arm").set_value("wide").run()
    assert not at.exception
    assert at.selectbox(key="day").value == 3
    assert at.selectbox(key="request").value in at.selectbox(key="request").options


def test_a_process_that_is_spawned_from_the_windows_opens_none(capfd):
    """Spawned processes import the script that their parent runs, under another name."""
    import runpy

    runpy.run_path(str(Path(launch.__file__).parent / "app.py"), run_name="__mp_main__")
    assert capfd.readouterr() == ("", "")
