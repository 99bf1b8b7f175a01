"""Which ranker won, by how much, how sure, and whether to trust it."""

from __future__ import annotations

import json

import streamlit as st

from dashboard import card_rows, markup, scorecard, shell, words
from dashboard import results as outcome
from dashboard.palette import inks
from experiment.report_text import PAPER, level, power_note
from experiment.words import DASH, arm_name, interval, number, percent

run, found = shell.opened_results("Overview", "")
control = found["run"]["control"]
checks = words.health(run, found)

st.html(markup.health(checks))
st.html(markup.verdict(words.verdict(run, found), words.trust(checks)))

with st.container(horizontal=True, vertical_alignment="bottom"):
    shell.heading("Scorecard")
    st.space("stretch")
    cuped = st.toggle(
        "Adjust for the pre-period (CUPED)",
        key="cuped",
        bind="query-params",
        help="Takes out what users did before the experiment: the same effect, a narrower interval.",
    )
blocks = card_rows.blocks(run, found, cuped=cuped)
card = scorecard.render(blocks, inks(list(found["arms"])), control, level(found["run"]))
known = any(row.truth is not None for block in blocks for row in block.rows)
truth = (
    '<i class="key key-truth"></i>the true lift, which only a simulator knows'
    if known
    else "The true lift is not computed yet: storelift truth DIR"
)
of = level(found["run"])
st.html(
    f'<div class="sc-wrap">{card}</div><p class="sc-foot"><i class="key key-thick"></i>'
    f"{of} interval at the planned "
    'end<i class="key key-wing"></i>always-valid interval, readable on any day '
    f"<span>&nbsp;&nbsp;{truth}</span><br>Users are the unit. Delta method; Holm over the primary "
    "comparisons, Benjamini-Hochberg over secondary metrics; guardrails by non-inferiority. "
    "Green and red mean good and bad, grey not decided.</p>"
)

note = power_note(found)
if note:
    st.caption(note)

shell.heading(
    "Beside the paper",
    "Cheng et al. 2016, Table 1. Another store, other users: directions compare, not digits.",
)
rows = []
for arm, of in found["arms"].items():
    c = next((c for c in outcome.against_control(found) if c["arm"] == arm), None)
    paper = PAPER.get(arm)
    rows.append(
        [
            arm_name(arm) + (" (control)" if arm == control else ""),
            number(of.get("offline_auc")),
            percent(0.0) if c is None else percent(c["lift"]),
            "" if c is None else interval(c["ci"]),
            percent(c["expected_lift"]) if c else percent(0.0),
            percent(c["true_lift"]) if c else percent(0.0),
            number(paper.auc) if paper else DASH,
            percent(paper.gain) if paper else DASH,
        ]
    )
head = [
    "",
    "Offline AUC",
    "Online gain",
    f"{level(found['run'])} interval",
    "Gain, noise taken out",
    "True gain",
]
st.html(markup.table([*head, "AUC in the paper", "Gain in the paper"], rows, theirs=(6, 7)))

with st.expander("Every number, and how it was made", icon=":material/functions:"):
    st.dataframe(card_rows.numbers(found), hide_index=True)
    st.markdown(
        "Rate: acquisitions over impressions, R = Σx / Σy over users; its variance by the delta method, "
        "(s²ₓ − 2 R sₓᵧ + R² s²ᵧ) / ȳ² / n. Lift: R of the arm over R of the control, less 1; interval "
        "on the logarithm. p: two-sided z of the difference, then Holm. Always-valid: a confidence "
        "sequence fixed beforehand. CUPED: the same difference less θ times the difference before. "
        "Noise taken out: labels replaced by the simulator's true chances."
    )
with st.container(horizontal=True):
    st.download_button(
        "CSV",
        card_rows.export(run, found),
        f"{run.name}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
    st.download_button(
        "JSON",
        json.dumps(found, indent=2, ensure_ascii=False),
        f"{run.name}.json",
        "application/json",
        icon=":material/download:",
        on_click="ignore",
    )
