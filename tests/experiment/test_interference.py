"""Designs under interference: who learns from whom, what is estimated, and what a stop leaves."""

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from experiment import executor, running
from experiment.cli import app
from experiment.errors import BadInput
from experiment.folder.rundir import RunFolder
from experiment.interference import command, designs, estimates, show
from experiment.interference.play import OUT_OF_REACH, Corpus
from experiment.loading import load
from experiment.study.page import markers, read_page
from experiment.words import arm_name
from experiment.worlds import world_of

SMALL = ["users.population=10000", "world.apps=400", "experiment.days=2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    document = command.interference("small", "tiny", SMALL, seeds=1, root=root, workers=1)
    return root, document


def tables(root):
    (folder,) = (root / "interference" / "small").iterdir()
    return {path.stem: pq.read_table(path) for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize(("design", "training"), [("diverted", "own"), ("shared", "all")])
def test_a_design_is_the_ordinary_run_without_a_gate(done, tmp_path, design, training):
    root, _ = done
    settings = [*SMALL, "gate.enabled=false", f"experiment.training={training}"]
    running.run(load("tiny", settings, arms="wide,deep", workers=1), tmp_path / "run")
    report = RunFolder.open(tmp_path / "run").report()["arms"]
    table = tables(root)[design].to_pandas()
    for at, arm in enumerate(("wide", "deep")):
        own = table[table.arm == at]
        assert own.impressions.sum() == report[arm]["impressions"]
        assert own.acquisitions.sum() == report[arm]["acquisitions"]
        assert own.expected.sum() / own.impressions.sum() == pytest.approx(
            report[arm]["expected_rate"], rel=1e-12
        )


def test_each_arm_has_a_world_to_itself_and_all_worlds_the_same_visits(done):
    root, _ = done
    found = tables(root)
    assert sorted(found) == [
        "clustered", "co-diverted", "co-diverted,-turned-1", "diverted", "only-deep", "only-wide", "shared",
    ]  # fmt: skip
    visits = found["only-deep"].column("impressions").to_pylist()
    assert all(table.column("impressions").to_pylist() == visits for table in found.values())
    assert set(found["only-deep"].column("arm").to_pylist()) == {1}
    assert found["only-deep"].column("expected") != found["only-wide"].column("expected")
    assert (
        found["diverted"].column("arm") == found["shared"].column("arm") == found["co-diverted"].column("arm")
    )


def rates(table):
    return table.column("expected").to_pylist(), table.column("impressions").to_pylist()


def test_the_document_says_bias_error_and_data(done):
    root, document = done
    assert json.loads((root / "interference" / "small.json").read_text()) == json.loads(json.dumps(document))
    assert [one["design"] for one in document["designs"]] == list(designs.DESIGNS)
    rows = {row["design"]: row for row in document["rows"]}
    assert len({row["global"] for row in rows.values()}) == 1
    found = tables(root)
    alone = {arm: rates(found[f"only-{arm}"]) for arm in ("wide", "deep")}
    whole = [sum(acquired) / sum(shown) for acquired, shown in alone.values()]
    for name in ("shared", "diverted"):
        arm, (acquired, shown) = found[name].column("arm").to_pylist(), rates(found[name])
        split, own = [], []
        for k, (expected, impressions) in enumerate(alone.values()):
            mine = [i for i, of in enumerate(arm) if of == k]
            split.append(sum(expected[i] for i in mine) / sum(impressions[i] for i in mine))
            own.append(sum(acquired[i] for i in mine) / sum(shown[i] for i in mine))
        row, lift = rows[name], [pair[1] / pair[0] - 1 for pair in (whole, split, own)]
        assert [row["global"], row["noise"], row["bias"]] == pytest.approx(
            [lift[0], lift[1] - lift[0], lift[2] - lift[1]]
        )
    assert rows["shared"]["data"] == rows["clustered"]["data"] == 1.0
    assert 0.3 < rows["diverted"]["data"] < 0.7
    assert rows["shared"]["noise"] == rows["diverted"]["noise"]


def test_a_stopped_study_plays_what_is_missing_only(done, monkeypatch):
    root, document = done
    (folder,) = (root / "interference" / "small").iterdir()
    assert not (folder / "start").exists()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    missing = folder / "shared.parquet"
    kept = missing.read_bytes()
    missing.unlink()
    again = command.interference("small", "tiny", SMALL, seeds=1, root=root, workers=1)
    assert again == document
    assert missing.read_bytes() == kept
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name, when in after.items() if before[name] != when} == {"shared.parquet"}
    monkeypatch.setattr(command, "work", None)
    assert command.interference("small", "tiny", SMALL, seeds=1, root=root, workers=1) == document


def asked(root, *more):
    arguments = ["interference", "--name", "small", "--preset", "tiny", "--seeds", "1", "--root", str(root)]
    for setting in SMALL:
        arguments += ["--set", setting]
    return CliRunner().invoke(app, [*arguments, "-q", *more])


def test_it_is_shown(done):
    root, document = done
    result = asked(root)
    assert result.exit_code == 0, result.output
    assert "co-diverted" in result.output
    assert "1 seeds, 2 days, 200 users, Deep against Wide" in " ".join(result.output.split())
    page = (root / "interference" / "small.html").read_text("utf-8")
    assert page.count("<figure ") == 1
    assert "<td>co-diverted</td>" in page
    drawn = show.figure(document)
    assert list(drawn.data[-1].y) == list(designs.DESIGNS)


def test_the_command_keeps_a_page_up_to_date(done, tmp_path):
    root, document = done
    page = tmp_path / "why.md"
    page.write_text("# Why\n")
    refused = asked(tmp_path, "--write", str(page))
    assert refused.exit_code == 2
    assert f"write: got {page} without the markers, allowed: " in refused.output
    assert not (tmp_path / "interference").exists()
    begin, end = markers("interference small")
    page.write_text(f"# Why\n{begin}\nstale\n{end}\nafter\n")
    assert asked(root, "--write", str(page)).exit_code == 0
    command_line = (
        "storelift interference --preset tiny --seeds 1 --name small --set users.population=10000 "
        f"--set world.apps=400 --set experiment.days=2 --write {page}"
    )
    made = show.markdown(document, command_line)
    assert page.read_text() == f"# Why\n{begin}\n\n{made}\n\n{end}\nafter\n"


@pytest.mark.parametrize(("name", "heads"), [("designs", "Deep | Wide"), ("joint", "Wide & Deep | Wide")])
def test_findings_has_the_tables_as_the_command_writes_them(name, heads):
    findings = Path(__file__).parents[2] / "docs" / "findings.md"
    before, after = read_page(findings, command.marker(name))
    lines = findings.read_text("utf-8")[len(before) : -len(after)].strip("\n").splitlines()
    said = f" {name} " if name != command.NAME else " "
    assert lines[0].startswith("    storelift interference ")
    assert lines[0].endswith("--write docs/findings.md")
    assert said in lines[0]
    assert lines[4] == f"| {heads.replace(' | ', ' against ')} | {' | '.join(show.HEADS[1:-2])} | {heads} |"
    assert [line.split(" | ")[0] for line in lines[6:]] == [f"| {design}" for design in designs.DESIGNS]


def test_the_workers_are_where_they_are_asked_to_be(tmp_path, monkeypatch):
    wrong = asked(tmp_path, "--executor", "bogus")
    assert wrong.exit_code == 2
    assert "run.executor: got 'bogus', allowed: 'local' or 'ray'" in wrong.output
    places = []

    def opened(place, tasks_at_once, folder):
        places.append((place.executor, place.address, place.workers, tasks_at_once))
        raise BadInput("no such cluster")

    monkeypatch.setattr(executor, "open_executor", opened)
    assert asked(tmp_path, "--executor", "ray", "--address", "host:6379", "--workers", "3").exit_code == 2
    assert places == [("ray", "host:6379", 3, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"designs": ["shard"]}, "design: got 'shard', allowed: shared, diverted, co-diverted, clustered"),
        ({"arms": "wide"}, "arms: got wide alone, allowed: two or more"),
        ({"arms": "wide,oracle"}, "arms: got oracle, which does not learn, allowed: rankers that learn"),
        ({"seeds": 0}, "seeds: got 0, allowed: 1 or more"),
        (
            {"settings": ["experiment.training=all", "experiment.stop_when=decided", "faults.empty_log=2"]},
            (
                "experiment.training: got all, allowed: own, as a design says who learns from whom\n"
                "experiment.stop_when: got decided, allowed: never in a study of designs\n"
                "faults: got some, allowed: none in a study of designs"
            ),
        ),
        (
            {"settings": ["experiment.warm_start=false", "retrieval.candidates=30"]},
            (
                "experiment.warm_start: got false, allowed: true in a study of designs\n"
                "retrieval.candidates: got 30, allowed: 40 or more where 2 arms share the apps and each "
                "shows 10"
            ),
        ),
        (
            {"settings": ["users.countries=1", "users.age_bands=3"]},
            ("users.countries, users.age_bands: got 3 clusters of users, allowed: 4 or more for 2 arms"),
        ),
    ],
)
def test_bad_input(tmp_path, arguments, message):
    with pytest.raises(BadInput) as caught:
        command.interference("x", "tiny", root=tmp_path, **arguments)
    assert str(caught.value) == message


# --- pure parts ---------------------------------------------------------------------------------------------


def test_whole_clusters_go_to_an_arm_and_arms_are_of_like_size():
    rng = np.random.default_rng(0)
    cluster = rng.choice(40, 5000, p=1 / np.arange(1, 41) / (1 / np.arange(1, 41)).sum())
    arm = designs.in_blocks(cluster, 2, 3)
    assert set(arm) == {0, 1}
    assert len(arm) == 40
    assert 0.3 < (arm[cluster] == 0).mean() < 0.7
    assert not np.array_equal(arm, designs.in_blocks(cluster, 2, 4))


def test_every_app_is_one_arms():
    apps = SimpleNamespace(store_installs=np.arange(101))
    corpus = designs.corpora(apps, 3, 0)
    assert np.bincount(corpus).max() - np.bincount(corpus).min() <= 1
    assert [sorted(corpus[98 - 3 * i : 101 - 3 * i]) for i in range(3)] == [[0, 1, 2]] * 3


def test_a_corpus_keeps_other_apps_out_of_reach():
    ranker = SimpleNamespace(score=lambda requests: np.zeros(requests.apps.shape, np.float32))
    scores = Corpus(ranker, np.array([True, False])).score(SimpleNamespace(apps=np.array([[0, 1, 1]])))
    assert scores.dtype == np.float32
    assert scores.tolist() == [[0.0, float(OUT_OF_REACH), float(OUT_OF_REACH)]]


def table(arm, acquisitions, unit=None, trained=100):
    n = len(arm)
    columns = {
        "user_id": np.arange(n),
        "arm": np.asarray(arm, np.int16),
        "unit": np.arange(n) if unit is None else np.asarray(unit),
        "impressions": np.full(n, 10),
        "acquisitions": np.asarray(acquisitions),
        "expected": np.asarray(acquisitions, float),
    }
    return pa.table(columns).replace_schema_metadata({"trained": json.dumps({"a": trained, "b": trained})})


def test_bias_and_noise_are_told_apart():
    found = {
        "only a": table([0] * 4, [1, 1, 2, 2]),
        "only b": table([1] * 4, [2, 2, 4, 4]),
        "shared": table([0, 0, 1, 1], [1, 1, 3, 3]),
    }
    (row,) = estimates.of_seed(found, ["a", "b"], "a", 0.05)
    assert (row["global"], row["same_users"], row["expected"]) == pytest.approx((1.0, 3.0, 2.0))
    assert (row["noise"], row["bias"], row["estimate"]) == pytest.approx((2.0, -1.0, 2.0))
    assert row["data"] == 1.0


def test_the_bias_of_shared_out_apps_is_a_mean_over_both_ways_to_share_them():
    found = {
        "only a": table([0] * 4, [2, 2, 2, 2]),
        "only b": table([1] * 4, [2, 2, 2, 2]),
        "co-diverted": table([0, 0, 1, 1], [1, 1, 3, 3]),
        "co-diverted, turned 1": table([0, 0, 1, 1], [2, 2, 2, 2]),
    }
    (row,) = estimates.of_seed(found, ["a", "b"], "a", 0.05)
    assert (row["estimate"], row["expected"], row["bias"]) == pytest.approx((2.0, 1.0, 1.0))


def test_apps_are_handed_round():
    config = load("tiny", SMALL, arms="wide,deep")
    world, users = world_of(config), np.zeros(3, np.int16)
    profiles = world.profiles(np.arange(3))
    names = designs.worlds(config, ("shared", "co-diverted"))
    assert names == ("only wide", "only deep", "shared", "co-diverted", "co-diverted, turned 1")
    corpora = [designs.layout(name, config, world, profiles, users).corpus for name in names[-2:]]
    np.testing.assert_array_equal(corpora[0], 1 - corpora[1])


def test_clusters_are_the_units_of_the_standard_error():
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(40), 50)
    taken = rng.binomial(10, np.repeat(rng.uniform(0.1, 0.5, 40), 50))
    arm = cluster % 2
    alone = {"only a": table(arm * 0, taken), "only b": table(arm * 0 + 1, taken)}
    by_user, by_cluster = (
        estimates.of_seed({**alone, "clustered": table(arm, taken, unit)}, ["a", "b"], "a", 0.05)[0]["se"]
        for unit in (None, cluster)
    )
    assert by_cluster > 3 * by_user


def test_seeds_are_counted():
    row = {"design": "shared", "arm": "b", "control": "a", "global": 0.1, "estimate": 0.3, "covered": True}
    rest = dict.fromkeys(set(estimates.OVER_SEEDS) - {"global"}, 0.0)
    (one,) = estimates.over_seeds([{**row, **rest}, {**row, **rest, "estimate": None, "covered": None}])
    assert one["error"] == pytest.approx(0.2)
    assert (one["covered"], one["right_sign"], one["seeds"]) == (1, 1, 2)


WIDEST = {
    "global": 0.0512, "gained": -0.2533, "control_gained": -0.2568, "se": 0.1857, "data": 1.0,
    "noise": -0.166, "bias": -0.0125, "expected": 0.0167, "estimate": 0.2252, "covered": True,
}  # fmt: skip
"""Figures with as many digits as a finished comparison of preset quick has."""


def compared(arms, seeds=12, **changed):
    found = [
        {**WIDEST, **changed, "design": design, "arm": arm, "control": "wide",
         "bias": WIDEST["bias"] + 0.001 * seed, "global": WIDEST["global"] + 0.01 * seed}
        for seed in range(seeds) for design in designs.DESIGNS for arm in arms
    ]  # fmt: skip
    return {
        "arms": ["wide", *arms], "control": "wide", "preset": "quick", "days": 7, "users": 20_000,
        "seeds": list(range(seeds)), "seeds_asked": seeds, "designs": estimates.over_seeds(found),
    }  # fmt: skip


@pytest.mark.parametrize("arms", [["deep"], ["deep", "wide_deep"], ["deep", "a_ranker_with_a_long_name"]])
@pytest.mark.parametrize("changed", [{}, {"gained": -0.999, "control_gained": 12.34, "estimate": 9.9}])
def test_80_columns_hold_every_figure(monkeypatch, arms, changed):
    monkeypatch.setenv("COLUMNS", "80")
    document = compared(arms, **changed)
    out = StringIO()
    Console(file=out, highlight=False).print(show.render(document))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    heads = [head for name in show.SHORT.values() for head in name.split()]
    assert all(head in "\n".join(lines[:4]) for head in heads)
    places = [show.HEADS.index(head) for head in show.SHORT]
    for one, row in zip(document["designs"], show.rows(document), strict=True):
        wanted = " ".join(row[place].replace(" of ", "/") for place in places)
        name = one["design"] if len(arms) == 1 else arm_name(one["arm"])
        if len(name) < 20:  # a longer one goes on below
            wanted = f"{name} {wanted}"
        assert any(" ".join(line.split()).endswith(wanted) for line in lines), wanted
    words = " ".join(out.getvalue().split())
    for one, row in zip(document["designs"], show.rows(document), strict=True):
        noise_and_data = [row[show.HEADS.index(head)] for head in ("noise", "data")]
        assert f"{show.named(document, one)} {', '.join(noise_and_data)}" in words


def test_the_global_effect_has_an_interval_over_seeds():
    document = compared(["deep"], seeds=3)
    said = "Global effect, 95% interval over seeds: +6.1% (+3.6 … +8.6%)."
    assert show.effects(document) == said  # .0612 -+ 4.3027 * .01 / 3 ** .5
    assert said in show.about(document)
    assert said in show.markdown(document, "x")
    assert show.effects(compared(["deep"], seeds=1)) == "Global effect, 95% interval over seeds: +5.1%."
    several = show.effects(compared(["deep", "fm"], seeds=3))
    assert several.endswith(": Deep +6.1% (+3.6 … +8.6%), FM +6.1% (+3.6 … +8.6%).")


def test_a_page_has_the_global_effect_with_its_interval(tmp_path):
    show.write_page(tmp_path / "page.html", compared(["deep"], seeds=3))
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "+6.1% (+3.6 … +8.6%)" in text
    assert "<th>noise</th>" in text
