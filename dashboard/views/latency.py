"""Milliseconds per request: the serving path of the paper's Table 2."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import lab_figures, latencies, markup, reading, shell
from experiment.words import DASH, number

run = shell.opened("Latency", "How long the ranking of a request takes. It decides nothing in a run.")

shell.heading(
    "Table 2", "Candidates of a request split into batches on several threads; the paper's figures beside."
)
found = reading.documents(run, "latency/*.json")
measured = [(name, timing) for name, document in found.items() for timing in latencies.timings(document)]
theirs = latencies.PAPER
if not measured:
    rows = [[split, DASH, f"{ms:g} ms"] for split, ms in theirs.items()]
    st.html(markup.table(["Batch size x threads", "Here", "In the paper"], rows, theirs=(2,)))
    st.html(
        markup.empty(
            "Not measured for this run",
            "Measure the paper's structure and this run's own model, from one thread to four, with:",
            f"storelift bench serving {shlex.quote(str(run.path))}",
        )
    )
    st.stop()

splits = {timing.split for _, timing in measured if timing.split}
groups: dict[str, dict[str, float]] = {}
for _, timing in measured:
    if timing.split and "p50_ms" in timing.milliseconds:
        name = " · ".join(word.replace("_", " ") for word in timing.where) or "here"
        groups.setdefault(f"{name}, p50", {})[timing.split] = timing.milliseconds["p50_ms"]
if groups:
    groups[lab_figures.THEIRS] = {split: ms for split, ms in theirs.items() if split in splits}
    own = [ms for name, values in groups.items() if name != lab_figures.THEIRS for ms in values.values()]
    fastest = min(own)
    shell.chart(
        lab_figures.bars(groups, y="Milliseconds"),
        key="table-2",
        alt=f"Fastest here: {fastest:.2g} ms at the median; in the paper {min(theirs.values()):g} ms",
    )
rows = [
    [
        timing.label,
        *(number(timing.milliseconds.get(key), 2) for key in latencies.PERCENTILES),
        f"{theirs[timing.split]:g}" if timing.split in theirs else DASH,
    ]
    for _, timing in measured
]
st.html(markup.table(["Milliseconds", "p50", "p95", "p99", "In the paper"], rows, theirs=(4,)))
for name, document in found.items():
    line = latencies.machine(document)
    if line:
        st.caption(f"{name}: {line}")
