"""`storelift power`: users needed, smallest lift found, power, and days left, from figures or from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiment.errors import BadInput
from experiment.stats.power import (
    days_left,
    design_effect,
    distance,
    minimum_detectable,
    power,
    user_variance,
    users_needed,
)
from experiment.stats.ratio import rates

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PowerQuestion:
    """What is known and what is asked; rate and impressions, or a file and its control, are needed.

    Attributes:
        rate: acquisitions per impression of the control, above 0 and below 1; None with a file.
        impressions: per user, above 0; None with a file.
        design_effect: variance over that of independent impressions; None is 1, or the file's own.
        users: of the control; None asks for them, or takes the file's.
        lift: true relative lift, above -1 and not 0; None asks for the smallest one found.
        power: wanted, above alpha and below 1.
        alpha: level of the two-sided test.
        ratio: users of the treatment per user of the control.
        source: a file as `analyze` takes; None without.
        control: its arm that serves as the control; None without a file.
    """

    rate: float | None = None
    impressions: float | None = None
    design_effect: float | None = None
    users: float | None = None
    lift: float | None = None
    power: float = 0.8
    alpha: float = 0.05
    ratio: float = 1.0
    source: Path | None = None
    control: str | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    rate: float
    impressions: float
    v: float
    users: float | None
    days: list[float]
    variances: list[float]


def answer(question: PowerQuestion) -> Document:
    """The figures as one document; None where not asked or undefined.

    `mde` is the smallest lift found with the wanted power at `users`; `users_needed` the control's users for
    `lift`; `days_left` the further days to find `lift` at the file's own pace (None too where days
    alone never suffice).

    Raises:
        BadInput: naming the field, what was got and what is allowed.
    """
    q = question
    _check(q)
    known = _from_file(q) if q.source else _from_figures(q)
    size = 1 + 1 / q.ratio
    se = None if known.users is None else float(np.sqrt(known.v * size / known.users))
    difference = None if q.lift is None else q.lift * known.rate
    left = None
    if difference is not None and known.days:
        target = (difference / distance(q.power, alpha=q.alpha)) ** 2
        left = days_left(known.days, known.variances, target)
    return {
        "rate": known.rate,
        "impressions_per_user": known.impressions,
        "design_effect": float(design_effect(known.rate, known.v, known.impressions)),
        "user_variance": known.v,
        "alpha": q.alpha,
        "target_power": q.power,
        "ratio": q.ratio,
        "users": known.users,
        "lift": q.lift,
        "mde": None
        if se is None
        else float(minimum_detectable(se, target=q.power, alpha=q.alpha)) / known.rate,
        "power": None if se is None or difference is None else float(power(difference, se, alpha=q.alpha)),
        "users_needed": None
        if difference is None
        else users_needed(difference, known.v, target=q.power, alpha=q.alpha, ratio=q.ratio),
        "days_seen": len(known.days) or None,
        "days_left": left,
    }


def sentences(document: Document) -> list[str]:
    """The document in words."""
    d = document
    lines = []
    lines.append(
        f"Rate {d['rate']:.5f}, {d['impressions_per_user']:.4g} impressions per user,"
        f" design effect {d['design_effect']:.2f}; two-sided test at {d['alpha']:g}."
    )
    if d["mde"] is not None:
        lines.append(
            f"{d['users']:,.0f} users in the control: a lift of {d['mde']:.2%} is found with"
            f" {d['target_power']:.0%} power."
        )
    if d["power"] is not None:
        lines.append(f"A lift of {d['lift']:.2%} is found with {d['power']:.1%} power.")
    if d["users_needed"] is not None:
        lines.append(
            f"A lift of {d['lift']:.2%} needs {d['users_needed']:,} users in the control"
            f" for {d['target_power']:.0%} power."
        )
    if d["days_seen"] is not None and d["lift"] is not None:
        left = d["days_left"]
        lines.append(
            "More days alone never get there: more users are needed."
            if left is None
            else f"After {d['days_seen']} days: {left} more to find a lift of {d['lift']:.2%}."
        )
    return lines


def _check(q: PowerQuestion) -> None:
    if not 0 < q.alpha < 1:
        raise BadInput(f"alpha: got {q.alpha}, numbers above 0 and below 1 are allowed")
    if not q.alpha < q.power < 1:
        raise BadInput(f"power: got {q.power}, numbers above alpha ({q.alpha}) and below 1 are allowed")
    if q.rate is not None and not 0 < q.rate < 1:
        raise BadInput(f"rate: got {q.rate}, numbers above 0 and below 1 are allowed")
    if q.lift is not None and not (q.lift > -1 and q.lift != 0 and np.isfinite(q.lift)):
        raise BadInput(f"lift: got {q.lift}, numbers above -1 other than 0 are allowed")
    above = {
        "impressions": q.impressions,
        "design-effect": q.design_effect,
        "users": q.users,
        "ratio": q.ratio,
    }
    for name, value in above.items():
        if value is not None and not (value > 0 and np.isfinite(value)):
            raise BadInput(f"{name}: got {value}, numbers above 0 are allowed")


def _from_figures(q: PowerQuestion) -> _Known:
    for name, value in (("rate", q.rate), ("impressions", q.impressions)):
        if value is None:
            raise BadInput(f"{name}: got nothing; it, or --from with a file, is needed")
    assert q.rate is not None
    assert q.impressions is not None
    if q.users is None and q.lift is None:
        raise BadInput("users, lift: got neither, at least one is needed")
    v = user_variance(q.rate, q.impressions, q.design_effect or 1.0)
    return _Known(q.rate, q.impressions, v, q.users, [], [])


def _from_file(q: PowerQuestion) -> _Known:
    from experiment.analyze.input import read_users

    assert q.source is not None
    for name, value in (("rate", q.rate), ("impressions", q.impressions), ("design-effect", q.design_effect)):
        if value is not None:
            raise BadInput(f"{name}: got {value} beside --from, one of the two is allowed")
    data = read_users(q.source)
    if q.control not in data.arms:
        raise BadInput(f"control: got {q.control!r}, one of {', '.join(data.arms)} is allowed")
    cells = data.arms[q.control]
    found = rates(cells)
    last = found.rate.reshape(-1)[-1], found.v.reshape(-1)[-1]
    if not (last[0] > 0 and last[1] > 0):
        raise BadInput(
            f"control: got an arm {q.control!r} without a rate or variance, both above 0 are needed"
        )
    users = float(cells.n.reshape(-1)[-1])
    impressions = float(cells.mean.reshape(-1, cells.total.shape[-1])[-1, 1])
    as_many = users / (q.users or users)
    variances = [] if data.days is None else (found.variance * (1 + 1 / q.ratio) * as_many).tolist()
    days = _elapsed(data.days or [])
    return _Known(float(last[0]), impressions, float(last[1]), q.users or users, days, variances)


def _elapsed(days: list[int | str]) -> list[float]:
    """Days since the start, the first being 1."""
    stamps = [int(np.datetime64(day, "D").astype(int)) if isinstance(day, str) else day for day in days]
    return [float(stamp - stamps[0] + 1) for stamp in stamps]
