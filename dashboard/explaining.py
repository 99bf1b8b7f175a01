"""One request ranked by the arms side by side, with what each score is the sum of: `explanations/*.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import markup, part_figures, reading, shell
from dashboard.reading import Document, Run
from experiment import webpage
from experiment.palette import inks
from experiment.words import DASH, arm_name, number

FIRST = 8
"""Parts of a score that are drawn, largest first; the others are one bar."""


def of_request(run: Run, request: str) -> Document | None:
    """The explanation of a request, if it was computed."""
    if not request.isdigit():
        return None
    return reading.document(run, f"explanations/request-{request}.json")


def known(run: Run) -> list[tuple[str, int, str]]:
    """(arm, day, request) of the requests that were explained."""
    found = []
    for document in reading.documents(run, "explanations/request-*.json").values():
        request, arm = document.get("request"), document.get("arm")
        if isinstance(request, Mapping) and "sim_day" in request and "request_id" in request:
            found.append((str(arm), int(request["sim_day"]), str(request["request_id"])))
    return found


def rankings(document: Document) -> dict[str, dict[int, Mapping[str, Any]]]:
    """By arm, what its model says of each app: score, rank and parts; empty for another document."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    arms = document.get("arms")
    if isinstance(arms, Mapping):
        for arm, of in arms.items():
            apps = of.get("apps") if isinstance(of, Mapping) else None
            if isinstance(apps, list) and apps:
                found[str(arm)] = {int(one["app"]): one for one in apps if "app" in one}
    return found


def parts(one: Mapping[str, Any]) -> dict[str, float]:
    """The largest parts of a score by name, and the sum of the others."""
    found = one.get("parts")
    if not isinstance(found, Mapping) or not found:
        return {}
    ordered = sorted(found.items(), key=lambda pair: -abs(float(pair[1])))
    first = {str(name): float(value) for name, value in ordered[:FIRST]}
    others = ordered[FIRST:]
    if others:
        first[f"{len(others)} others"] = sum(float(value) for _, value in others)
    return first


def show(document: Document) -> None:
    """Places by arm, and the parts of one app's scores."""
    found = rankings(document)
    shown = [one for one in document.get("apps", []) if isinstance(one, Mapping) and "app" in one]
    if not found or not shown:
        st.html(markup.empty("Not of a kind that this version knows", "The explanation is shown as it is."))
        st.json(document, expanded=1)
        return
    st.markdown("**The same apps by each arm's model of the day**: place, and score in log odds.")
    rows = [
        [
            str(one["app"]),
            DASH if one.get("probability") is None else f"{one['probability']:.1%}",
            "yes" if one.get("label") else "no",
            *(_place(apps.get(int(one["app"]))) for apps in found.values()),
        ]
        for one in shown
    ]
    st.html(webpage.table(["App", "True chance", "Acquired", *map(arm_name, found)], rows))
    app = st.selectbox(
        "What is the score of this app made of?", [int(one["app"]) for one in shown], width=320
    )
    ink = inks(list(found))
    made = {arm: parts(apps[app]) for arm, apps in found.items() if app in apps}
    drawn = [arm for arm in made if made[arm] and arm != "production"]
    for column, arm in zip(st.columns(max(len(drawn), 1), gap="small"), drawn, strict=False):
        with column:
            name, value = max(made[arm].items(), key=lambda pair: abs(pair[1]))
            shell.chart(
                part_figures.made_of(
                    made[arm], ink[arm], title=f"{arm_name(arm)} {number(found[arm][app]['score'], 2)}"
                ),
                key=f"parts-{arm}",
                alt=f"{arm_name(arm)}: largest part {name}, {value:+.2f} of the log odds",
            )
    without = [arm_name(arm) for arm in made if not made[arm]]
    if without:
        st.caption(f"Without parts that can be named: {', '.join(without)}.")


def _place(one: Mapping[str, Any] | None) -> str:
    return DASH if one is None else f"{one.get('rank', DASH)} ({number(one.get('score'), 2)})"
