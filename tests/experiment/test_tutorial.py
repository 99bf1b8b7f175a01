"""The tutorial does what it says: its blocks are run in their order, in an empty folder."""

import json
import re
import shlex
import sys
from pathlib import Path

from typer.testing import CliRunner

from experiment.cli import app

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    said, names = "", {}
    for language, block in re.findall(r"```(\w+)\n(.*?)```", TUTORIAL.read_text("utf-8"), re.DOTALL):
        file = re.match(r"# (\w+\.(?:py|toml))\n", block)
        if file:
            Path(file[1]).write_text(block)
        elif language == "python":
            exec(block, names)
        else:
            for line in block.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "storelift"
                if arguments[0] == "run":
                    arguments += ["--workers", "1", "--quiet", "--set", "experiment.days=1"]
                    arguments += ["--set", "world.apps=400"]
                if arguments[0] == "study":
                    arguments += ["--quiet", "--seeds", "1", "--set", "experiment.days=1"]
                    arguments += ["--set", "world.apps=400"]
                result = CliRunner().invoke(app, arguments)
                assert result.exit_code == 0, f"{line}\n{result.output}"
                said += result.output
    del sys.modules["my_ranker"]
    assert "All 18 checks hold." in said
    assert "taste vs Wide" in said
    study = json.loads(Path("runs/studies/taste.json").read_bytes())
    assert [list(point["arms"]) for point in study["points"]] == [["wide", "taste"]] * 2
    assert study["failed"] == []
    assert names["report"]["arms"]["taste"]["impressions"] > 0
