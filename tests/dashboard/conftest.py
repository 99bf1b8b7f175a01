"""Run folders in every state, made by the run folder's own writers with users drawn at random."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from experiment.assignment import layer_of
from experiment.config import Config
from experiment.folder.atomic import read_sealed, write_sealed
from experiment.folder.journal import Journal
from experiment.folder.paths import RunPaths, part
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.quality import Quality
from experiment.reporting import report
from experiment.reporting.outcomes import Outcomes, users_table
from experiment.slices.document import FORMAT
from models.gate import Verdict
from simulator.log import write_log, write_truth
from simulator.schema import Log, Requests, Truth

HOSTILE = "<img src=x onerror=alert(1)>"
LIFTS = {"wide": 1.0, "deep": 1.35, "wide_deep": 1.6}
SHOWN = 4


def user_days(config: Config, day: int, rng: np.random.Generator) -> pa.Table:
    """One day's users of every group; from day 1 on the arms differ."""
    columns: dict[str, list[Any]] = {name: [] for name in ("user_id", "group", "acquisitions")}
    for number, group in enumerate([*config.arms, "production"]):
        users = np.flatnonzero(rng.random(300) < 0.5) + 1000 * number
        rate = 0.08 * (LIFTS.get(group, 1.0) if day > 0 else 1.0)
        columns["user_id"] += users.tolist()
        columns["group"] += [group] * len(users)
        columns["acquisitions"] += rng.binomial(10, rate, len(users)).tolist()
    count = len(columns["user_id"])
    return pa.table(
        {
            "user_id": pa.array(columns["user_id"], pa.int64()),
            "country": pa.array(np.arange(count) % 3, pa.int8()),
            "impressions": pa.array(np.full(count, 10), pa.int32()),
            "acquisitions": pa.array(columns["acquisitions"], pa.int32()),
            "expected": pa.array(np.array(columns["acquisitions"]) * 0.9 + 0.05, pa.float64()),
            "new_impressions": pa.array(np.arange(count) % 2, pa.int32()),
            "group": pa.array(columns["group"], pa.string()),
            "day": pa.array(np.full(count, day), pa.int32()),
        }
    )


def quality(rng: np.random.Generator) -> Quality:
    auc = 0.7 + 0.05 * rng.random()
    return Quality(1000, auc, (auc - 0.01, auc + 0.01), auc, 0.65, 0.6, 0.3, 1.1, 50, 5.5)


def write_requests(paths: RunPaths, arm: str, day: int, rng: np.random.Generator) -> None:
    """An arm's log of a day, a few dozen requests, and the truth beside it."""
    count = 60
    ids = np.arange(count, dtype=np.uint64) + np.uint64(10_000 * (day + 50)) + np.uint64(len(arm))
    small = {
        name: (np.arange(count) % 3).astype(np.int8) for name in ("hour", "device", "country", "language")
    }
    requests = Requests(
        request_id=ids,
        user_id=np.arange(count, dtype=np.int64),
        sim_day=np.full(count, day, np.int32),
        age_band=np.zeros(count, np.int8),
        gender=np.zeros(count, np.int8),
        installed=np.tile(np.array([3, 4, -1], np.int32), (count, 1)),
        apps=rng.integers(0, 30, (count, SHOWN)).astype(np.int32),
        **small,
    )
    scores = rng.normal(-1.0, 1.0, (count, SHOWN)).astype(np.float32)
    chances = 1 / (1 + np.exp(-scores.astype(np.float64)))
    log = Log(
        requests=requests,
        positions=np.tile(np.arange(SHOWN, dtype=np.int8), (count, 1)),
        sources=np.zeros((count, SHOWN), np.int8),
        scores=scores,
        labels=(rng.random((count, SHOWN)) < chances).astype(np.int8),
        propensities=np.full((count, SHOWN), np.nan, np.float32),
        model_version=np.array([f"{arm}/{day}"] * count),
    )
    exceptions = rng.choice([0.0, 2.0, -1.0], (count, SHOWN)).astype(np.float32)
    write_log(paths.log(arm, day) / part(0), log)
    write_truth(paths.truth(arm, day) / part(0), Truth(ids, chances, exceptions))


class Maker:
    """Makes run folders below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self,
        name: str = "one",
        *,
        days: int = 3,
        finished: int | None = None,
        seed: int = 0,
        refused: bool = False,
        broken_ratio: bool = False,
        requests: bool = True,
        **settings: Any,
    ) -> Path:
        """A run of `days`, of which `finished` are (by default all, with a report)."""
        config = load("tiny", {"experiment.days": days, **settings}, seed=seed)
        path = self.root / name
        folder = RunFolder.create(path, config)
        paths, rng = RunPaths(path), np.random.default_rng(seed)
        last = days if finished is None else finished
        tables: dict[int, pa.Table] = {}
        gate: list[report.GateEntry] = []
        served: dict[str, dict[int, Quality]] = {arm: {} for arm in config.arms}
        for day in range(1 - config.experiment.pre_days, last + 1):
            tables[day] = user_days(config, day, rng)
            if broken_ratio:
                keep = np.array(tables[day]["group"].to_pylist()) != "deep"
                keep |= rng.random(len(keep)) < 0.5
                tables[day] = tables[day].filter(pa.array(keep))
            folder.write_table(paths.user_days(day), tables[day])
            entry: dict[str, Any] = {"groups": [*config.arms, "production"], "trained": [], "verdicts": {}}
            entry["quality"] = {}
            if day > 0:
                for arm in config.arms:
                    no = refused and arm == "deep" and day == last
                    verdict = Verdict(
                        not no, ("holdout: AUC fell",) if no else (), 500, 0.71, 0.7, 1.0, 0.3, 1.0
                    )
                    gate.append(report.GateEntry(day, arm, verdict))
                    served[arm][day] = quality(rng)
                    entry["verdicts"][arm] = _plain(verdict)
                    entry["quality"][arm] = _plain(served[arm][day])
            if requests:
                for arm in ["production"] if day <= 0 else [*config.arms, "production"]:
                    write_requests(paths, arm, day, rng)
                folder.register([path / "log", path / "truth"])
            folder.write_json(paths.day_entry(day), entry)
            folder.finish_day(day)
        if finished is None:
            self._finish(folder, config, tables, gate, served)
        return path

    def _finish(self, folder: RunFolder, config: Config, tables: Any, gate: Any, served: Any) -> None:
        whole = pa.concat_tables(list(tables.values()))
        group = np.array(whole["group"].to_pylist())
        columns = {name: whole[name].to_numpy() for name in whole.column_names if name != "group"}
        results = []
        for arm in config.arms:
            own = {name: values[group == arm] for name, values in columns.items()}
            window = {name: values[own["day"] > 0] for name, values in own.items()}
            pre = {name: values[own["day"] <= 0] for name, values in own.items()}
            offline = quality(np.random.default_rng(len(arm)))
            size = layer_of(config).size(arm)
            results.append(report.ArmResult(arm, size, window, pre, offline, served[arm]))
        outcomes = {one.name: Outcomes.of(one.window, one.pre) for one in results}
        folder.write_table(folder.path / "metrics" / "users.parquet", users_table(outcomes))
        built = report.build(
            config, results, list(config.days()), gate, {"started_wall_s": 1.0, "seconds": 2.0}
        )
        journal = Journal(folder.path, config)
        journal.event("started", sim_day=None, arms=list(config.arms))
        journal.event("served", arm="wide", group="wide", sim_day=1, impressions=1000, acquisitions=80)
        journal.event("done", finished_day=config.experiment.days)
        journal.update("done", phase="done", share=1.0, finished_day=config.experiment.days, impressions=9000)
        folder.finish(built.document, built.markdown())

    def put(self, path: Path, name: str, document: Any) -> None:
        """A document of the run at `path`, listed in its manifest; an explanation has its own checksum."""
        if name.startswith("explanations/"):
            write_sealed(path / name, document)
            return
        folder = RunFolder.open(path)
        folder.write_json(path / name, document)
        folder.finish_day(folder.manifest.finished_day or 0)

    def told(self, path: Path, state: str, **fields: Any) -> Path:
        """The run at `path` with a status of that state."""
        journal = Journal(path, RunFolder.open(path).config)
        journal.event("started", sim_day=None, arms=["wide"])
        journal.event("learned", arms=["deep"], sim_day=1, accepted=False, reasons=["holdout: AUC fell"])
        journal.update(state, phase="serving", share=0.4, impressions=4321, sim_day=1, **fields)
        return path


def _plain(value: Any) -> Any:
    import dataclasses

    return json.loads(json.dumps(dataclasses.asdict(value)))


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder of runs in every state, for tests that only read."""
    maker = Maker(tmp_path_factory.mktemp("runs"))
    found = {
        "done": maker.run("done", refused=True),
        "seed1": maker.run("seed1", seed=1, requests=False),
        "hostile": maker.run(HOSTILE, requests=False),
        "unbalanced": maker.run("unbalanced", broken_ratio=True, requests=False),
        "aa": maker.run("aa-like", requests=False, **{"experiment.control": "deep"}),
        "failed": maker.told(maker.run("failed", finished=2), "failed", message="ValueError: <b>no</b>"),
        "early": maker.told(maker.run("early", finished=-1), "failed", message="MemoryError"),
        "interrupted": maker.told(maker.run("interrupted", finished=1), "interrupted", message="stopped"),
        "gone": maker.told(maker.run("gone", finished=1, requests=False), "running"),
    }
    found["bare"] = maker.run("bare", finished=-2, requests=False)
    (found["bare"] / "status.json").unlink(missing_ok=True)
    found["torn"] = maker.run("torn", requests=False)
    manifest = found["torn"] / "manifest.json"
    manifest.write_text(manifest.read_text()[:-40])
    found["changed"] = maker.run("changed", requests=False)
    (found["changed"] / "metrics" / "user_days" / "day=2.parquet").write_bytes(b"")
    found["older"] = maker.run("older", requests=False)
    older = read_sealed(found["older"] / "manifest.json")
    write_sealed(found["older"] / "manifest.json", {**older, "format": 0})
    return SimpleNamespace(root=maker.root, **found)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Opens the app on a folder of runs, at a run and a page."""
    from streamlit.testing.v1 import AppTest

    app = Path(__file__).parents[2] / "dashboard" / "app.py"

    def opened(root: Path, run: str | None = None, page: str | None = None) -> Any:
        monkeypatch.setattr(sys, "argv", ["app.py", str(root)])
        at = AppTest.from_file(str(app), default_timeout=120)
        at.run()
        if run is not None:
            at.selectbox(key="run").set_value(run).run()
        if page is not None:
            at.switch_page(f"views/{page}.py").run()
        return at

    return opened


def texts(at: Any) -> str:
    """Everything that a page says."""
    parts = [element.proto.body for element in at.get("html")]
    for kind in ("markdown", "caption", "title", "subheader", "error", "warning"):
        parts += [element.value for element in at.get(kind)]
    return "\n".join(parts)


@pytest.fixture
def says() -> Callable[[Any], str]:
    return texts


@pytest.fixture
def sliced() -> dict[str, Any]:
    """A small `metrics/slices.json`: one cut of two parts, two arms, one day."""
    parts = ["no exception, now or then", "in favour, gone 1-3 days"]

    def row(part: str, over: float, lift: float | None, shown: int = 500) -> dict[str, Any]:
        values = {"share": 0.5, "rate": 0.1, "chance": 0.09, "predicted": 0.09 + over, "calibration": 1.0}
        values |= {"auc": 0.8, "over": over}
        ends = {f"{name}_ci": [values[name] - 0.005, values[name] + 0.005] for name in values}
        ends["lift_ci"] = None if lift is None else [lift - 0.05, lift + 0.05]
        ends["expected_lift_ci"] = None if lift is None else [lift - 0.03, lift + 0.01]
        return {
            "part": part,
            "impressions": shown,
            "acquisitions": 50,
            **values,
            "expected_auc": 0.8,
            "lift": lift,
            "expected_lift": lift and lift - 0.01,
            **ends,
        }

    def arm(lift: float | None, shown: int, new: float) -> dict[str, Any]:
        day = {"day": 1, "distinct_apps": 9.0, "entropy": 3.0, "new_release_share": 0.1, "new_apps": 2.0}
        day |= {"new_pairs": 7.0, "new_pair_share": new, "known_rules": None, "found_rules": None}
        return {
            "over_generalisation": {"value": 0.005, "ci": [0.004, 0.006], "chance": 0.1, "impressions": 500},
            "over_memorisation": None,
            "cuts": {"stale": [row(parts[0], 0.01, lift), row(parts[1], 0.04, None, shown)]},
            "days": [day],
        }

    return {
        "format": FORMAT,
        "control": "wide",
        "alpha": 0.05,
        "days": [1],
        "pairs": "ok",
        "cuts": {"stale": {"meaning": "Exceptions that have gone", "parts": parts}},
        "arms": {"wide": arm(None, 500, 0.2), "deep": arm(0.1, 0, 0.3)},
    }
