"""Where memorising wins and where generalising does: the arms in parts of the traffic, and studies."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import figures, lab_figures, markup, part_figures, shell, slices, studies
from dashboard.figures import Line
from dashboard.palette import inks
from experiment.words import arm_name, number, percent

run = shell.opened(
    "Memorise, generalise",
    "The wide part remembers pairs that it has seen; the deep part guesses from what is alike.",
)
if run.day < 1:
    shell.no_results(run)
    st.stop()
ink = inks(run.arms)


def _highest(lines: list[Line], at: int) -> str:
    known = [line for line in lines if line.y[at] is not None]
    return max(known, key=lambda line: line.y[at] or 0.0).label if known else "unknown"


shell.heading("What each arm shows", "How wide it looks: different apps shown on a day, and how evenly.")
days = (run.report or {}).get("days") or []
left, right = st.columns(2, gap="medium")
for column, key, name in (
    (left, "distinct_apps", "Different apps shown"),
    (right, "entropy", "Entropy of what is shown, bits"),
):
    lines = []
    for arm in run.arms:
        noted = [(day["day"], (day["arms"].get(arm) or {}).get("quality") or {}) for day in days]
        known = [(day, quality[key]) for day, quality in noted if quality.get(key) is not None]
        if known:
            lines.append(Line(arm, [day for day, _ in known], [value for _, value in known]))
    with column:
        if lines:
            shell.chart(
                lab_figures.measured(lines, ink, y=name),
                key=f"shown-{key}",
                alt=f"{name}, on the last day: "
                + ", ".join(f"{li.label} {number(li.y[-1], 1)}" for li in lines),
            )
        else:
            st.html(markup.empty("At the end of the run", "These figures come with its report."))

shell.heading("In parts", "The last day's impressions of each arm, by what could be known of them.")
if not st.toggle(
    "Read the log",
    key="slices",
    bind="query-params",
    help="Reads every impression that the arms learned from: seconds.",
):
    st.html(
        markup.empty(
            "Read on demand", "Counting what each arm has seen reads its whole log: a second or some."
        )
    )
else:
    with st.spinner("Reading the log"):
        found = slices.of_run(run)
    for cut, (meaning, parts) in slices.CUTS.items():
        own = found[cut]
        if not own:
            st.html(markup.empty("No log", "The finished days have no log and truth to read."))
            break
        st.markdown(f"**{meaning}**")
        charts = st.columns(2, gap="medium")
        for place, field, name, form in (
            (0, "auc", "AUC within the part", None),
            (1, "share", "Share of what it shows", ".0%"),
        ):
            lines = []
            for arm in run.arms:
                at = {one.part: getattr(one, field) for one in own if one.arm == arm}
                lines.append(Line(arm, list(parts), [at.get(part) for part in parts]))
            words = ", ".join(f"{part} {_highest(lines, at)}" for at, part in enumerate(parts))
            with charts[place]:
                shell.chart(
                    part_figures.parts(lines, ink, y=name, tickformat=form),
                    key=f"slices-{cut}-{field}",
                    alt=f"{name}. Highest: {words}",
                )
        rows = [
            [
                one.part,
                arm_name(one.arm),
                f"{one.impressions:,}",
                f"{one.share:.1%}",
                f"{one.rate:.2%}",
                f"{one.chance:.2%}",
                f"{one.predicted:.2%}",
                f"{100 * (one.predicted - one.chance):+.2f} pp",
                number(one.auc),
            ]
            for part in parts
            for one in own
            if one.part == part
        ]
        head = [
            "Part",
            "Arm",
            "Impressions",
            "Share",
            "Acquired",
            "True chance",
            "Predicted",
            "Over the truth",
            "AUC",
        ]
        st.html(markup.table(head, rows))
    st.caption(
        "Over the truth: predicted less true chance. Where no exception is and a model predicts too much, "
        "it over-generalises; where an exception has gone and it still trusts it, it over-memorises. Each "
        "arm is measured on what it chose to show, so parts compare within an arm first."
    )

shell.heading("Studies", "One knob of the world turned, several seeds: which ranker wins where.")
known_studies = studies.found(shell.root())
if not known_studies:
    st.html(
        markup.empty(
            "No study here yet",
            "A study sweeps a knob over seeds, such as the drift of the exceptions or the catalogue:",
            f"storelift study drift --root {shlex.quote(str(shell.root()))}",
        )
    )
    st.stop()
which = st.selectbox("Study", list(known_studies), key="study", width=320)
study = known_studies[which]
st.markdown(f"**{study.title}**")
st.caption(f"{study.question} {study.seeds} seeds; {study.done} of {study.cells} cells done.")
if study.lines:
    hues = inks([line.arm for line in study.lines])
    last = ", ".join(f"{line.label} {percent(line.y[-1])}" for line in study.lines)
    shell.chart(
        figures.lifts(study.lines, hues, band="95% interval over seeds", x=study.knob),
        key="study-lines",
        alt=f"Expected lift over {study.knob}. At its last value: {last}",
    )
else:
    st.html(markup.empty("No cell is done yet", "Lines appear as the study goes on."))
for sentence in study.frontiers:
    st.markdown(f"- {sentence}")
if study.rows:
    st.html(markup.table([study.knob, "Winner", "Lead", "Ahead in seeds", "Seeds done"], study.rows))
