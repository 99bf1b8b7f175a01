"""What a run's events tell: each in words, and how fast the simulated days were served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from experiment.words import arm_name, percent

Event = Mapping[str, Any]

PLAIN = {"started": "Started", "resumed": "Resumed", "interrupted": "Interrupted", "done": "Done"}
SESSIONS = ("started", "resumed")
"""With these somebody begins to work on the run; nobody did in the time before."""


def told(event: Event) -> str:
    """An event in words."""
    kind, day = str(event.get("event", "")), event.get("sim_day")
    if kind == "served":
        who = arm_name(str(event.get("arm", "")))
        group = str(event.get("group", ""))
        whom = "" if group == event.get("arm") else f" the users of {arm_name(group)}"
        return f"Day {day}: {who} served{whom}"
    if kind == "learned":
        return f"Night after day {day}: {_learned(event)}"
    if kind == "foreseen":
        lift = event.get("detectable_lift")
        size = f"a lift of {percent(lift).lstrip('+')}" if isinstance(lift, float) else "a lift"
        return f"Foreseen: {size} will be found with 80% power in {event.get('days')} days"
    if kind == "dropped":
        return f"After day {day}: the log before day {event.get('log_from_day')} was dropped"
    if kind == "failed":
        return f"Failed: {event.get('cause', '')}"
    told = PLAIN.get(kind, kind)
    return f"{told}, by other code than before" if event.get("other_code") else told


def _learned(event: Event) -> str:
    arms, accepted, reasons = event.get("arms"), event.get("accepted"), event.get("reasons")
    names = ", ".join(arm_name(str(arm)) for arm in arms) if isinstance(arms, list) else ""
    verdict = "passed the gate" if accepted else "none published yet" if accepted is None else "refused"
    why = f": {'; '.join(map(str, reasons))}" if isinstance(reasons, list) and reasons else ""
    return f"{names} trained, {verdict}{why}"


def speed(events: Iterable[Event]) -> list[float]:
    """Impressions per second of work on each simulated day but the first; a day comes in many shards."""
    worked, impressions, before = 0.0, 0.0, None
    ends: dict[int, tuple[float, float]] = {}
    for event in events:
        at, day, kind = event.get("wall_s"), event.get("sim_day"), event.get("event")
        if not isinstance(at, int | float):
            continue
        if before is not None and kind not in SESSIONS:
            worked += at - before
        before = at
        if kind == "served":
            impressions += float(event.get("impressions", 0))
        if kind in ("served", "learned") and isinstance(day, int):
            ends[day] = (worked, impressions)
    points = [ends[day] for day in sorted(ends)]
    return [(shown - past) / (at - then) for (then, past), (at, shown) in pairwise(points) if at > then]
