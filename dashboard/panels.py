"""Parts of pages that more than one view may show."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import calibration as judging
from dashboard import lab_figures, markup, shell
from dashboard.calibration import Method
from dashboard.reading import Document
from experiment import webpage
from experiment.words import DASH, percent


def calibration(document: Document) -> None:
    """How often the methods err, and whether their intervals hold the truth."""
    views = {view: found for view, found in judging.views(document).items() if found}
    if not views:
        st.html(markup.empty("Nothing to show", "calibration.json is not of a kind that this version knows."))
        return
    with st.container(horizontal=True):
        view = st.segmented_control(
            "View", list(views), default=next(iter(views)), required=True, key="calibration-view"
        )
        found = views[view]
        pair = st.segmented_control(
            "Comparison",
            [one.pair for one in found],
            default=found[0].pair,
            required=True,
            key="calibration-pair",
        )
    one = next((one for one in found if one.pair == pair), found[0])
    alpha = float(document.get("run", {}).get("alpha", 0.05))
    replays = document.get("replays", 0)
    left, right = st.columns(2, gap="medium")
    with left:
        rows = [(m.name, m.false_positives) for m in one.methods if m.false_positives is not None]
        shell.chart(
            lab_figures.rates({"replays": rows}, alpha, x="False positives under A/A"),
            key="calibration-errors",
            alt=_worst(one.methods),
        )
    with right:
        rows = [(m.name, m.coverage) for m in one.methods if m.coverage is not None]
        shell.chart(
            lab_figures.rates({"replays": rows}, 1 - alpha, x="Intervals that hold the true lift"),
            key="calibration-coverage",
            alt=_lowest(one.methods),
        )
    left, right = st.columns(2, gap="medium")
    with left:
        if one.p_values:
            shell.chart(
                lab_figures.histogram(
                    {"users as units": one.p_values, "impressions as units": one.naive_p_values},
                    x="p-value under A/A",
                    y="Replays",
                    flat=sum(one.p_values) / len(one.p_values),
                ),
                key="calibration-p",
                alt="A/A p-values: flat with users as units; with impressions as units they pile up at 0",
            )
    with right:
        head = ["", "False positives", "Coverage", "Power", "Interval width"]
        st.html(webpage.table(head, [_row(m) for m in one.methods]))
    st.caption(
        f"{replays:,} experiments drawn; true lift {percent(one.true_lift)}. A right method rejects "
        f"{100 * alpha:g}% of A/A experiments, and its intervals hold the truth in {100 * (1 - alpha):g}%; "
        "always-valid ones may do better. Naive methods stand here to show why they are not used."
    )


def _worst(methods: Sequence[Method]) -> str:
    right = [m for m in methods if not m.naive and m.false_positives is not None]
    naive = [m for m in methods if m.naive and m.false_positives is not None]
    highest = max((m.false_positives or 0.0 for m in right), default=0.0)
    wrong = max((m.false_positives or 0.0 for m in naive), default=0.0)
    return f"Right methods reject at most {highest:.1%} of A/A experiments, naive ones up to {wrong:.1%}"


def _lowest(methods: Sequence[Method]) -> str:
    right = [m.coverage for m in methods if not m.naive and m.coverage is not None]
    naive = [m.coverage for m in methods if m.naive and m.coverage is not None]
    worst = f"; naive ones in as few as {min(naive):.1%}" if naive else ""
    return f"Right intervals hold the true lift in at least {min(right, default=0.0):.1%}{worst}"


def _row(method: Method) -> list[str]:
    shares = (method.false_positives, method.coverage, method.power)
    width = DASH if method.width is None else f"{100 * method.width:.1f} pp"
    return [method.name, *(DASH if share is None else f"{share:.1%}" for share in shares), width]
