"""Which ranker won, by how much, how sure, and whether to trust it."""

from __future__ import annotations

import json

import streamlit as st

from dashboard import card_rows, glance, markup, paper, scorecard, shell, words
from experiment.palette import inks
from experiment.reporting.text import level, power_note

run, found = shell.opened_results(
    "Overview",
    "Rankers on trial in a simulated app store: each serves its own users and learns from them every night. "
    "Whose users acquire more of what they are shown?",
)
control = found["run"]["control"]


def whole_report() -> str:
    """The page that `storelift report --html` writes, made when it is asked for."""
    from dashboard import report_html

    return report_html.render(run, found)


checks = words.health(run, found)

st.html(markup.health(checks))
verdict = words.verdict(run, found)
st.html(markup.verdict(verdict, words.trust(checks)))

with st.container(horizontal=True):
    for tile in glance.tiles(run, found):
        st.metric(
            tile.name,
            tile.value,
            tile.beside,
            delta_color="off",
            delta_arrow="off",
            chart_data=list(tile.days) or None,
            border=True,
            height="stretch",
            help=tile.meaning,
        )

with st.container(horizontal=True, vertical_alignment="bottom"):
    shell.heading("Scorecard")
    st.space("stretch")
    cuped = st.toggle(
        "Adjust for the pre-period (CUPED)",
        key="cuped",
        bind="query-params",
        help="Takes out what users did before the experiment: the same effect, a narrower interval.",
    )
st.html(
    scorecard.whole(
        card_rows.blocks(run, found, cuped=cuped), inks(list(found["arms"])), control, level(found["run"])
    )
)

note = power_note(found)
if note and note not in verdict.note:
    st.caption(note)

shell.heading(
    "Beside the paper",
    "Cheng et al. 2016, Table 1. Another store, other users: directions compare, not digits.",
)
st.html(paper.beside(found))

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
    st.download_button(
        "Report",
        whole_report,
        f"{run.name}.html",
        "text/html",
        icon=":material/download:",
        on_click="ignore",
        help="Verdict, scorecard and figures in one page that needs no network, at the level chosen here.",
    )
