"""Milliseconds per request: the serving path of the paper's Table 2."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import latencies, markup, part_figures, reading, shell
from dashboard.latencies import Timing
from experiment import webpage
from experiment.words import DASH, number


def _cell(timing: Timing | None) -> str:
    if timing is None:
        return DASH
    p50, p95, p99 = (number(timing.milliseconds.get(key), 2) for key in latencies.PERCENTILES)
    return f"{p50} ({p95}, {p99})"


run = shell.opened("Latency", "How long the ranking of a request takes. It decides nothing in a run.")

shell.heading(
    "Table 2", "Candidates of a request split into batches on several threads; the paper's figures beside."
)
found = reading.documents(run, "latency/*.json")
measured = [(name, timing) for name, document in found.items() for timing in latencies.timings(document)]
theirs = latencies.PAPER
if not measured:
    rows = [[split, DASH, f"{ms:g} ms"] for split, ms in theirs.items()]
    st.html(webpage.table(["Batch size x threads", "Here", "In the paper"], rows, theirs=(2,)))
    st.html(
        markup.empty(
            "Not measured for this run",
            "Measure the paper's structure and this run's own model, from one thread to four, with:",
            f"storelift bench serving {shlex.quote(str(run.path))}",
        )
    )
    st.stop()

by_engine: dict[str, dict[str, Timing]] = {}
for _, timing in measured:
    by_engine.setdefault(timing.name, {})[timing.split or "a request"] = timing
splits = list(dict.fromkeys(timing.split or "a request" for _, timing in measured))
drawn = {
    name: {split: t.milliseconds["p50_ms"] for split, t in own.items() if "p50_ms" in t.milliseconds}
    for name, own in by_engine.items()
    if "HTTP" not in name
}
beside = {split: ms for split, ms in theirs.items() if split in splits}
shown = st.pills(
    "Drawn",
    list(drawn),
    selection_mode="multi",
    default=[name for name in drawn if name.startswith(latencies.PAPERS)],
)

groups = {name: values for name, values in drawn.items() if name in (shown or drawn)}
fastest = min((ms for values in groups.values() for ms in values.values()), default=None)
if fastest is not None:
    shell.chart(
        part_figures.bars(
            {**groups, **({part_figures.THEIRS: beside} if beside else {})}, y="Milliseconds, p50"
        ),
        key="table-2",
        alt=f"Fastest here: {fastest:.2g} ms at the median; in the paper {min(theirs.values()):g} ms",
    )
rows = [[name, *(_cell(own.get(split)) for split in splits)] for name, own in by_engine.items()]
rows.append([part_figures.THEIRS, *(f"{theirs[split]:g}" if split in theirs else DASH for split in splits)])
st.html(webpage.table(["Milliseconds, p50 (p95, p99)", *splits], rows))
st.caption("Batch size x threads; a request has as many candidates as both together.")
for name, document in found.items():
    line = latencies.machine(document)
    if line:
        st.caption(f"{name}: {line}")
