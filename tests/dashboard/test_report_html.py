import re

import pytest
from typer.testing import CliRunner

from dashboard import report_html
from experiment.cli import app
from experiment.errors import BadInput
from experiment.folder.rundir import RunFolder
from experiment.window import write_html


@pytest.mark.parametrize("name", ["done", "hostile", "failed", "changed", "older", "unbalanced"])
def test_one_file_that_asks_nobody(shared, tmp_path, name):
    page = report_html.write(getattr(shared, name), tmp_path / "report.html").read_text()
    own = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", own)
    assert "default-src 'none'" in own
    assert "Scorecard" in own
    assert "<img" not in own
    assert "<b>no</b>" not in own


def test_the_same_figures(shared, tmp_path):
    page = report_html.write(shared.done, tmp_path / "report.html").read_text()
    for heading in ("Lift over the days", "AUC as served", "Exposure", "Beside the paper", "Every number"):
        assert f"<h3>{heading}</h3>" in page
    assert page.count("<figure ") == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("early", "whose first day is not finished"),
        ("root", "a run folder"),
        ("torn", "manifest.json: got no JSON"),
    ],
)
def test_without_results_it_says_so(shared, tmp_path, name, message, capsys):
    with pytest.raises(BadInput, match=message):
        report_html.write(getattr(shared, name), tmp_path / "report.html")
    assert report_html.main([str(getattr(shared, name)), str(tmp_path / "x.html")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_lines_way(shared, tmp_path):
    assert write_html(shared.done, tmp_path / "r.html").stat().st_size > 1_000_000
    with pytest.raises(BadInput, match="run: got "):
        write_html(tmp_path, tmp_path / "none.html")


def test_storelift_report_html(maker, tmp_path):
    path = maker.run(finished=2, requests=False)
    cli = CliRunner()
    done = cli.invoke(app, ["report", str(path), "--html"])
    assert (done.exit_code, done.output) == (0, f"Wrote {path / 'report.html'}\n")
    assert "<h3>Scorecard</h3>" in (path / "report.html").read_text()
    assert RunFolder.open(path).verify() == []
    done = cli.invoke(app, ["report", str(path), "--html", "--out", str(tmp_path / "none" / "x" / "r.html")])
    assert (done.exit_code, (tmp_path / "none" / "x" / "r.html").is_file()) == (0, True)
    done = cli.invoke(app, ["report", str(path), "--out", "r.html"])
    assert (done.exit_code, done.stderr) == (
        2,
        "storelift: out: got r.html without --html, allowed: with --html\n",
    )


def test_it_must_be_writable(shared, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="out: got "):
        report_html.write(shared.done, tmp_path / "file" / "report.html")


def test_usage(capsys):
    assert report_html.main([]) == 2
    assert "usage" in capsys.readouterr().err
