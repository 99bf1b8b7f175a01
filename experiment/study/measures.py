"""What is measured in a cell of a study: one number per arm and measure, out of a finished run folder.

Lifts are over the run's control, so the control's are 0. The expected and the true lift are of the *same*
users under every arm (`truth.json`); the observed ones are what the experiment's report says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiment.folder.rundir import RunFolder

Figures = dict[str, dict[str, float | None]]
"""Arm to measure to figure; None is undefined."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How a figure is named and written.

    Attributes:
        words: its name. form: `auc` (four digits), `lift` (signed percentage), `share`, `count`, `number`.
    """

    words: str
    form: str


MEASURES = {
    "expected_auc": Measure("expected AUC", "auc"),
    "offline_auc": Measure("offline AUC", "auc"),
    "gauc": Measure("per-request AUC", "auc"),
    "gauc_examined": Measure("per-request AUC, examined", "auc"),
    "log_loss": Measure("log loss", "auc"),
    "calibration": Measure("calibration", "number"),
    "expected_lift": Measure("expected lift", "lift"),
    "true_lift": Measure("true lift", "lift"),
    "observed_lift": Measure("observed lift", "lift"),
    "cuped_lift": Measure("observed lift, CUPED", "lift"),
    "p_holm": Measure("p (Holm)", "number"),
    "p_holm_cuped": Measure("p (Holm), CUPED", "number"),
    "detectable_lift": Measure("lift found with 80% power, CUPED", "lift"),
    "first_day_lift": Measure("expected lift, first day", "lift"),
    "last_day_lift": Measure("expected lift, last day", "lift"),
    "expected_rate": Measure("expected rate", "share"),
    "acquisition_rate": Measure("observed rate", "share"),
    "distinct_apps": Measure("distinct apps shown", "count"),
    "new_pairs": Measure("new (installed, shown) pairs", "count"),
    "new_pair_share": Measure("share of pairs shown that are new", "share"),
    "new_release_share": Measure("share of new releases", "share"),
    "wide_weights": Measure("wide weights that are not 0", "count"),
    "warm_start_days": Measure("days that a cold start needs", "number"),
    "warm_start_ratio": Measure("time of a cold start over a warm one", "number"),
    "offpolicy_expected": Measure("expected lift of the first models on the holdout", "lift"),
    "offpolicy_direct": Measure("lift by the direct method", "lift"),
    "offpolicy_ips": Measure("lift by IPS", "lift"),
    "offpolicy_snips": Measure("lift by SNIPS", "lift"),
    "offpolicy_dr": Measure("lift by DR", "lift"),
    "offpolicy_position_ips": Measure("lift by IPS by positions", "lift"),
    "offpolicy_position_snips": Measure("lift by SNIPS by positions", "lift"),
    "offpolicy_position_dr": Measure("lift by DR by positions", "lift"),
}
"""By name, in the order of tables."""

OFFPOLICY = "offpolicy_"
"""Begins the names of what the extra `offpolicy` measures."""


def measure(folder: RunFolder, extras: tuple[str, ...] = ()) -> Figures:
    """All figures of a finished run whose truth is known and whose log and models are still there.

    Args:
        folder: of the run. extras: measurements that cost time, see `study_plan.EXTRAS`.
    """
    from experiment.study import exploration as study_exploration
    from experiment.truth.command import find_truth

    report, truth = folder.report(), find_truth(folder.path)
    shown = study_exploration.explored(folder)
    cold = {}
    if "warm_start" in extras:
        from experiment.study.warm import warm_start

        cold = warm_start(folder)
    guessed = _offpolicy(folder) if "offpolicy" in extras else {}
    figures: Figures = {}
    for arm in folder.config.arms:
        figures[arm] = {
            **_offline(report["arms"][arm]),
            **_online(report, truth, arm),
            **shown[arm],
            "wide_weights": _wide_weights(folder, arm),
            **cold.get(arm, {}),
            **guessed.get(arm, {}),
        }
    return figures


def pairs(folder: RunFolder) -> list[dict[str, Any]]:
    """All of the run's comparisons as its experiment saw them, with the truth beside."""
    found = {(c["arm"], c["control"]): c for c in folder.report()["comparisons"]}
    truth = json.loads(folder.trusted(folder.path / "truth.json").read_bytes())
    kept = []
    for known in truth["comparisons"]:
        c = found[known["arm"], known["control"]]
        names = ("lift", "ci", "p_adjusted", "always_valid_p", "detectable_lift", "status")
        cuped = c["cuped"] or {}
        kept.append(
            {
                **{name: known[name] for name in ("arm", "control", "expected_lift", "true_lift", "covered")},
                **{name: c[name] for name in names},
                **{
                    f"cuped_{name}": cuped.get(name)
                    for name in ("lift", "ci", "p_adjusted", "detectable_lift")
                },
            }
        )
    return kept


def _offline(arm: Mapping[str, Any]) -> dict[str, float | None]:
    names = ("expected_auc", "offline_auc", "gauc", "gauc_examined", "log_loss", "calibration")
    return {name: arm[name] for name in (*names, "acquisition_rate", "new_release_share")}


def _online(report: Mapping[str, Any], truth: Mapping[str, Any], arm: str) -> dict[str, float | None]:
    """An arm's lifts over the control; of the control itself 0 (and no p-value)."""
    rate = truth["arms"][arm]["expected_rate"]
    if arm == report["run"]["control"]:
        lifts = [name for name, one in MEASURES.items() if one.form == "lift"]
        names = [name for name in lifts if name != "detectable_lift" and not name.startswith(OFFPOLICY)]
        return {"expected_rate": rate, **dict.fromkeys(names, 0.0)}
    control = report["run"]["control"]
    c = _of(report["comparisons"], arm, control)
    known = _of(truth["comparisons"], arm, control)
    cuped = c["cuped"] or {}
    days = known["days"]
    return {
        "expected_rate": rate,
        "expected_lift": known["expected_lift"],
        "true_lift": known["true_lift"],
        "observed_lift": c["lift"],
        "cuped_lift": cuped.get("lift"),
        "p_holm": c["p_adjusted"],
        "p_holm_cuped": cuped.get("p_adjusted"),
        "detectable_lift": cuped.get("detectable_lift"),
        "first_day_lift": days[0]["expected_lift"] if days else None,
        "last_day_lift": days[-1]["expected_lift"] if days else None,
    }


def _offpolicy(folder: RunFolder) -> Figures:
    """The lifts that production's log foretold; of the control itself 0."""
    from experiment.offpolicy.evaluate import CLIP, ESTIMATORS, evaluate

    found = evaluate(folder, CLIP)
    known: Figures = {}
    for c in found["comparisons"]:
        known[c["arm"]] = {f"{OFFPOLICY}{name}": c["estimates"][name]["lift"] for name in ESTIMATORS}
        known[c["arm"]][f"{OFFPOLICY}expected"] = c["expected_lift"]
    own = [f"{OFFPOLICY}{name}" for name in (*ESTIMATORS, "expected")]
    return {folder.config.experiment.control: dict.fromkeys(own, 0.0), **known}


def _of(comparisons: list[dict[str, Any]], arm: str, control: str) -> dict[str, Any]:
    return next(c for c in comparisons if (c["arm"], c["control"]) == (arm, control))


def _wide_weights(folder: RunFolder, arm: str) -> float | None:
    """Weights of the wide part that are not 0 in the last published model; None for an arm that has none."""
    from experiment.folder.paths import RunPaths
    from experiment.server.live_model import published_days

    days = published_days(folder.manifest, arm)
    if not days:
        return None
    path: Path = RunPaths(folder.path).model(arm, days[-1]) / "meta.json"
    nonzero = json.loads(path.read_bytes()).get("nonzero", {})
    wide = [count for name, count in nonzero.items() if name in ("wide", "crosses")]
    return float(sum(wide)) if wide else None
