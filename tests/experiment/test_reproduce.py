"""The paper's claims: counted, written down, and put into a page."""

import json

import pytest
from typer.testing import CliRunner

from experiment.bench.record import SERVING
from experiment.cli import app
from experiment.errors import BadInput
from experiment.study import claims_text, reproduce
from experiment.study import plan as study_plan
from experiment.study.page import markers, read_page, write_page
from experiment.study.summary import document as study_document

BEGIN, END = markers(reproduce.NAME)
PAGE = f"# Paper\n\n{BEGIN}\nstale table\n{END}\n\nafter\n"
ROW = {"name": "storelift fp32", "batch": 200, "threads": 1, "paper_ms": 31.0, "limit": None}
BENCH = {
    "candidates": 200,
    "machine": {"cores": 2},
    "rows": [{**ROW, "p50_ms": 1.5, "p95_ms": 2.0, "p99_ms": 2.5}],
}


def cell(seed, deep, wide_deep, p=0.01):
    lifts = {"wide": 0.0, "deep": deep, "wide_deep": wide_deep}
    aucs = {"wide": 0.726, "deep": 0.722, "wide_deep": 0.728}
    arms = {
        arm: {
            "expected_auc": aucs[arm] + seed / 1e6, "offline_auc": aucs[arm], "expected_lift": lift,
            "observed_lift": lift, "p_holm_cuped": p, "p_holm": p, "distinct_apps": 100.0 + 1000 * lift,
            "new_pair_share": 0.5 + lift, "warm_start_ratio": 3.0 if arm == "wide_deep" else None,
        }
        for arm, lift in lifts.items()
    }  # fmt: skip
    return {"seed": seed, "control": "wide", "arms": arms, "program": "p", "clock": {"cpu_seconds": 60.0}}


def made(lifts, table2=None):
    """The document of claims over seeds with the given lifts of deep and Wide & Deep."""
    study = study_plan.changed(study_plan.find("paper")[1], "paper", seeds=len(lifts), first_seed=0)
    point = study.points()[0].name
    cells = {(point, seed): cell(seed, *both) for seed, both in enumerate(lifts)}
    return reproduce.summary([study_document("paper", study, cells)], table2)


def test_the_paper_itself_would_be_reproduced():
    document = made([(0.029 + seed / 1e4, 0.039 + seed / 5e3) for seed in range(20)])
    assert document["orders_met"] is True
    held = {claim["name"]: (claim["holds"], claim["met"]) for claim in document["claims"]}
    assert set(held.values()) == {(20, True)}
    assert document["table1"]["deep"]["paper"] == {"offline_auc": 0.722, "lift": 0.029}
    assert claims_text.verdict(document).startswith("5 of 5 orders of Table 1 are reproduced")


def test_an_order_that_fails_is_said_to():
    document = made([(0.029 + seed / 1e4, 0.02 + seed / 1e4) for seed in range(20)])
    assert document["orders_met"] is False
    failed = [claim["name"] for claim in document["claims"] if not claim["met"]]
    assert failed == ["Online lift: Wide & Deep above Deep"]
    text = claims_text.markdown(document)
    assert "| **Online lift: Deep above Wide** | +2.9% | +3.0" in text
    assert (
        "| Online lift: Wide & Deep above Deep | +3.9% > +2.9% | −0.90% (−0.90% … −0.90%) | 0 of 20 |" in text
    )


def test_one_seed_decides_nothing():
    document = made([(0.03, 0.04)])
    assert document["orders_met"] is None
    assert claims_text.verdict(document) == "Too few seeds to say whether the orders of Table 1 hold."


def test_the_table_goes_between_the_markers(tmp_path):
    page = tmp_path / "paper.md"
    page.write_text(PAGE)
    document = made([(0.03, 0.04), (0.02, 0.05)], BENCH)
    for _ in range(2):
        write_page(page, reproduce.NAME, claims_text.markdown(document))
    text = page.read_text()
    assert text.startswith("# Paper\n")
    assert text.endswith("after\n")
    assert "stale table" not in text
    assert text.count(BEGIN) == text.count(END) == 1
    assert "storelift reproduce --preset standard --seeds 2 --first-seed 0 --write docs/paper.md" in text
    assert "| storelift fp32 | 200 x 1 | 31 | 1.50 | 2.00 | 2.50 |" in text
    assert "| Deep | 0.722 |" in text
    page.write_text("# no markers\n")
    with pytest.raises(BadInput, match="without the markers"):
        read_page(page, reproduce.NAME)
    with pytest.raises(BadInput, match="allowed: a readable page"):
        read_page(tmp_path / "gone.md", reproduce.NAME)


def test_the_page_in_docs_has_the_markers():
    from pathlib import Path

    read_page(Path(__file__).parents[2] / "docs" / "paper.md", reproduce.NAME)


def test_table_2_is_found_in_the_newest_run(tmp_path):
    assert reproduce.read_serving(tmp_path, None) is None
    file = tmp_path / "run" / SERVING
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(BENCH))
    found = reproduce.read_serving(tmp_path, None)
    assert found is not None
    assert found["rows"][0]["p50_ms"] == 1.5
    assert "limit" not in found["rows"][0]
    file.write_text("{}")
    assert reproduce.read_serving(tmp_path, None) is None
    with pytest.raises(BadInput, match="allowed: what `bench serving --json` wrote"):
        reproduce.read_serving(tmp_path, file)


def test_what_the_second_study_refuses_is_said_before_the_first(tmp_path):
    with pytest.raises(BadInput, match="got an arm that takes no part"):
        reproduce.reproduce(
            tmp_path, preset="tiny", seeds=1, overrides={"arms.deep.settings.deep.embedding_dim": 8}
        )
    assert not (tmp_path / "studies").exists()


def test_the_command_runs_both_studies_and_goes_on(tmp_path):
    page = tmp_path / "paper.md"
    page.write_text(PAGE)
    arguments = ["--preset", "tiny", "--seeds", "1", "--first-seed", "0", "--workers", "1", "-q"]
    command = ["reproduce", *arguments, "--root", str(tmp_path), "--set", "experiment.days=2"]
    result = CliRunner().invoke(app, [*command, "--json", "--write", str(page)])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "studies" / "reproduce.json").read_bytes())
    assert {claim["study"] for claim in document["claims"]} == {"paper", "reproduce-joint"}
    assert all(claim["n"] == 1 for claim in document["claims"])
    warm = next(claim for claim in document["claims"] if claim["measure"] == "warm_start_ratio")
    assert warm["values"][0] > 0
    assert "--set experiment.days=2" in page.read_text()
    again = CliRunner().invoke(app, command, env={"COLUMNS": "120"})
    assert again.exit_code == 0
    assert "Online lift: Deep above Wide" in again.stdout


def test_a_page_without_markers_is_refused_before_anything_runs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    result = CliRunner().invoke(app, ["reproduce", "--root", str(tmp_path), "--write", str(page)])
    assert result.exit_code == 2
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("page", ["paper.md", "why.md"])
def test_what_the_pages_name_is_there(page):
    import re
    from pathlib import Path

    root = Path(__file__).parents[2]
    text = (root / "docs" / page).read_text("utf-8")
    for name, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        source = (root / name).read_text("utf-8")
        assert f"def {test}(" in source, f"{name}::{test}"
    for name in re.findall(r"`((?:simulator|models|experiment|docs|benchmarks)/[\w/]+\.(?:py|md))`", text):
        assert (root / name).is_file(), name
    known = study_plan.shipped()
    for name in re.findall(r"`storelift study ([\w-]+)", text):
        assert name in known, name
