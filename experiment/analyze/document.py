"""`storelift analyze`: anyone's experiment, from users' counts to a document and a readable table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiment.analyze.input import UserData, read_users
from experiment.errors import BadInput
from experiment.stats.comparison import analyse, false_discovery
from experiment.stats.guardrail import guardrail
from experiment.stats.moments import Moments, Y
from experiment.stats.results import Comparison
from experiment.stats.srm import ALARM, sample_ratio, sequential_sample_ratio

Document = dict[str, Any]


def analyze(
    path: Path,
    *,
    control: str,
    weights: Mapping[str, float] | None = None,
    planned_users: float | None = None,
    alpha: float = 0.05,
    use_t: bool = False,
    by: Sequence[str] = (),
    margin: float = 0.05,
    set_apart: bool = False,
) -> Document:
    """The document of `storelift analyze --json`; undefined is None.

    `arms` and `comparisons` (the primary metric, Holm over them) have the fields of `stats.results.Arm` and
    `Comparison`, `days` those of `Look`; `srm` is of users; `secondary` and `segments` are families of
    their own (Benjamini-Hochberg), `guardrails` stand outside; `excluded` counts rows by reason.

    Args:
        path: CSV or Parquet, see `analyze_input.read_users`.
        control: name of the control.
        weights: planned shares of the arms up to a factor; equal by default. Arms named here without
            rows have 0 users.
        planned_users: users of a pair for which the always-valid boundary is narrowest; by default those
            seen.
        alpha: 1 - alpha is the coverage of the intervals.
        use_t: Welch's t in place of z.
        by: dimensions, each analysed by segment as an exploration.
        margin: tolerated relative loss of the guardrail, impressions per user.
        set_apart: leave out users with bad rows and count them, in place of refusing the file.

    Raises:
        BadInput: naming the field, what was got and what is allowed.
    """
    _check_settings(alpha, planned_users, margin, by)
    data = read_users(path, by=by, set_apart=set_apart)
    arms = _all_arms(data, weights, control)
    settings: dict[str, Any] = {"alpha": alpha, "planned_users": planned_users, "use_t": use_t}
    analysis = analyse(arms, control, days=data.days, **settings)
    window = {name: cells[-1] if cells.shape else cells for name, cells in arms.items()}
    return {
        "arms": {name: asdict(arm) for name, arm in analysis.arms.items()},
        "comparisons": [_plain(c) for c in analysis.comparisons],
        "srm": _sample_ratio(arms, weights),
        "days": [_plain(look) for look in analysis.days],
        "secondary": _secondary(window, data, control, alpha, use_t=use_t),
        "guardrails": _guardrails(window, control, margin, alpha),
        "segments": _segments(data, list(arms), control, alpha, use_t=use_t),
        "excluded": data.excluded,
        "input": {"file": path.name, "rows": data.rows, "control": control, "alpha": alpha},
    }


def parse_weights(text: str) -> dict[str, float]:
    """The shares in `wide=1,deep=2`. Raises BadInput."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        arm, equals, value = part.strip().rpartition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = np.nan
        if not (equals and arm and np.isfinite(weight) and weight >= 0):
            raise BadInput(f"weights: got {part.strip()!r}, ARM=NUMBER from 0, joined by commas, is allowed")
        if arm in weights:
            raise BadInput(f"weights: got {arm!r} twice, one weight per arm is allowed")
        weights[arm] = weight
    if not any(weights.values()):
        raise BadInput("weights: got only zeros, at least one above 0 is allowed")
    return weights


def _check_settings(alpha: float, planned_users: float | None, margin: float, by: Sequence[str]) -> None:
    for name, value in (("alpha", alpha), ("margin", margin)):
        if not 0 < value < 1:
            raise BadInput(f"{name}: got {value}, numbers above 0 and below 1 are allowed")
    if planned_users is not None and not (planned_users > 0 and np.isfinite(planned_users)):
        raise BadInput(f"planned-users: got {planned_users}, numbers above 0 are allowed")
    for name in by:
        if by.count(name) > 1:
            raise BadInput(f"by: got {name!r} twice, each dimension once is allowed")


def _all_arms(data: UserData, weights: Mapping[str, float] | None, control: str) -> dict[str, Moments]:
    """The file's arms and those of the weights, the control first."""
    if weights is not None:
        for name in data.arms:
            if name not in weights:
                raise BadInput(f"weights: got none for arm {name!r} of the file, one for each arm is allowed")
    names = list(weights if weights is not None else data.arms)
    if control not in names:
        raise BadInput(f"control: got {control!r}, one of {', '.join(names)} is allowed")
    some = next(iter(data.arms.values()))
    nobody = Moments.empty(some.shape, pre=some.has_pre)
    ordered = [control, *(name for name in names if name != control)]
    return {name: data.arms.get(name, nobody) for name in ordered}


def _sample_ratio(arms: Mapping[str, Moments], weights: Mapping[str, float] | None) -> Document:
    seen = {name: cells.n.reshape(-1) for name, cells in arms.items()}
    fixed = sample_ratio({name: float(n[-1]) for name, n in seen.items()}, weights)
    held = [name for name in arms if weights is None or weights[name] > 0]
    shares = [1.0 if weights is None else weights[name] for name in held]
    users = np.stack([seen[n] for n in held], axis=-1)
    sequential = float(sequential_sample_ratio(users, shares)[-1]) if fixed.p_value is not None else None
    return {
        "chi2": fixed.chi2,
        "df": fixed.df,
        "p_value": fixed.p_value,
        "alarm": fixed.alarm,
        "observed": {name: round(float(n[-1])) for name, n in seen.items()},
        "expected": {name: fixed.expected[name] for name in seen},
        "sequential_p_value": sequential,
        "sequential_alarm": sequential is not None and sequential < ALARM,
    }


def _secondary(
    window: Mapping[str, Moments], data: UserData, control: str, alpha: float, *, use_t: bool
) -> list[Document]:
    """Acquisitions per user and the share of users with one: a family of its own, Benjamini-Hochberg."""
    nobody = Moments.empty()
    metrics = {
        "acquisitions_per_user": {name: cell.per_user() for name, cell in window.items()},
        "users_with_acquisition": {name: data.acquirers.get(name, nobody) for name in window},
    }
    found = [
        (metric, comparison)
        for metric, cells in metrics.items()
        for comparison in analyse(cells, control, alpha=alpha, use_t=use_t).comparisons
    ]
    return [
        {"metric": metric, **row}
        for (metric, _), row in zip(found, _explored(c for _, c in found), strict=True)
    ]


def _segments(
    data: UserData, names: Sequence[str], control: str, alpha: float, *, use_t: bool
) -> list[Document]:
    """Every segment's comparisons: one exploratory family, Benjamini-Hochberg."""
    found = []
    for (dimension, value), by_arm in data.segments.items():
        nobody = Moments.empty(pre=next(iter(by_arm.values())).has_pre)
        cells = {name: by_arm.get(name, nobody) for name in names}
        for comparison in analyse(cells, control, alpha=alpha, use_t=use_t).comparisons:
            label = {"dimension": dimension, "value": value, "exploratory": True}
            found.append((label, comparison))
    return [{**label, **row} for (label, _), row in zip(found, _explored(c for _, c in found), strict=True)]


def _explored(comparisons: Iterable[Comparison]) -> list[Document]:
    """The comparisons' fixed-horizon figures with Benjamini-Hochberg over all of them."""
    family = list(comparisons)
    fields = ("arm", "control", "difference", "difference_se", "p_value", "lift", "lift_ci", "status")
    rows = []
    for comparison, p in zip(family, false_discovery(family), strict=True):
        whole = _plain(comparison)
        users = {"n_control": comparison.method.n_control, "n_arm": comparison.method.n_treatment}
        rows.append({**{name: whole[name] for name in fields}, "p_bh": p, **users})
    return rows


def _guardrails(window: Mapping[str, Moments], control: str, margin: float, alpha: float) -> list[Document]:
    """Impressions per user: an arm that shows less may raise its rate by it."""
    rows = []
    for name, cell in window.items():
        if name == control:
            continue
        test = guardrail(window[control].per_user(Y), cell.per_user(Y), margin=margin, alpha=alpha)
        rows.append(
            {
                "metric": "impressions_per_user",
                "arm": name,
                "control": control,
                "margin": margin,
                "better": test.better,
                "z": _number(test.z),
                "p_value": _number(test.p_value),
                "bound": _number(test.bound),
                "passed": bool(test.passed) if np.isfinite(test.z) else None,
            }
        )
    return rows


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(record: Any) -> Document:
    """A dataclass as JSON's own types."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in _walk(asdict(record)).items()}


def _walk(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _walk(v) for name, v in value.items()}
    return list(value) if isinstance(value, tuple) else value
