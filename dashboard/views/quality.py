"""How good the models are: off line before the experiment, as served each day, and at the gate each night."""

from __future__ import annotations

import streamlit as st

from dashboard import lab_figures, markup, reliability, shell
from dashboard import results as outcome
from dashboard.figures import Line
from dashboard.lab_figures import Judgement, Spot
from experiment import webpage
from experiment.palette import inks
from experiment.reporting.text import PAPER
from experiment.words import arm_name, number

run, found = shell.opened_results(
    "Quality", "How well the models predict. What wins off line need not win on line: judge by the lift."
)

ink = inks(list(found["arms"]))

MEASURES = {
    "AUC": ("auc", "auc_ci", None),
    "AUC per request": ("gauc", None, None),
    "AUC, noise taken out": ("expected_auc", None, None),
    "NDCG@10": ("ndcg", None, None),
    "Log loss": ("log_loss", None, None),
    "Calibration": ("calibration", None, 1.0),
    "Apps shown": ("distinct_apps", None, None),
}
MEANINGS = {
    "AUC": "Chance that an acquired app was scored above one that was not. Much of it is who the user is.",
    "AUC per request": "The same within a request: only the order counts, as it does for a ranker.",
    "AUC, noise taken out": "Labels replaced by the simulator's true chances.",
    "NDCG@10": "How near to the top the acquired apps stood.",
    "Log loss": "Mean surprise per impression, nats; lower is better, and it depends on what was shown.",
    "Calibration": "Acquisitions predicted per acquisition observed; 1 is right.",
    "Apps shown": "Different apps shown on a day: how wide a ranker looks.",
}

left, right = st.columns([3, 2], gap="medium")
with left:
    shell.heading("As served, day by day")
    name = st.selectbox("Measure", list(MEASURES), key="measure", bind="query-params", width=260)
    key, ends, target = MEASURES[name]
    lines = []
    for arm in found["arms"]:
        noted = [(day["day"], (day["arms"].get(arm) or {}).get("quality")) for day in found.get("days", [])]
        known = [(day, q) for day, q in noted if q and q.get(key) is not None]
        bands = [tuple(q[ends]) if ends and q.get(ends) else None for _, q in known]
        lines.append(Line(arm, [day for day, _ in known], [q[key] for _, q in known], bands))
    lines = [line for line in lines if line.x]
    if lines:
        last = ", ".join(f"{line.label} {number(line.y[-1])}" for line in lines)
        shell.chart(
            lab_figures.measured(lines, ink, y=name, level=target),
            key="quality-days",
            alt=f"{name} by day. On the last day: {last}",
        )
        st.caption(MEANINGS[name] + " Each arm is measured on what it showed itself.")
    else:
        st.html(markup.empty("Not measured", "The finished days hold no such measure.", None))
with right:
    shell.heading("Offline against online")
    spots = []
    for arm, of in found["arms"].items():
        c = next((c for c in outcome.against_control(found) if c["arm"] == arm), None)
        lift = 0.0 if arm == found["run"]["control"] else c["lift"] if c else None
        if of.get("offline_auc") is not None and lift is not None:
            ci = outcome.readable_ci(c, found) if c else None
            auc_ci = tuple(of["offline_auc_ci"]) if of.get("offline_auc_ci") else None
            spots.append(Spot(arm, of["offline_auc"], lift, auc_ci, ci))
    if spots:
        over_wide = found["run"]["control"] == "wide"  # as the paper's gains are
        theirs = [
            Spot(arm, p.auc, p.gain, theirs=True) for arm, p in PAPER.items() if arm in ink and over_wide
        ]
        shown = st.toggle("The paper's beside ours", True, key="paper", disabled=not over_wide)
        best = max(spots, key=lambda spot: spot.auc), max(spots, key=lambda spot: spot.lift)
        same = best[0].arm == best[1].arm
        shell.chart(
            lab_figures.off_and_on(spots + (theirs if shown else []), ink),
            key="off-on",
            alt=f"Best offline: {arm_name(best[0].arm)}. Best online: {arm_name(best[1].arm)}.",
        )
        st.caption(
            f"{arm_name(best[0].arm)} is best offline"
            + (" and online." if same else f", {arm_name(best[1].arm)} online: AUC is not lift.")
            + (" Hollow: the paper's." if shown and theirs else "")
            + f" Upright: {outcome.readable_kind(found)} of the lift."
        )
    else:
        st.html(markup.empty("At the end of the run", "The holdout is scored when the run ends.", None))

shell.heading(
    "Are the chances right?",
    "Acquisitions predicted against observed at the top position, by tenths of the score.",
)
if st.toggle("Read the log", key="curve", help="Reads scores and labels of the last finished day."):
    curves = reliability.curves(run)
    if curves:
        shell.chart(
            lab_figures.calibration_curve(curves, ink),
            key="calibration-curve",
            alt="Predicted against observed rates of the last day; on the dashed line a model is calibrated",
        )
    else:
        st.html(markup.empty("No log", "The finished days have no log to read.", None))

shell.heading(
    "The gate", "Each night a new model meets the one that serves, on traffic neither has learned from."
)
nights = [
    Judgement(
        e["arm"],
        e["day"],
        None if e.get("auc") is None or e.get("incumbent_auc") is None else e["auc"] - e["incumbent_auc"],
        bool(e.get("accepted", True)),
        "; ".join(e.get("reasons", [])),
    )
    for e in found.get("gate", [])
]
if nights:
    everyone = inks([*found["arms"], *dict.fromkeys(n.arm for n in nights if n.arm not in found["arms"])])
    bad = [n for n in nights if not n.accepted]
    shell.chart(
        lab_figures.gate(nights, everyone),
        key="gate",
        alt=f"{len(nights)} models at the gate, {len(bad)} refused",
    )
    if bad:
        rows = [[arm_name(n.arm), str(n.day), n.reasons] for n in bad]
        st.html(webpage.table(["Refused", "Night after day", "Why"], rows, text=True))
    else:
        st.caption(f"All {len(nights)} models passed.")
else:
    st.html(
        markup.empty("No model has met the gate yet", "The first does once there is one that serves.", None)
    )
