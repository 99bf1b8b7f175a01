"""All runs in a table, and those chosen side by side."""

from __future__ import annotations

import streamlit as st

from dashboard import comparing, figures, forests, markup, series, shell, words
from dashboard import results as outcome
from dashboard.figures import Line
from dashboard.forests import Leaf
from experiment import webpage
from experiment.palette import inks
from experiment.reporting.text import level
from experiment.words import arm_name, interval, percent

MOST = 6

st.title("Compare", anchor=False)
runs = shell.runs()
if not runs:
    shell.no_runs()
    st.stop()

states = sorted({run.state for run in runs})
with st.container(horizontal=True, vertical_alignment="bottom"):
    wanted = st.text_input(
        "Search", key="search", bind="query-params", placeholder="name, preset or seed", width=260
    )
    kinds = st.pills("State", states, selection_mode="multi", default=None, key="states")
known = [
    run
    for run in runs
    if (not kinds or run.state in kinds)
    and wanted.lower() in f"{run.name} {run.setting('preset')} seed{run.setting('seed')}".lower()
]
names = {run.name: run for run in runs}
if known:
    table = comparing.overview(known)
    st.dataframe(
        table,
        hide_index=True,
        key="runs-table",
        height="content" if len(table) < 10 else 330,
        column_config={"started": st.column_config.DatetimeColumn("started", format="YYYY-MM-DD HH:mm")},
    )
else:
    st.html(markup.empty("No such run", "Nothing matches the search."))
before = st.session_state.get("compared", st.query_params.get_all("compared"))
chosen = st.multiselect(
    f"Side by side, at most {MOST}",
    list(dict.fromkeys([*(run.name for run in known), *(name for name in before if name in names)])),
    default=[run.name for run in known if comparing.sound(run)][:2],
    max_selections=MOST,
    key="compared",
    bind="query-params",
)

picked = [names[name] for name in chosen]
found = {run.name: outcome.document(run, shell.level()) for run in picked}
usable = {name: document for name, document in found.items() if document is not None}
called = comparing.labels(names, usable)
if len(picked) < 2:
    st.html(markup.empty("Choose two runs or more", "Their settings and results stand side by side here."))
    st.stop()

arms = list(dict.fromkeys(arm for document in usable.values() for arm in document["arms"]))
ink = inks(arms)
shell.heading(
    "Lifts",
    "Each arm against its run's control. Filled: decided; tick: the true lift. Before a run's end the "
    "always-valid intervals are drawn, and decide.",
)
leaves = [
    Leaf(
        f"{called[name]} · {arm_name(c['arm'])}",
        c["arm"],
        c["lift"],
        outcome.readable_ci(c, document),
        sure=words.decisive(c, document) and not words.blocked(names[name], document),
        truth=c.get("true_lift"),
    )
    for arm in arms
    for name, document in usable.items()
    for c in outcome.against_control(document)
    if c["arm"] == arm
]
if leaves:
    best = max(
        (leaf for leaf in leaves if leaf.value is not None), key=lambda leaf: leaf.value or 0.0, default=None
    )
    shell.chart(
        forests.forest(leaves, ink),
        key="compare-forest",
        alt=f"Highest: {best.label}, {percent(best.value)}, {interval(best.ci)}" if best else "No lifts",
    )
else:
    st.html(markup.empty("No results yet", "None of these runs has finished a day of its experiment."))

sound = [usable[run.name] for run in picked if comparing.sound(run) and run.name in usable]
if comparing.same_but_seed(picked) and sound:
    rows = [
        [
            f"{arm_name(s.arm)} against {arm_name(s.control)}",
            str(len(s.lifts)),
            percent(s.mean),
            "–" if s.error is None else f"±{100 * s.error:.1f} pp",
            f"{percent(min(s.lifts))} … {percent(max(s.lifts))}",
        ]
        for s in comparing.over_seeds(sound)
    ]
    out = len(picked) - len(sound)
    stopped = sum(map(outcome.early, sound))
    said = ["These runs differ in their seed only: what is left is the world's and users' luck."]
    said += [f"Left out, as not to be read, or not yet: {out} of {len(picked)}."] if out else []
    said += (
        [f"{stopped} stopped once decided: lifts read then are too large on the average."] if stopped else []
    )
    shell.heading("Over seeds", " ".join(said))
    st.html(webpage.table(["", "Seeds", "Mean lift", "Standard error", "Range"], rows))

shell.heading("What differs", "Settings that are not the same; all others are.")
differing = comparing.differing(picked)
if differing:
    st.html(webpage.table(["Setting", *chosen], differing))
else:
    st.html(markup.empty("No setting differs", "Runs of equal settings and seed give equal results."))

shell.heading("Day by day")
pairs = list(
    dict.fromkeys((c["arm"], c["control"]) for d in usable.values() for c in outcome.against_control(d))
)
if pairs:
    by_name = {f"{arm_name(arm)} against {arm_name(base)}": (arm, base) for arm, base in pairs}
    of_pair = st.segmented_control(
        "Comparison",
        list(by_name),
        default=next(iter(by_name)),
        required=True,
        key="compare-pair",
        bind="query-params",
    )
    pair = by_name[of_pair]
    lines, bands = [], set()
    for run in picked:
        document = usable.get(run.name)
        if document is None:
            continue
        kind = "always-valid" if outcome.early(document) else "fixed"
        bands.add(kind)
        own = series.lines(run, document, [pair], over="cumulative", scale="relative", kind=kind)
        lines += [Line(run.name, one.days, one.values, one.bands, name=called[run.name]) for one in own]
    hues = inks([line.arm for line in lines])
    of = level(next(iter(usable.values()))["run"])
    shell.chart(
        figures.lifts(lines, hues, band=f"{' or '.join(sorted(bands))} {of} interval"),
        key="compare-days",
        alt="On the last day: "
        + ", ".join(f"{line.label} {percent(line.y[-1])}" for line in lines if line.y),
    )
