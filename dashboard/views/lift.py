"""The lift over the days, in parts of the traffic, and what such an experiment can see."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import figures, forests, measures, panels, reading, segments, series, shell, words
from dashboard import results as outcome
from dashboard.figures import Line
from dashboard.forests import Leaf
from experiment.palette import inks
from experiment.reporting.text import level
from experiment.stats import power
from experiment.words import arm_name, interval, percent

run, found = shell.opened_results(
    "Lift", "How much more, or less, each arm acquires than the control, day by day."
)
ink, alpha = inks(list(found["arms"])), float(found["run"]["alpha"])
of = level(found["run"])
compared = outcome.pairs(found)
against = [(c["arm"], c["control"]) for c in outcome.against_control(found)]

with st.container(horizontal=True):
    over = st.segmented_control(
        "Days", ["cumulative", "daily"], default="cumulative", required=True, key="over", bind="query-params"
    )
    scale = st.segmented_control(
        "Scale", ["relative", "absolute"], default="relative", required=True, key="scale", bind="query-params"
    )
    kind = st.segmented_control(
        "Interval",
        ["fixed", "always-valid"],
        default="always-valid" if outcome.early(found) else "fixed",
        required=True,
        key="kind",
        bind="query-params",
        disabled=over == "daily",
        help="Fixed: right at the planned end only. Always-valid: right on whichever day it is read; wider.",
    )
    pairs = st.pills(
        "Comparisons",
        compared,
        selection_mode="multi",
        default=against,
        format_func=lambda pair: f"{arm_name(pair[0])} − {arm_name(pair[1])}",
        key=f"pairs-{run.name}-{found['run']['control']}",  # another control has other pairs
    )

chosen = [pair for pair in compared if pair in (pairs or [])]
true = {(c["arm"], c["control"]): c.get("true_lift") for c in found["comparisons"]}
refused = sorted({e["day"] for e in found.get("gate", []) if not e.get("accepted", True) and e["day"] > 0})
lines = series.lines(run, found, chosen, over=over, scale=scale, kind=kind)
drawn = [
    Line(
        arm=one.arm,
        x=one.days,
        y=one.values,
        bands=one.bands,
        dotted=true.get((one.arm, one.control)) if scale == "relative" else None,
        name=f"{arm_name(one.arm)} − {arm_name(one.control)}",
    )
    for one in lines
]
words_of = "; ".join(
    f"{line.name} {percent(line.y[-1])}, {interval(line.bands[-1])}"
    for line in drawn
    if line.bands and line.y
)
if drawn:
    shell.chart(
        figures.lifts(
            drawn,
            ink,
            relative=scale == "relative",
            band=f"{kind if over == 'cumulative' else 'fixed'} {of} interval",
            refused=refused,
            connected=over == "cumulative",
        ),
        key="lift-days",
        alt=f"{over.capitalize()} lift. On the last day: {words_of}"
        if scale == "relative"
        else f"{over} difference",
    )
    notes = ["A fixed interval is right on the last day only; reading it daily finds false effects."]
    if any(line.dotted is not None for line in drawn):
        notes.append("Dotted: the true lift over all days, of the same users under both arms.")
    st.caption(" ".join(notes))
else:
    st.html("<p class='sl'>Choose a comparison.</p>")

left, right = st.columns(2, gap="medium")
with left:
    shell.heading("Exposure", "Users of each arm who came at least once.")
    seen = measures.exposures(run)
    days = measures.days(run)
    shell.chart(
        figures.counts([Line(arm, days, users) for arm, users in seen.items()], ink, y="Users so far"),
        key="exposure",
        alt="Users so far: "
        + ", ".join(f"{arm_name(arm)} {users[-1]:,}" for arm, users in seen.items() if users),
    )
    ratio = found["health"]["srm"]
    planned = ", ".join(
        f"{arm_name(arm)} {users:,.0f}" for arm, users in (ratio.get("expected") or {}).items()
    )
    st.caption(f"Expected: {planned}. Sample ratio {words.is_p(ratio['p_value'])}, alarm below .001.")
with right:
    first = next((c for c in outcome.against_control(found) if c.get("detectable_lift")), None)
    of_pair = "" if first is None else f" of {arm_name(first['arm'])} over {arm_name(first['control'])}"
    shell.heading("What it can see", f"The chance to find a lift{of_pair}, with the users seen so far.")
    if first is None:
        st.caption("Not defined for these data.")
    else:
        unit = power.distance(alpha=alpha)
        plain = first["detectable_lift"]
        adjusted = (first.get("cuped") or {}).get("detectable_lift")
        at = np.linspace(0, 2 * plain, 60)
        curves = {"as measured": power.power(at, plain / unit, alpha=alpha).tolist()}
        if adjusted:
            curves["adjusted (CUPED)"] = power.power(at, adjusted / unit, alpha=alpha).tolist()
        shell.chart(
            figures.power_curve(at.tolist(), curves, plain),
            key="power",
            alt=f"A lift of {100 * plain:.1f}% is found with 80% power",
        )
        target = st.number_input(
            "Lift that matters, %",
            0.1,
            50.0,
            3.9,
            0.1,
            key="target",
            help="The paper found +3.9%.",
            width=180,
        )
        progress = min(1.0, (target / 100 / plain) ** 2)
        st.progress(progress, f"{progress:.0%} of the precision that finds ±{target:g}% with 80% power")
        if measures.days(run):
            left_days = series.days_left(run, (first["arm"], first["control"]), target / 100 / unit, alpha)
            st.caption(
                "Precise enough."
                if left_days == 0
                else "More days alone never get there: the same users come back; it takes more users."
                if left_days is None
                else f"About {left_days} more days at this pace, a little optimistic."
            )

shell.heading(
    "Parts of the traffic", "Exploratory: who looks often finds something; corrected within each dimension."
)
with st.container(horizontal=True):
    dimension = st.segmented_control(
        "Dimension",
        list(segments.DIMENSIONS),
        format_func=lambda key: segments.DIMENSIONS[key],
        default="since",
        required=True,
        key="dimension",
        bind="query-params",
    )
early = outcome.early(found)
leaves = [
    Leaf(
        one.label,
        one.arm,
        one.lift,
        one.ci,
        sure=one.p_adjusted is not None and one.p_adjusted < alpha and not early,
    )
    for pair in against
    for one in segments.by_segment(run, pair, dimension, alpha)
]
if leaves:
    decided = sum(leaf.sure for leaf in leaves)
    parts = segments.DIMENSIONS[dimension].lower()
    shell.chart(
        forests.forest(leaves, ink),
        key="segments",
        alt=f"Lift by {parts}: {decided} of {len(leaves)} parts differ from 0",
    )
    st.caption(
        "Before the planned end nothing here is decided: all are hollow, and the intervals are fixed ones."
        if early
        else "Filled: below the level after Benjamini-Hochberg. Hollow: no difference is shown."
    )

shell.heading(
    "Can the statistics be trusted?", "Experiments drawn again from known outcomes: the truth judges."
)
judged = reading.document(run, "calibration.json")
if judged is None:
    shell.missing(
        "Not computed yet",
        "How often each method errs under A/A, how often its intervals hold the true lift, and its power.",
        run,
        "storelift calibrate",
    )
else:
    panels.calibration(judged)
