"""Where memorising wins and where generalising does: the arms in parts of the traffic, and studies."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import (
    designs,
    figures,
    forests,
    foretold,
    lab_figures,
    markup,
    memories,
    part_figures,
    shell,
    slices,
    studies,
)
from dashboard import results as outcome
from dashboard.figures import Line
from experiment import webpage
from experiment.interference.show import EXPLAINED
from experiment.palette import inks
from experiment.preference import figure as preference
from experiment.preference.command import WORLD
from experiment.preference.phrases import NAMES as SPECTRA
from experiment.preference.phrases import embedding
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
days = (outcome.document(run) or {}).get("days") or []
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
            st.html(markup.empty("Not measured", "The finished days hold no such figures."))

shell.heading(
    "What they remember",
    "The pairs (an app that the user has, an app that is shown) of the largest weights in each arm's model "
    "of the last finished day.",
)
remembering = {arm: memories.strongest(run, arm) for arm in run.arms}
remembering = {arm: found for arm, found in remembering.items() if found[1]}
if remembering:
    for column, (arm, (count, rules)) in zip(
        st.columns(len(remembering), gap="medium"), remembering.items(), strict=True
    ):
        with column:
            st.markdown(f"**{arm_name(arm)}**: {count:,} {'pair' if count == 1 else 'pairs'}")
            st.html(webpage.table(memories.HEAD, memories.rows(rules)))
    st.caption(
        "Weight and true exception are log odds. An exception near 0 beside a large weight: the rule is "
        "stale, or never was one. A dash: the pair was not shown that day, or the truth is not kept."
    )
else:
    st.html(markup.empty("No pairs", "No arm has a wide part with crosses, or the models are not kept."))

found = slices.found(run)
if found is None:
    shell.heading("In parts", "The impressions of each arm, by what could be known of them.")
    shell.missing(
        "Not measured for this run",
        "What each arm showed is counted against the log that it learned from, once, by:",
        run,
        "storelift slices",
    )
else:
    for column, key in zip(st.columns(2, gap="medium"), ("new_pair_share", "found_rules"), strict=True):
        name, form = slices.EXPLORED[key]
        lines = slices.explored(found, key)
        with column:
            if lines:
                figure = lab_figures.measured(lines, ink, y=name)
                figure.update_yaxes(tickformat=form, rangemode="tozero")
                shell.chart(
                    figure,
                    key=f"explored-{key}",
                    alt=f"{name}, on the last day: "
                    + ", ".join(f"{li.label} {li.y[-1] or 0.0:.1%}" for li in lines),
                )
    shell.heading("In parts", "The impressions of each arm, by what the log that it learned from could tell.")
    left, right = st.columns(2, gap="medium")
    cuts: list[str] = list(found["cuts"])
    meanings = {name: str(one["meaning"]) for name, one in found["cuts"].items()}
    names = {name: one.name for name, one in slices.MEASURES.items()}
    with left:
        cut = st.selectbox(
            "Parts",
            cuts,
            index=cuts.index("stale") if "stale" in cuts else 0,
            format_func=meanings.__getitem__,
            key="cut",
            bind="query-params",
        )
    with right:
        key = st.selectbox(
            "Measure",
            list(names),
            index=list(names).index("over"),
            format_func=names.__getitem__,
            key="of-parts",
            bind="query-params",
        )
    shown, lines = slices.MEASURES[key], slices.lines(found, cut, key)
    words = ", ".join(f"{part}: {_highest(lines, at)}" for at, part in enumerate(found["cuts"][cut]["parts"]))
    shell.chart(
        part_figures.parts(lines, ink, y=shown.name, tickformat=shown.tickformat, from_zero=shown.from_zero),
        key=f"slices-{cut}-{key}",
        alt=f"{shown.name}. Highest in {words}",
    )
    st.html(webpage.table(slices.HEAD, slices.rows(found, cut)))
    st.caption(
        "Intervals are clustered by user, exploratory, and not corrected for the number of parts. "
        "Each arm is measured on what it chose to show, so parts compare within an arm first."
    )
    shell.heading(
        "Too much trust", "Predicted less true chance, in percentage points of the acquisition rate."
    )
    st.html(
        webpage.table(
            [
                "Arm",
                "Over-generalisation: no exception, now or then",
                "Over-memorisation: the exception has gone",
            ],
            slices.trust(found),
        )
    )
    st.caption(
        "Over-memorisation is how much more is predicted too high where an exception in favour has gone, "
        "whose pair was in the training log, than where there never was one."
    )

shell.heading(
    "What the log foretold",
    "Off-policy estimates of each arm's lift, from production's explored log of the day before it served.",
)
foretelling = foretold.found(run)
if foretelling is None:
    shell.missing(
        "Not measured for this run",
        "What IPS, SNIPS and DR would have said of each arm before it served, beside the truth:",
        run,
        "storelift offpolicy",
    )
else:
    leaves = foretold.leaves(foretelling)
    shell.chart(
        forests.forest(leaves, ink, x="Lift over the control, that day"),
        key="foretold",
        alt="Off-policy lifts: "
        + ", ".join(f"{arm_name(leaf.arm)} by {leaf.label} {percent(leaf.value)}" for leaf in leaves),
    )
    st.html(webpage.table(foretold.HEAD, foretold.rows(foretelling)))
    st.caption(
        "The tick is the true lift of the same models and requests; filled where the interval holds it."
    )

shell.heading("The world", "How sparse true preferences are, and of what rank.")
world = slices.trusted(run, WORLD)
if world is None:
    shell.missing(
        "Not measured for this run",
        "How much of the true preferences no embedding of small dimension can hold:",
        run,
        "storelift world --run",
    )
else:
    spectra = {name: one for name, one in world["spectra"].items() if one is not None}
    spectrum = preference.figure(world)
    figures.frame(spectrum, x="Dimension", y="Singular value, of the largest", height=340)
    spectrum.update_layout(legend={"orientation": "h"})
    shell.chart(
        spectrum,
        key="spectra",
        alt="Effective ranks: "
        + ", ".join(
            f"{SPECTRA[name]} {one['effective_rank']:,.0f} of {one['size']:,}"
            for name, one in spectra.items()
        ),
    )
    st.caption(
        f"Log odds of {world['users']:,} users and {world['apps']:,} apps, less the means of both. "
        f"An exception holds for {world['sparsity']['pairs_with_exception']:.1%} of these pairs; "
        f"{world['sparsity']['cells_of_r']:.3%} of the cells of R, the exceptions by app shown and app "
        f"installed, are not 0. {embedding(world) or ''} Effective ranks are of the sample: with exceptions "
        "they grow with it."
    )

shell.heading("Studies", "Settings changed on purpose, several seeds each: which ranker wins where.")
known_studies = studies.found(shell.root())
if not known_studies:
    st.html(
        markup.empty(
            "No study here yet",
            "A study sweeps settings over seeds, such as the drift of the exceptions or the catalogue:",
            f"storelift study drift --root {shlex.quote(str(shell.root()))}",
        )
    )
else:
    which = st.selectbox("Study", list(known_studies), key="study", bind="query-params", width=320)
    study = known_studies[which]
    st.markdown(f"**{study.title}**")
    st.caption(f"{study.question} {study.seeds} seeds; {study.done} of {study.cells} cells done.")
    shown_study = studies.drawn(study)
    if shown_study is None:
        st.html(markup.empty("No cell is done yet", "The figure appears as the study goes on."))
    else:
        shell.chart(shown_study[0], key=f"study-{which}", alt=shown_study[1])
    st.caption(study.about)
    for sentence in study.frontiers:
        st.markdown(f"- {sentence}")
    if study.rows:
        st.html(webpage.table([study.knob, "Winner", "Lead", "Ahead in seeds", "Seeds done"], study.rows))

shell.heading(
    "Designs under interference",
    "Rankers that learn from one log teach each other: what each design of the experiment makes of the "
    "effect that either arm would have alone.",
)
compared = designs.found(shell.root())
if not compared:
    st.html(
        markup.empty(
            "No design compared here yet",
            "Worlds of one arm each, beside those of four designs, over seeds:",
            f"storelift interference --root {shlex.quote(str(shell.root()))}",
        )
    )
else:
    chosen = st.selectbox("Comparison", list(compared), key="designs", bind="query-params", width=320)
    shell.chart(compared[chosen].figure, key=f"designs-{chosen}", alt=compared[chosen].takeaway)
    st.html(webpage.table(designs.HEAD, compared[chosen].rows))
    st.caption(f"{compared[chosen].words} {EXPLAINED}")
