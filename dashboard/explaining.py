"""One request ranked by the arms side by side, with what each score is made of: `explanations/*.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard import markup, reading
from dashboard.reading import Document, Run
from experiment.words import arm_name, number

FIRST = 5
"""Parts of a score that are shown, largest first."""


def of_request(run: Run, number_: str) -> Document | None:
    """The explanation of a request, if it was computed."""
    if not number_.isdigit():
        return None
    return reading.document(run, f"explanations/request-{number_}.json")


def rankings(document: Document) -> dict[str, list[Mapping[str, Any]]]:
    """By arm, the apps in the order of their scores."""
    arms = document.get("arms")
    found: dict[str, list[Mapping[str, Any]]] = {}
    if not isinstance(arms, Mapping):
        return found
    for arm, of in arms.items():
        apps = of.get("apps", of.get("candidates", [])) if isinstance(of, Mapping) else of
        if isinstance(apps, Sequence):
            rows = [row for row in apps if isinstance(row, Mapping)]
            found[str(arm)] = sorted(rows, key=lambda row: -float(row.get("score") or 0.0))
    return found


def parts(row: Mapping[str, Any]) -> str:
    """The largest parts of a score, in words."""
    found = row.get("parts", row.get("contributions", []))
    if isinstance(found, Mapping):
        found = [{"feature": name, "value": value} for name, value in found.items()]
    pairs = [
        (
            str(one.get("feature", one.get("name", "?"))),
            float(one.get("value", one.get("contribution", 0.0)) or 0.0),
        )
        for one in found
        if isinstance(one, Mapping)
    ]
    largest = sorted(pairs, key=lambda pair: -abs(pair[1]))[:FIRST]
    return ", ".join(f"{name} {value:+.2f}" for name, value in largest)


def show(document: Document) -> None:
    """The rankings side by side."""
    import streamlit as st

    found = rankings(document)
    if not found:
        st.html(markup.empty("Not of a kind that this version knows", "The explanation is shown as it is."))
        st.json(document, expanded=1)
        return
    for column, arm in zip(st.columns(len(found)), found, strict=True):
        with column:
            st.markdown(f"**{arm_name(arm)}**")
            rows = [
                [str(place), str(row.get("app", "?")), number(row.get("score"), 2), parts(row)]
                for place, row in enumerate(found[arm][:10], 1)
            ]
            st.html(markup.table(["#", "App", "Score", "Made of"], rows, text=True))
