import io
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from dashboard import story
from experiment import plan, program
from experiment.config import Config
from experiment.display import Bars, Lines, choose
from experiment.folder.journal import Journal, read_events, read_status
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.progress import Progress
from experiment.stats.forecast import Forecast
from experiment.words import big, duration, interval, number, p_value, percent

FORECAST = Forecast(300, 3, 0.1, 12.5, 2.31, 0.359, 0.326)


@dataclass
class Told:
    """A display that counts."""

    seen: list[tuple[str, int]] = field(default_factory=list)

    def show(self, progress: Progress) -> None:
        self.seen.append((progress.phase, progress.sim_day))

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        return None


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", load("tiny"))


def serve(progress: Progress, config: Config, day: int) -> None:
    for shard in plan.shards(config):
        users = SimpleNamespace(impressions=np.full(10, 10), acquisitions=np.full(10, 1))
        arm = plan.serving_arm(shard.group, day)
        progress.served(SimpleNamespace(shard=shard, day=day, arm=arm, users=users, seconds=0.1))


def learn(progress: Progress, config: Config, day: int) -> None:
    for learner in plan.learners(config, day):
        verdict = SimpleNamespace(accepted=day != 1, reasons=("bad",) if day == 1 else ())
        progress.learned(
            SimpleNamespace(
                learner=learner, day=day, verdict=verdict, impressions=5, seconds=0.1, warnings=()
            )
        )


def whole(progress: Progress, config: Config) -> None:
    for day in plan.all_days(config):
        serve(progress, config, day)
        learn(progress, config, day)
    progress.analysing()


def test_shares_go_from_nothing_to_all(folder: RunFolder) -> None:
    told, config = Told(), folder.config
    progress = Progress(folder, Journal(folder.path, config), told)
    units = [len(plan.shards(config)) + len(plan.learners(config, day)) for day in plan.all_days(config)]
    assert (progress.share, progress.seconds_left, progress.pre_share) == (0.0, None, 0.0)
    for done, day in enumerate(plan.all_days(config), start=1):
        serve(progress, config, day)
        assert progress.share < sum(units[:done]) / sum(units)
        learn(progress, config, day)
        assert progress.share == pytest.approx(sum(units[:done]) / sum(units))
        assert progress.pre_share == pytest.approx(min(done, 3) / 3)
        assert progress.group_share("wide") == pytest.approx(max(done - 3, 0) / 3)
        assert (progress.seconds_left is None) == (done < 2 and sum(units[:done]) < sum(units) / len(units))
    assert (progress.share, progress.seconds_left) == (1.0, 0.0)
    progress.analysing()
    assert told.seen[0] == ("starting", -2)
    assert told.seen[-1] == ("analysing", 3)
    shards = len(plan.shards(config))
    assert progress.impressions == {"production": 100 * (3 * shards + 3), **dict.fromkeys(config.arms, 300)}


def test_status_and_events_are_kept(folder: RunFolder) -> None:
    config = folder.config
    with folder.locked():
        whole(Progress(folder, Journal(folder.path, config)), config)
        status = read_status(folder.path)
    assert (status["state"], status["phase"], status["share"]) == ("running", "analysing", 1.0)
    assert status["impressions"] == 2400
    assert status["arms"]["wide"] == {"impressions": 300, "acquisitions": 30}
    events = list(read_events(folder.path))
    assert (events[0]["event"], events[0]["arms"]) == ("started", ["wide", "deep", "wide_deep"])
    refused = [e for e in events if e["event"] == "learned" and e["accepted"] is False]
    assert {(e["sim_day"], *e["reasons"]) for e in refused} == {(1, "bad")}


def test_a_resumed_run_begins_where_it_stopped(folder: RunFolder) -> None:
    config = folder.config
    first = Progress(folder, Journal(folder.path, config))
    for day in (-2, -1, 0, 1):
        serve(first, config, day)
        learn(first, config, day)
    first.analysing()
    folder.manifest.finished_day = 1
    later = Progress(folder, Journal(folder.path, config))
    later.goes_on({"production": (70, 7), "wide": (30, 3)})
    assert (later.pre_share, later.share) == (1.0, first.share)
    assert later.group_share("deep") == pytest.approx(1 / 3)
    serve(later, config, 2)
    later.analysing()
    status = read_status(folder.path)
    assert status["impressions"] == 100 + 100 * len(plan.shards(config))
    assert status["arms"]["wide"] == {"impressions": 130, "acquisitions": 13}
    assert status["arms"]["production"]["acquisitions"] >= 7
    assert [e["sim_day"] for e in read_events(folder.path) if e["event"] == "resumed"] == [1]


def test_days_of_other_code_are_told(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def session(code: str) -> tuple[list[str], str]:
        monkeypatch.setattr(program, "fingerprint", lambda _: code)
        out = io.StringIO()
        for display in (Lines(Console(file=out)), Bars(Console(file=out, force_terminal=True))):
            with display:
                Progress(folder, Journal(folder.path, folder.config), display).analysing()
        told = [story.told(e) for e in read_events(folder.path) if e["event"] in story.SESSIONS]
        return told[-2:], out.getvalue()

    assert session("a")[0] == ["Started", "Started"]
    told, shown = session("b")  # no day of the first is left
    assert (told, "other code" in shown) == (["Started", "Started"], False)
    folder.manifest.finished_day = 1
    told, shown = session("b")
    assert (told, "other code" in shown) == (["Resumed", "Resumed"], False)
    for code in ("c", "c"):
        told, shown = session(code)
        assert told == ["Resumed, by other code than before"] * 2
        assert shown.count("Note: other code than this has made some of the run's days") == 2
    assert read_status(folder.path)["programs"] == ["b", "c"]


def test_elsewhere_than_on_a_terminal_a_day_is_a_line(folder: RunFolder) -> None:
    out = io.StringIO()
    lines = choose(Console(file=out, width=200), lines=True)
    assert isinstance(lines, Lines)
    with lines:
        progress = Progress(folder, Journal(folder.path, folder.config), lines)
        for day in plan.all_days(folder.config):
            serve(progress, folder.config, day)
            learn(progress, folder.config, day)
            if day == 0:
                progress.foreseen(FORECAST)
    text = out.getvalue().splitlines()
    assert [line.split(" · ")[0] for line in text] == [
        "pre-period, day 1 of 3", "pre-period, day 2 of 3", "pre-period, day 3 of 3",
        ("Power: 3 days of 300 users per arm find a lift of ±35.9% with 80% power (±32.6% with CUPED); "
        "design effect 2.3"),
        "day 1 of 3", "day 2 of 3", "day 3 of 3",
    ]  # fmt: skip
    told = [event for event in read_events(folder.path) if event["event"] == "foreseen"]
    assert [(event["users"], event["design_effect"]) for event in told] == [(300, 2.31)]
    assert all("\x1b" not in line for line in text)
    assert choose(Console(file=out), lines=False) is None


@pytest.mark.parametrize("width", [60, 80, 140])
def test_on_a_terminal_there_are_bars_that_fit(folder: RunFolder, width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    bars = choose(console, lines=True)
    assert isinstance(bars, Bars)
    progress = Progress(folder, Journal(folder.path, folder.config))
    for day in (-2, -1, 0, 1):
        serve(progress, folder.config, day)
    plain = Console(file=io.StringIO(), width=width, color_system=None)
    plain.print(bars.render(progress))
    text = plain.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    for words in (
        "day 1 of 3 · serving",
        "Pre-period",
        "Wide & Deep",
        "10.00% acquired",
        "1.6k impressions",
        "left",
    ):
        assert words in text


def test_numbers_as_people_read_them() -> None:
    assert [percent(x) for x in (0.0394, -0.0123, 0.0, -0.0001, None)] == [
        "+3.9%",
        "−1.2%",
        "0.0%",
        "0.0%",
        "–",
    ]
    assert interval((-0.01, 0.0394)) == "−1.0 … +3.9%"
    assert interval(None) == "–"
    assert [p_value(p) for p in (None, 0.00001, 0.0034, 0.0499, 1.0)] == [
        "–",
        "<.0001",
        ".0034",
        ".050",
        "1.000",
    ]
    assert [number(x) for x in (0.7264, None)] == ["0.726", "–"]
    assert [big(x) for x in (0, 950, 9999, 41_234, 1_234_567, 2e9)] == [
        "0",
        "950",
        "10.0k",
        "41k",
        "1.23M",
        "2.00G",
    ]
    assert [duration(x) for x in (0.4, 67, 3723)] == ["0:00", "1:07", "1:02:03"]
