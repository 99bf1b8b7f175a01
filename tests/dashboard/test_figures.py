import json
import re

import plotly.graph_objects as go
import pytest

from dashboard import (
    calibration,
    explaining,
    figures,
    forests,
    lab_figures,
    latencies,
    part_figures,
    reliability,
    scorecard,
    shell,
    slices,
    studies,
)
from dashboard.figures import Line
from dashboard.forests import Leaf
from dashboard.lab_figures import Judgement, Spot
from dashboard.reading import read
from experiment.palette import KNOWN, inks
from experiment.slices.document import FORMAT

INKS = inks(["wide", "deep", "wide_deep"])


def named(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def test_a_lift_has_a_line_a_band_and_the_truth():
    line = Line("deep", [1, 2, 3], [0.01, None, 0.03], [(0.0, 0.02), None, (0.02, 0.04)], dotted=0.025)
    figure = figures.lifts([line], INKS, refused=[2])
    assert list(named(figure, "Deep").y) == [0.01, None, 0.03]
    assert named(figure, "Deep").line.color == KNOWN["deep"]
    lower, upper = named(figure, "Deep lower"), named(figure, "Deep upper")
    assert list(lower.x) == [1, 3]
    assert list(upper.y) == [0.02, 0.04]
    assert upper.fill == "tonexty"
    assert lower.mode == upper.mode == "lines"
    assert named(figure, "Deep, true").line.dash == "dot"
    assert set(named(figure, "Deep, true").y) == {0.025}
    assert len(figure.layout.shapes) == 2  # zero, and the refused day


def test_absolute_lifts_are_percentage_points():
    line = Line("deep", [1], [0.001], [(0.0005, 0.0015)])
    figure = figures.lifts([line], INKS, relative=False)
    assert list(named(figure, "Deep").y) == pytest.approx([0.1])
    assert "pp" in figure.layout.yaxis.title.text


def test_daily_lifts_are_dots_with_error_bars():
    line = Line("deep", [1, 2], [0.01, 0.02], [(0.0, 0.03), (0.01, 0.04)])
    trace = named(figures.lifts([line], INKS, connected=False), "Deep")
    assert trace.mode == "markers"
    assert list(trace.error_y.array) == pytest.approx([0.02, 0.02])
    assert list(trace.error_y.arrayminus) == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize("connected", [True, False])
def test_the_numbers_of_a_chart_have_their_intervals(connected):
    line = Line("deep", [1, 2], [0.01, 0.02], [(0.0, 0.03), (0.01, 0.04)])
    figure = figures.lifts([line], INKS, connected=connected)
    rows = [row for row in shell.numbers(figure) if row["series"] == "Deep"]
    assert list(rows[0]) == ["series", "Day of the experiment", "Lift (95% interval)", "low", "high"]
    assert [(row["low"], row["high"]) for row in rows] == [pytest.approx(band) for band in line.bands]


def test_arms_differ_in_hue_and_shape():
    found = inks(["wide", "deep", "wide_deep", "mine", "yours"])
    assert len({ink.colour for ink in found.values()}) == 5
    assert len({ink.shape for ink in found.values()}) == 5
    assert found["deep"].band == "rgba(0,158,115,0.18)"


def test_a_forest_is_hollow_where_nothing_is_decided():
    leaves = [
        Leaf("a", "deep", 0.1, (0.05, 0.15), sure=True, truth=0.08),
        Leaf("b", "deep", 0.0, (-0.1, 0.1), sure=False),
    ]
    figure = forests.forest(leaves, INKS)
    assert list(named(figure, "Deep").marker.color) == [KNOWN["deep"], "rgba(0,0,0,0)"]
    assert list(named(figure, "Deep, true").x) == [0.08]
    assert list(figure.layout.yaxis.categoryarray) == ["b", "a"]


def test_ticks_have_the_digits_of_their_steps():
    assert forests.forest([], INKS).layout.xaxis.tickformat == "+.2~%"
    assert slices.MEASURES["over"].tickformat == "+.2~%"
    for low, high, step, told in (
        (-0.05, 0.075, 0.025, ["−5%", "−2.5%", "0%", "+2.5%", "+5%", "+7.5%"]),
        (-0.02, 0.02, 0.02, ["−2%", "0%", "+2%"]),
        (0.0, 0.0025, 0.0025, ["0%", "+0.25%"]),
    ):
        assert re.findall(r">([^<]+)</i>", scorecard._ticks(low, high, step)) == told


def test_the_papers_spots_are_hollow():
    figure = lab_figures.off_and_on(
        [Spot("deep", 0.7, 0.02, (0.69, 0.71), (0.0, 0.04)), Spot("deep", 0.722, 0.029, theirs=True)], INKS
    )
    assert named(figure, "Deep").marker.color == KNOWN["deep"]
    assert named(figure, "Deep (paper)").marker.color == "rgba(0,0,0,0)"
    assert named(figure, "Deep").error_y.array[0] == pytest.approx(0.02)


def test_an_arm_has_the_same_sign_whoever_is_beside_it():
    assert inks(["deep", "wide_deep"])["deep"] == INKS["deep"]
    assert inks(["mine", "wide"])["mine"].shape != INKS["wide"].shape


def test_zero_has_no_sign():
    figure = figures.lifts([Line("deep", [1], [0.1])], INKS)
    assert figure.layout.yaxis.labelalias["+0%"] == "0%"


def test_off_and_on_has_room_for_its_intervals():
    spots = [Spot("deep", 0.7, 0.1, (0.6, 0.8), (0.0, 0.2)), Spot("wide", 0.72, 0.0, theirs=True)]
    low, high = lab_figures.off_and_on(spots, INKS).layout.xaxis.range
    assert low < 0.6
    assert high > 0.8


def test_refused_models_are_crosses():
    nights = [Judgement("deep", 1, 0.01, True, ""), Judgement("deep", 2, None, False, "not finite")]
    figure = lab_figures.gate(nights, INKS)
    assert list(named(figure, "Deep").x) == [1]
    assert named(figure, "refused").marker.symbol == "x"
    assert list(named(figure, "refused").text) == ["Deep: not finite"]
    assert list(named(figure, "refused").marker.color) == [KNOWN["deep"]]


def test_no_figure_chooses_a_template():
    for figure in (
        figures.lifts([], INKS),
        forests.forest([], INKS),
        figures.power_curve([0.0, 0.1], {"as measured": [0.05, 0.9]}, 0.05),
        figures.counts([Line("deep", [1], [3])], INKS, y="Users"),
        lab_figures.measured([Line("deep", [1], [0.7], [(0.6, 0.8)])], INKS, y="AUC", level=1.0),
        part_figures.bars({"here": {"200 x 1": 1.2}, "In the paper": {"200 x 1": 31.0}}, y="ms"),
        lab_figures.rates({"r": [("z", 0.05)]}, 0.05, x="rate"),
        lab_figures.histogram({"p": [1, 2, 3]}, x="p", y="n", flat=2),
        part_figures.parts([Line("deep", ["a", "b"], [0.5, None])], INKS, y="AUC"),
        lab_figures.calibration_curve({"deep": [(0.1, 0.12, 5), (0.0, 0.0, 1)]}, INKS),
    ):
        assert isinstance(figure, go.Figure)
        assert (
            figure.layout.template.layout.to_plotly_json()
            == go.Figure().layout.template.layout.to_plotly_json()
        )
        assert all(len(trace.x or ()) <= figures.POINTS for trace in figure.data)


def test_calibration_by_view_and_method():
    document = {
        "replays": 200,
        "views": {
            "super_population": {
                "comparisons": [
                    {
                        "arm": "deep",
                        "control": "wide",
                        "true_lift": 0.1,
                        "methods": {
                            "z": {"false_positive_rate": 0.05, "coverage": 0.95, "power": 0.8},
                            "naive_peeking": {"false_positive_rate": 0.2, "coverage": None},
                        },
                        "p_value_histogram": [1, 2],
                    }
                ]
            }
        },
    }
    ((view, (one,)),) = calibration.views(document).items()
    assert view == "Users drawn anew"
    assert one.pair == "Deep against Wide"
    assert [(m.name, m.naive, m.coverage) for m in one.methods] == [
        ("z, delta method", False, 0.95),
        ("naive: peeking daily", True, None),
    ]
    assert calibration.views({"something": "else"}) == {}


def test_timings_are_found_wherever_they_stand():
    document = {
        "paper": {"fp32": [{"batch": 200, "threads": 1, "p50_ms": 1.2, "p99_ms": 2.0}]},
        "http": {"p50_ms": 3.0},
    }
    first, second = latencies.timings(document)
    assert first.split == "200 x 1"
    assert first.milliseconds == {"p50_ms": 1.2, "p99_ms": 2.0}
    assert second.name == "http"


def study_point(value, lift, label=None, knob_values=None):
    """A point of a study at which Deep lifts by `lift`, and leads."""
    lead = {"mean": 0.02, "ci": [0.01, 0.03], "n": 3}
    return {
        "label": str(value) if label is None else label,
        "value": value,
        "knob_values": [value] if knob_values is None else knob_values,
        "seeds_done": [0, 1, 2],
        "arms": {
            "wide": {"expected_lift": {"mean": 0.0, "ci": None}},
            "deep": {"expected_lift": {"mean": lift, "ci": None}},
        },
        "lifts": [{"arm": "deep", "control": "wide", "expected_lift": lift, "ci": [lift - 0.1, lift + 0.1]}],
        "winner": {"first": "deep", "second": "wide", "lead": lead, "ahead": 2},
    }


def study_document(points, knobs, **changes):
    return {
        "title": "T", "question": "When?", "knob": " × ".join(knobs) or "variant", "knobs": knobs,
        "seeds": [0, 1, 2], "cells_done": 5, "cells": 6, "figure": "expected_lift", "points": points,
        "frontiers": [], "spread": [], "reference": None, **changes,
    }  # fmt: skip


def test_studies_are_lines_over_a_knob(tmp_path):
    document = study_document(
        [study_point(0.2, 0.02), study_point(0.1, 0.01)],
        ["world.drift"],
        frontiers=[{"from": "wide", "to": "deep", "between": [0.1, 0.2], "at": 0.15}],
    )
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "drift.json").write_text(json.dumps(document))
    (folder / "other.json").write_text('{"points": 3}')
    (folder / "torn.json").write_text("{")
    (study,) = studies.found(tmp_path).values()
    figure, takeaway = studies.drawn(study)
    deep = named(figure, "Deep")
    assert (list(deep.x), list(deep.y), deep.mode) == ([0.1, 0.2], [0.01, 0.02], "lines+markers")
    assert takeaway == "Expected lift over world.drift. At its last value: Deep +2.0%"
    assert study.about.startswith("One knob: world.drift. Means of expected lift over 3 seeds")
    assert study.rows[0] == ["0.1", "Deep", "+2.0% (+1.0 … +3.0%) before Wide", "2 of 3", "3"]
    assert study.frontiers == ["Wide leads up to about 0.15, Deep beyond (between 0.1 and 0.2)."]
    assert studies.found(tmp_path / "nowhere") == {}


def test_a_study_of_variants_is_dots_by_number_that_nothing_joins():
    points = [
        study_point("16000", 0.03, "16,000 apps, the default"),
        study_point("4000", 0.01, "4,000 apps"),
        study_point("8000", 0.02, "8,000 apps"),
    ]
    study = studies.read("sparsity", study_document(points, [], reference=points[0]["label"]))
    figure, takeaway = studies.drawn(study)
    deep, labels = named(figure, "Deep"), ["4,000 apps", "8,000 apps", "16,000 apps, the default"]
    assert (list(deep.x), list(deep.y), deep.mode) == (labels, [0.01, 0.02, 0.03], "markers")
    assert not [trace for trace in figure.data if "lines" in trace.mode]
    assert list(figure.layout.xaxis.categoryarray) == labels == [row[0] for row in study.rows]
    assert list(deep.error_y.array) == pytest.approx([0.1] * 3)
    assert study.about.startswith("Variants side by side.")
    assert study.about.endswith("The others are held against 16,000 apps, the default.")
    assert "Deep +1.0% (4,000 apps)" in takeaway


def test_training_seeds_have_no_order_to_draw_a_line_along():
    document = study_document([study_point(0, 0.01), study_point(1, 0.02)], ["training seeds"], spread=[{}])
    figure, _ = studies.drawn(studies.read("luck", document))
    assert named(figure, "Deep").mode == "markers"
    assert figure.layout.xaxis.type == "category"


def test_a_study_of_two_knobs_is_maps_below_each_other():
    grid = [(1.0, 0.4), (1.0, 0.0), (2.05, 0.4), (2.05, 0.0)]
    points = [
        study_point(f"{a}, {b}", place / 100, knob_values=[a, b]) for place, (a, b) in enumerate(grid, 1)
    ]
    crossing = {"from": "wide", "to": "deep", "between": [0.0, 0.4], "at": 0.1}
    frontier = crossing | {"knob": "share", "held": {"weight": 2.05}}
    document = study_document(points, ["weight", "share"], frontiers=[frontier])
    study = studies.read("frontier", document)
    figure, takeaway = studies.drawn(study)
    assert [trace.type for trace in figure.data] == ["heatmap", "heatmap"]
    deep, leads = figure.data
    assert (list(deep.x), list(deep.y)) == (["1", "2.05"], ["0", "0.4"])
    assert [list(row) for row in deep.z] == [[0.02, 0.04], [0.01, 0.03]]
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]
    assert figure.layout.title.text is None
    assert [row[0] for row in study.rows] == ["1.0, 0.0", "1.0, 0.4", "2.05, 0.0", "2.05, 0.4"]
    assert study.about.startswith("Two knobs: weight × share. ")
    assert study.frontiers == [
        "At weight 2.05, by share: Wide leads up to about 0.1, Deep beyond (between 0 and 0.4)."
    ]
    assert takeaway.startswith("Who leads at each weight × share. 1.0, 0.0: Deep;")
    rows = shell.numbers(figure)
    assert rows[1] == {
        "series": "Deep: expected lift", "weight": "2.05", "share": "0", "value": 0.04, "shown": "+4.0%",
    }  # fmt: skip
    assert rows[-1]["shown"] == "Deep, 2 of 3, +2.0%"
    assert leads.name == rows[-1]["series"]


@pytest.mark.parametrize("knobs", [[], ["a"], ["a", "b"]])
def test_a_study_of_which_no_cell_is_done_has_no_figure(knobs):
    point = study_point("x", 0.0, knob_values=[1, 2]) | {"arms": {}, "lifts": [], "winner": None}
    study = studies.read("new", study_document([point], knobs))
    assert studies.drawn(study) is None
    assert study.rows == [["x", "–", "–", "–", "3"]]


def test_calibration_curves_hold_the_top_of_every_request(shared):
    curves = reliability.curves(read(shared.done))
    assert set(curves) == {"wide", "deep", "wide_deep"}
    for curve in curves.values():
        assert sum(count for _, _, count in curve) == 60
        predicted = [p for p, _, _ in curve]
        assert predicted == sorted(predicted)


def test_slices_are_lines_over_parts_with_their_intervals(sliced):
    lines = slices.lines(sliced, "stale", "over")
    assert [line.arm for line in lines] == ["wide", "deep"]
    assert list(lines[0].y) == [0.01, 0.04]
    figure = part_figures.parts(lines, INKS, y="Predicted less true chance", tickformat="+.1%")
    wide = named(figure, "Wide")
    assert list(wide.x) == ["no exception, now or then", "in favour, gone 1-3 days"]
    assert list(wide.error_y.array) == pytest.approx([0.005, 0.005])
    assert figure.layout.xaxis.ticktext[0] == "no exception,<br>now or then"
    assert [line.arm for line in slices.lines(sliced, "stale", "lift")] == ["deep"]
    (expected,) = slices.lines(sliced, "stale", "expected_lift")
    assert (expected.arm, expected.y[1]) == ("deep", None)
    assert expected.y[0] == pytest.approx(0.09)
    assert expected.bands[0] == pytest.approx((0.07, 0.11))


def test_slices_as_rows_and_exploration_by_day(sliced):
    rows = slices.rows(sliced, "stale")
    assert {len(row) for row in rows} == {len(slices.HEAD)}
    assert [row[0].strip().replace("\xa0", " ") for row in rows] == [
        "no exception, now or then",
        *("Wide", "95% interval", "Deep", "95% interval"),
        "in favour, gone 1-3 days",
        *("Wide", "95% interval"),
    ]  # a part that an arm never showed has no row
    assert not any(rows[0][1:])
    deep = {head: (value, ends.replace("\u202f", " ")) for head, value, ends in _columns(*rows[3:5])}
    assert deep == {
        "Share": ("50.0%", "49.5 … 50.5"),
        "Acquired": ("10.00%", "9.50 … 10.50"),
        "True chance": ("9.00%", ""),
        "Predicted": ("10.00%", "9.50 … 10.50"),
        "Over the truth, points": ("+1.00", "+0.50 … +1.50"),
        "Predicted over acquired": ("1.00", "0.99 … 1.00"),
        "AUC": ("0.800", "0.795 … 0.805"),
        "Lift": ("+10.0%", "+5.0 … +15.0"),
        "Expected lift": ("+9.0%", "+7.0 … +11.0"),
    }
    assert rows[1][-2:] == ["–", "–"]
    assert rows[2][-2:] == ["", ""]
    assert slices.trust(sliced)[0] == ["Wide", "+0.50 (+0.40 … +0.60)", "–"]
    assert [line.y for line in slices.explored(sliced, "new_pair_share")] == [[0.2], [0.3]]
    assert slices.explored(sliced, "found_rules") == []


def _columns(figures, intervals):
    return list(zip(slices.HEAD, figures, intervals, strict=True))[1:]


def test_a_file_that_was_changed_is_not_shown(maker, sliced):
    from experiment.folder.rundir import RunFolder

    folder = RunFolder.open(maker.run(requests=False))
    assert slices.found(read(folder.path)) is None
    folder.write_json(folder.path / "metrics" / "slices.json", sliced)
    folder.finish_day(3)
    assert slices.found(read(folder.path)) == sliced
    folder.write_json(folder.path / "metrics" / "slices.json", {**sliced, "format": 10 * FORMAT})
    folder.finish_day(3)
    assert slices.found(read(folder.path)) is None
    (folder.path / "metrics" / "slices.json").write_text("{}")
    assert slices.found(read(folder.path)) is None


def test_the_parts_of_a_score_add_up():
    one = {"score": 1.0, "parts": {f"p{i}": 0.1 * i for i in range(12)}}
    found = explaining.parts(one)
    assert sum(found.values()) == pytest.approx(sum(one["parts"].values()))
    assert next(iter(found)) == "p11"
    assert list(found)[-1] == "4 others"
    figure = part_figures.made_of(found, INKS["deep"], title="Deep 1.00")
    assert len(figure.data[0].y) == len(found)
    assert explaining.parts({"score": 1.0}) == {}
    assert explaining.rankings({"arms": 3}) == {}
