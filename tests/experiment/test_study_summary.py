"""What is said of a study: estimates over seeds, claims, winners, frontiers, tables, figures, Markdown."""

import io
from pathlib import Path

import pytest
import scipy.stats
from rich.console import Console

from experiment.study import figure as study_figure
from experiment.study import markdown as study_markdown
from experiment.study import phrases, sheets
from experiment.study import plan as study_plan
from experiment.study import summary as study_summary
from experiment.study import table as study_table
from experiment.study.page import read_page

STUDY = {
    "title": "Small",
    "preset": "tiny",
    "seeds": 2,
    "arms": ["wide", "deep"],
    "variant": [{"name": "default"}, {"name": "frozen", "set": {"experiment.training": "none"}}],
}


def small(**changes):
    return study_plan.validated(STUDY | changes, "small")


def test_the_interval_is_students():
    found = study_summary.estimate([0.1, None, 0.3, 0.2, 0.6])
    interval = scipy.stats.t.interval(
        0.95, 3, loc=0.3, scale=scipy.stats.sem([0.1, 0.3, 0.2, 0.6])
    )  # fmt: skip
    assert found["ci"] == pytest.approx(interval)
    assert (found["n"], found["mean"]) == (4, pytest.approx(0.3))
    assert study_summary.estimate([0.5]) == {"mean": 0.5, "sd": None, "ci": None, "n": 1, "values": [0.5]}
    assert study_summary.estimate([])["mean"] is None


def cells_of(lifts: dict[str, dict[str, list[float | None]]]):
    """Cells whose arms have the given expected lifts, by variant, arm and seed."""
    found = {}
    for variant, arms in lifts.items():
        for seed in range(len(next(iter(arms.values())))):
            figures = {
                arm: {"expected_lift": values[seed], "observed_lift": values[seed], "expected_auc": 0.7}
                for arm, values in arms.items()
            }
            clock = {"cpu_seconds": 1.0}
            cell = {"seed": seed, "control": "wide", "arms": figures, "program": "p", "clock": clock}
            found[variant, seed] = cell
    return found


ORDER = {"name": "up", "measure": "expected_lift", "observed": "observed_lift", "ascending": ["wide", "deep"]}


def test_claims_are_counted_over_seeds():
    study = small(seeds=20, variant=[], claim=[ORDER])
    point = study.points()[0].name

    def claim(values):
        cells = cells_of({point: {"wide": [0.0] * len(values), "deep": values}})
        return study_summary.document("x", study, cells)["points"][0]["claims"][0]

    good = [0.02 + 0.001 * (seed % 3) for seed in range(20)]
    assert (claim(good)["holds"], claim(good)["needed"], claim(good)["met"]) == (20, 17, True)
    three = [-0.001] * 3 + good[3:]
    assert (claim(three)["holds"], claim(three)["met"]) == (17, True)
    four = [-0.001] * 4 + good[4:]
    assert (claim(four)["holds"], claim(four)["met"]) == (16, False)
    assert claim(four)["ci"][0] > 0
    loud = [-0.9, *good[1:]]
    assert (claim(loud)["holds"], claim(loud)["met"]) == (19, False)
    assert claim([None, *good[1:]])["holds"] == 19
    assert claim(good[:1])["met"] is None
    assert claim(good)["observed"]["holds"] == 20


def test_bounds_are_counted_too():
    bound = {"name": "b", "measure": "expected_lift", "arm": "deep", "below": 0.05}
    study = small(variant=[], claim=[bound])
    cells = cells_of({study.points()[0].name: {"wide": [0.0, 0.0], "deep": [0.01, 0.06]}})
    claim = study_summary.document("x", study, cells)["points"][0]["claims"][0]
    assert (claim["holds"], claim["met"], claim["needed"], claim["mean"]) == (
        1,
        False,
        2,
        pytest.approx(0.035),
    )
    above = study_plan.Claim(name="a", measure="gauc", arm="deep", above=1.0)
    assert [study_summary.holds(above, value) for value in (0.5, 1.5, None)] == [False, True, False]


def printed(renderable) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()


@pytest.fixture
def swept():
    study = small(variant=[], sweep=[{"knob": "world.drift", "values": [0.4, 0.0, 0.2]}], claim=[])
    lifts = {
        "0.0": {"wide": [0.0, 0.0], "deep": [-0.03, -0.01]},
        "0.2": {"wide": [0.0, 0.0], "deep": [0.01, 0.03]},
        "0.4": {"wide": [0.0, 0.0], "deep": [0.05, 0.05]},
    }
    return study_summary.document("drift", study, cells_of(lifts))


def test_winners_and_the_frontier(swept):
    by_value = {one["value"]: one for one in swept["points"]}
    assert by_value[0.0]["winner"]["first"] == "wide"
    assert by_value[0.2]["winner"]["first"] == "deep"
    assert by_value[0.2]["winner"]["lead"]["mean"] == pytest.approx(0.02)
    assert by_value[0.2]["winner"]["ahead"] == 2
    (frontier,) = swept["frontiers"]
    assert (frontier["from"], frontier["to"], frontier["between"]) == ("wide", "deep", [0.0, 0.2])
    assert frontier["at"] == pytest.approx(0.1)
    assert swept["crossings"] == swept["frontiers"]
    assert not frontier["sure"]  # two seeds say little
    assert phrases.passings(swept) == [
        "Wide leads up to about 0.1, Deep beyond (between 0 and 0.2, by the means alone)."
    ]


def test_a_frontier_is_sure_where_both_leads_exclude_0():
    study = small(variant=[], sweep=[{"knob": "world.drift", "values": [0.0, 0.2]}], claim=[])
    lifts = {
        "0.0": {"wide": [0.0, 0.0], "deep": [-0.030, -0.031]},
        "0.2": {"wide": [0.0, 0.0], "deep": [0.020, 0.021]},
    }
    document = study_summary.document("drift", study, cells_of(lifts))
    assert [one["sure"] for one in document["frontiers"]] == [True]
    assert phrases.passings(document) == ["Wide leads up to about 0.12, Deep beyond (between 0 and 0.2)."]


def test_arms_that_differ_by_luck_alone_have_no_winner():
    study = small(spread="arms", measures=["expected_lift"])
    lifts = {
        name: {arm: [0.0, 0.01 * at] for at, arm in enumerate(("a", "b"))} for name in ("default", "frozen")
    }
    document = study_summary.document("aa", study, cells_of(lifts))
    assert [one["winner"] for one in document["points"]] == [None, None]
    assert all("against_reference" not in one for one in document["points"])
    seeds = small(
        spread="variants", variant=[], sweep=[{"knob": "experiment.training_seed", "values": [0, 1]}]
    )
    lifts = {
        "0": {"wide": [0.0, 0.0], "deep": [-0.02, -0.01]},
        "1": {"wide": [0.0, 0.0], "deep": [0.02, 0.03]},
    }
    assert study_summary.document("luck", seeds, cells_of(lifts))["crossings"] == []
    assert "**" not in study_markdown.markdown(document, "storelift study aa")


def test_two_arms_cross_below_a_third():
    study = small(variant=[], sweep=[{"knob": "world.apps", "values": [500, 1000]}], claim=[])
    lifts = {
        "500": {"wide": [0.0], "deep": [-0.01], "wide_deep": [0.05]},
        "1000": {"wide": [0.0], "deep": [0.01], "wide_deep": [0.05]},
    }
    document = study_summary.document("x", study, cells_of(lifts))
    assert document["frontiers"] == []
    assert [one["to"] for one in document["crossings"]] == ["deep"]
    assert phrases.passings(document) == ["Deep overtakes Wide at about 750, by the means alone."]


def test_variants_are_held_against_the_first_by_seed():
    study = small(measures=["expected_lift"], claim=[ORDER])
    lifts = {
        "default": {"wide": [0.0, 0.0], "deep": [0.01, 0.05]},
        "frozen": {"wide": [0.0, 0.0], "deep": [0.02, 0.06]},
    }
    document = study_summary.document("small", study, cells_of(lifts))
    change = document["points"][1]["against_reference"]["deep"]["expected_lift"]
    assert change["mean"] == pytest.approx(0.01)
    assert change["sd"] == pytest.approx(0, abs=1e-12)
    assert "against_reference" not in document["points"][0]
    assert document["points"][1]["claims"][0]["against_reference"]["mean"] == pytest.approx(0.01)
    cells = cells_of(lifts)
    del cells["default", 0]
    partial = study_summary.document("small", study, cells)
    assert partial["points"][1]["claims"][0]["against_reference"]["values"] == [pytest.approx(0.01)]


def test_a_study_under_way_says_so(swept):
    study = small(claim=[])
    document = study_summary.document("small", study, {})
    assert [one["arms"] for one in document["points"]] == [{}, {}]
    assert phrases.notes(document) == ["0 of 4 cells are done."]
    assert "0 of 4 cells are done." in printed(study_table.render(document))
    assert not study_figure.figure(document).data
    assert phrases.notes(swept | {"programs": ["a", "b"]}) == [
        "3 of 6 cells are done." if swept["cells_done"] == 3 else
        "Cells of 2 versions of the program are mixed; --again starts anew."
    ]  # fmt: skip


def test_figures_are_of_the_documents_alone(swept):
    lines = study_figure.figure(swept)
    assert [trace.name for trace in lines.data] == ["Wide", "Deep"]
    assert list(lines.data[1].x) == [0.0, 0.2, 0.4]
    assert list(lines.data[1].y) == pytest.approx([-0.02, 0.02, 0.05])
    assert lines.data[1].error_y.array[0] == pytest.approx(lines.data[1].error_y.arrayminus[0])
    sweep = [{"knob": "world.drift", "values": [0.0, 0.2]}, {"knob": "world.apps", "values": [500, 900]}]
    study = small(variant=[], sweep=sweep, claim=[])
    lifts = {point.name: {"wide": [0.0], "deep": [0.01 * at]} for at, point in enumerate(study.points())}
    maps = study_figure.figure(study_summary.document("two", study, cells_of(lifts)))
    assert [trace.type for trace in maps.data] == ["heatmap", "heatmap"]
    assert [list(row) for row in maps.data[0].z] == [[0.0, 0.02], [0.01, 0.03]]
    assert maps.data[1].text[1][1] == "Deep<br>1 of 1<br>+3.0%"
    assert {(trace.zmin, trace.zmax) for trace in maps.data} == {(-0.03, 0.03)}


def variants(*named, **changes):
    """The document of a study of named variants, of two seeds, whose AUCs are near .8."""
    study = small(variant=[{"name": name, "label": label} for name, label in named], claim=[], **changes)
    lifts = {name: {"wide": [0.0, 0.0], "deep": [0.01, 0.02]} for name, _ in named}
    cells = cells_of(lifts)
    for (name, seed), cell in cells.items():
        for place, arm in enumerate(cell["arms"]):
            auc = 0.8 + 0.01 * place + 0.001 * seed + 0.0001 * len(name)
            cell["arms"][arm] = cell["arms"][arm] | {"expected_auc": auc}
    return study_summary.document("variants", study, cells)


def test_the_axis_of_variants_holds_the_intervals_and_little_else():
    document = variants(("default", "the default"), ("frozen", "no training"))
    ends = [
        end
        for one in document["points"]
        for found in one["arms"].values()
        for end in found["expected_auc"]["ci"]
    ]
    low, high = study_figure.figure(document, "expected_auc").layout.yaxis.range
    assert low < min(ends) < max(ends) < high
    assert high - low < 1.2 * (max(ends) - min(ends))
    low, high = study_figure.figure(document, "expected_lift").layout.yaxis.range
    assert low < 0 < high


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["16,000 apps, the default", "4,000 apps"], ["4,000 apps", "16,000 apps, the default"]),
        (["30%, the default", "15% of them", "-1.5"], ["-1.5", "15% of them", "30%, the default"]),
        (["the default", "4 apps", "2 apps"], ["the default", "4 apps", "2 apps"]),
        (["16k", "4k"], ["16k", "4k"]),
    ],
)
def test_variants_that_are_numbers_stand_by_number(labels, shown):
    document = variants(*((f"v{place}", label) for place, label in enumerate(labels)))
    assert [one["label"] for one in study_figure.ordered(document)] == shown
    assert [one["label"] for one in document["points"]] == labels
    drawn = study_figure.figure(document)
    assert list(drawn.layout.xaxis.categoryarray) == shown
    assert [trace.mode for trace in drawn.data] == ["markers", "markers"]
    assert list(drawn.data[0].x) == shown


def test_values_that_are_numbers_order_whatever_their_labels(tmp_path):
    document = variants(("0.3", "many, the default"), ("0", "none"), ("0.15", "some"))
    assert [one["label"] for one in study_figure.ordered(document)] == ["none", "some", "many, the default"]
    study_figure.write_page(tmp_path / "page.html", document)
    text = (tmp_path / "page.html").read_text("utf-8")
    places = [text.index(f"<td>{label}</td>") for label in ("none", "some", "many, the default")]
    assert places == sorted(places)
    assert "The others are held against many, the default." in text
    assert "change against many, the default, within a seed" in text


def test_a_map_of_what_is_no_lift_is_of_differences_from_the_control():
    sweep = [{"knob": "world.drift", "values": [0.0, 0.2]}, {"knob": "world.apps", "values": [500, 900]}]
    study = small(variant=[], sweep=sweep, claim=[])
    lifts = {point.name: {"wide": [0.0], "deep": [0.01]} for point in study.points()}
    document = study_summary.document("two", study, cells_of(lifts))
    for one in document["points"]:
        for arm, auc in (("wide", 0.8), ("deep", 0.79)):
            one["arms"][arm]["expected_auc"] = study_summary.estimate([auc])
    (shown,) = study_figure.figure(document, "expected_auc").data
    assert [list(row) for row in shown.text] == [["−0.0100"] * 2] * 2


def test_each_row_and_column_of_two_knobs_has_its_frontier():
    """Deep is ahead where few apps drift, and where many do, at other places."""
    sweep = [{"knob": "world.drift", "values": [0.0, 0.2]}, {"knob": "world.apps", "values": [500, 900]}]
    study = small(variant=[], sweep=sweep, claim=[])
    gains = {"0.0, 500": -0.02, "0.0, 900": 0.01, "0.2, 500": 0.02, "0.2, 900": 0.03}
    lifts = {name: {"wide": [0.0, 0.0], "deep": [gain, gain]} for name, gain in gains.items()}
    document = study_summary.document("two", study, cells_of(lifts))
    assert phrases.passings(document) == [
        "At world.apps 500, by world.drift: Wide leads up to about 0.1, Deep beyond (between 0 and 0.2).",
        "At world.drift 0, by world.apps: Wide leads up to about 767, Deep beyond (between 500 and 900).",
    ]


def test_values_of_a_knob_are_held_against_the_presets_own():
    sweep = [{"knob": "world.drift", "values": [0.4, 0.17]}]
    study = small(variant=[], sweep=sweep, claim=[ORDER])
    lifts = {
        "0.4": {"wide": [0.0, 0.0], "deep": [0.03, 0.05]},
        "0.17": {"wide": [0.0, 0.0], "deep": [0.01, 0.02]},
    }
    document = study_summary.document("drift", study, cells_of(lifts))
    assert document["reference"] == "0.17"
    there, own = document["points"]
    assert there["against_reference"]["deep"]["expected_lift"]["values"] == pytest.approx([0.02, 0.03])
    assert there["claims"][0]["against_reference"]["values"] == pytest.approx([0.02, 0.03])
    assert "against_reference" not in own
    assert sheets.leaders(document).rows[0] == [
        "0.4",
        "Deep",
        "+4.00% (−8.71% … +16.71%) before Wide",
        "2 of 2",
    ]
    study = small(variant=[], sweep=[{"knob": "world.drift", "values": [0.3, 0.4]}], claim=[])
    assert study_plan.reference(study, study.points()) is None


def test_what_is_valid_with_swept_values_alone_has_no_reference():
    sweep = [{"knob": "experiment.pre_days", "values": [7, 9]}]
    study = small(variant=[], sweep=sweep, claim=[], set={"production.bootstrap_days": 5})
    assert len(study_plan.cells(study)) == 2 * study.seeds
    assert study_plan.reference(study, study.points()) is None


def test_an_arm_overtakes_across_a_gap():
    sweep = [{"knob": "world.drift", "values": [0.0, 0.2, 0.4]}]
    study = small(variant=[], sweep=sweep, claim=[])
    for middle in ({}, {"0.2": {"wide": [0.0, 0.0], "deep": [0.0, 0.0]}}):
        lifts = {
            "0.0": {"wide": [0.0, 0.0], "deep": [-0.01, -0.01]},
            **middle,
            "0.4": {"wide": [0.0, 0.0], "deep": [0.03, 0.03]},
        }
        document = study_summary.document("drift", study, cells_of(lifts))
        assert [(one["to"], one["between"]) for one in document["crossings"]] == [("deep", [0.0, 0.4])]


def test_the_page_says_what_was_asked_and_what_was_found(swept, tmp_path):
    study_figure.write_page(tmp_path / "drift.html", swept)
    text = (tmp_path / "drift.html").read_text("utf-8")
    for words in (
        f"<p>{swept['question']}</p>",
        *(f"<p>{line}</p>" for line in phrases.remarks(swept)),
        "<h3>Expected lift</h3>",
        "with 95% t-intervals.</figcaption>",
        "<td>0.2</td><td>Wide</td><td>0.7000</td><td>0.00%</td><td>0.00%</td>",
        "<tr class=first><td></td><td>Deep</td><td>0.7000</td><td>+2.00% ± 12.71</td>",
    ):
        assert words in text
    assert text.count("<figure ") == len(swept["measures"])


def test_the_dashboard_finds_the_points(swept):
    from dashboard import studies

    study = studies.read("drift", swept)
    figure, _ = studies.drawn(study)
    (line,) = [trace for trace in figure.data if trace.name == "Deep"]
    assert len(study.frontiers) == 1
    assert dict(zip(line.x, line.y, strict=True)) == pytest.approx({0.0: -0.02, 0.2: 0.02, 0.4: 0.05})


@pytest.mark.parametrize(
    ("value", "form", "difference", "text"),
    [
        (0.7123, "auc", False, "0.7123"), (-0.0021, "auc", True, "−0.0021"), (0.039, "lift", False, "+3.90%"),
        (0.31, "share", False, "31.00%"), (0.01, "share", True, "+1.00%"), (12345., "count", False, "12,345"),
        (1.234, "number", False, "1.23"), (None, "auc", False, "–"),
    ],
)  # fmt: skip
def test_figures_as_people_read_them(value, form, difference, text):
    assert phrases.figure(value, form, difference=difference) == text


def test_a_study_as_markdown(swept):
    lines = study_markdown.markdown(swept, "storelift study drift").split("\n")
    assert lines[0] == "    storelift study drift"
    assert "| 0.2 | Wide | 0.7000 | 0.00% | 0.00% |" in lines
    assert "|  | **Deep** | 0.7000 | +2.00% ± 12.71 | +2.00% ± 12.71 |" in lines
    assert lines[-1] == "Wide leads up to about 0.1, Deep beyond (between 0 and 0.2, by the means alone)."
    study = small(measures=["expected_lift"], claim=[ORDER])
    lifts = {
        "default": {"wide": [0.0, 0.0], "deep": [0.01, 0.05]},
        "frozen": {"wide": [0.0, 0.0], "deep": [0.02, 0.06]},
    }
    text = study_markdown.markdown(study_summary.document("small", study, cells_of(lifts)), "a command")
    assert "| change against default, within a seed | arm | expected lift |" in text
    assert "|  | Deep | +1.00%" in text
    assert "| up | " in text
    assert "2 of 2 | 2 of 2 |" in text


@pytest.mark.parametrize("name", sorted(set(study_plan.shipped()) - {"paper", "reference"}))
def test_a_page_in_docs_has_room_for_each_study(name):
    docs = Path(__file__).parents[2] / "docs"
    read_page(docs / ("why.md" if name == "ablations" else "findings.md"), f"study {name}")
