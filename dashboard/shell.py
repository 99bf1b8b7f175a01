"""What every page stands in: the folder of runs, the chosen run, its header, charts and empty states."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import markup, reading, results
from dashboard.reading import Document, Run
from experiment.folder.rundir import CONFIG

HERE = Path(__file__).parent

CHART = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines"],
    "toImageButtonOptions": {"format": "svg", "filename": "storelift"},
}


LEVELS = {"as planned": None, "90%": 0.10, "95%": 0.05, "99%": 0.01}
"""Choices of the sidebar, and their levels."""


def root() -> Path:
    """The folder of runs that the window was opened on."""
    given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    return Path(given[0] if given else "runs").absolute()


def runs() -> list[Run]:
    """All runs, newest first; read once per turn of a page."""
    key = "_runs"
    if key not in st.session_state:
        st.session_state[key] = reading.runs_in(root())
    found: list[Run] = st.session_state[key]
    return found


def refresh() -> None:
    """Looks at the folder again."""
    st.session_state.pop("_runs", None)


def chosen() -> Run | None:
    """The run that the sidebar names."""
    return reading.chosen(runs(), st.session_state.get("run"))


def opened(title: str, meaning: str) -> Run:
    """The chosen run under the page's title; without one the page ends here, saying how to make one."""
    st.title(title, anchor=False)
    run = chosen()
    if run is None:
        no_runs()
        st.stop()
    st.html(markup.run_bar(run))
    if meaning:
        st.caption(meaning)
    trouble(run)
    if run.state == "running" and title != "Live":
        news(run)
    return run


@st.fragment(run_every="5s")
def news(run: Run) -> None:
    """Says that a running run has moved on; what is read stays as it is until asked for."""
    now = reading.read(run.path)
    if now.state == "running" and now.finished_day == run.finished_day:
        return
    ahead = now.day - run.day
    days = f"{ahead} new {'day' if ahead == 1 else 'days'}" if ahead > 0 else "The run has moved on"
    if now.state != "running":
        days = f"The run is {markup.STATES[now.state][1]}"
    if st.button(f"{days}: reload", icon=":material/refresh:", type="tertiary"):
        st.rerun()


def opened_results(title: str, meaning: str) -> tuple[Run, Document]:
    """The chosen run and its results; without results the page ends here, saying why."""
    run = opened(title, meaning)
    found = results.document(run, level(), control())
    if found is None:
        no_results(run)
        st.stop()
    if not results.as_asked(found, level(), control()):
        st.caption("Level and control cannot be changed for this run: its users' counts are not to be read.")
    return run, found


def level() -> float | None:
    """The level chosen in the sidebar; None for the run's own."""
    return LEVELS.get(str(st.session_state.get("level")))


def control() -> str | None:
    """The control chosen on the page; None for the run's own."""
    found = st.session_state.get("against")
    run = chosen()
    return found if run is not None and found in run.arms and found != run.control else None


def no_runs() -> None:
    """There is no run yet."""
    st.html(
        markup.empty(
            "No run here yet",
            f"Runs are folders below {root()}. Start one on the page 'Start', or in a terminal:",
            f"storelift run --preset tiny --out {shlex.quote(str(root() / 'first'))}",
        )
    )
    st.page_link("views/start.py", label="Start an experiment", icon=":material/play_arrow:")


def no_results(run: Run) -> None:
    """The run has nothing to judge yet."""
    if run.state == "running":
        title, text, command = (
            "Nothing to judge yet",
            "The first day of the experiment is not finished. Follow it on the page 'Live'.",
            None,
        )
    elif run.state in ("damaged", "older"):
        return
    else:
        title = "Nothing to judge"
        text, command = "It ended before the first day of the experiment was finished.", None
    st.html(markup.empty(title, text, command))
    st.page_link("views/live.py", label="Live", icon=":material/monitor_heart:")


def trouble(run: Run) -> None:
    """What is wrong with the run, before anything is shown of it."""
    folder = shlex.quote(str(run.path))
    if run.state == "damaged":
        text = f"{run.message}. What can still be read of it is shown."
        st.html(
            markup.empty(
                "This run folder is not as it was written", text, f"storelift verify {folder}", bad=True
            )
        )
    elif run.state == "older":
        again = f"storelift run --config {shlex.quote(str(run.path / CONFIG))}"
        text = (
            f"{run.message}: its report is shown unchecked, its data are not read. Equal settings and seed, "
            "run again by the same version, give equal results; by this one:"
        )
        st.html(markup.empty("This run is of another version", text, again))
    elif run.state == "failed":
        text = f"{run.message or 'No cause was noted'}. Finished days are kept; it goes on with:"
        st.html(markup.empty("This run failed", text, f"storelift resume {folder}", bad=True))
    elif run.state == "interrupted":
        cause = run.message or "no cause was noted"
        text = f"It was interrupted: {cause}. Finished days are kept; it goes on with:"
        st.html(markup.empty("This run is not finished", text, f"storelift resume {folder}"))


def chart(figure: Any, key: str, alt: str) -> None:
    """A chart with the takeaway for those who do not see it, and its numbers as text."""
    figure.update_layout(uirevision=key)
    st.plotly_chart(figure, key=key, alt=alt, config=CHART)
    with st.popover(
        "Numbers", type="tertiary", key=f"{key}-numbers", icon=":material/table_rows:", on_change="rerun"
    ) as box:
        if box.open:
            rows = numbers(figure)
            st.caption(alt)
            st.dataframe(rows, hide_index=True, height="content" if len(rows) < 9 else 320)
            st.download_button(
                "CSV",
                as_csv(rows),
                f"{key}.csv",
                "text/csv",
                key=f"{key}-csv",
                on_click="ignore",
                icon=":material/download:",
            )


def numbers(figure: Any) -> list[dict[str, Any]]:
    """The points of a figure's named traces as rows, with their intervals; columns are named by the axes."""
    across = _titled(figure.select_xaxes()) or "x"
    along = _titled(figure.select_yaxes()) or ("row" if figure.layout.yaxis.type == "category" else "y")
    quiet = {trace.name: trace for trace in figure.data if trace.hoverinfo == "skip"}
    rows: list[dict[str, Any]] = []
    for trace in figure.data:
        if trace.name is None or trace.x is None or trace.y is None or trace.hoverinfo == "skip":
            continue
        if trace.type == "heatmap":
            rows += _of_map(trace, across, along)
            continue
        ends = _ends(trace, quiet)
        for at, (x, y) in enumerate(zip(trace.x, trace.y, strict=False)):
            low, high = ends.get(at, (None, None))
            rows.append({"series": trace.name, across: x, along: y, "low": low, "high": high})
    if all(row.get("low") is None for row in rows):
        for row in rows:
            row.pop("low", None), row.pop("high", None)
    return rows


def _titled(axes: Iterable[Any]) -> str | None:
    """The title of the first axis that has one: maps below each other share theirs."""
    return next((axis.title.text for axis in axes if axis.title.text), None)


def _of_map(trace: Any, across: str, along: str) -> list[dict[str, Any]]:
    """A row for each cell of a heat map."""
    return [
        {"series": trace.name, across: x, along: y, "value": value, "shown": text.replace("<br>", ", ")}
        for y, values, texts in zip(trace.y, trace.z, trace.text, strict=True)
        for x, value, text in zip(trace.x, values, texts, strict=True)
    ]


def _ends(trace: Any, quiet: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    """The interval at each place of a trace that has one: of its error bars, or of the band behind it."""
    for values, errors in ((trace.y, trace.error_y), (trace.x, getattr(trace, "error_x", None))):
        if errors is not None and errors.array is not None:
            below = errors.array if errors.arrayminus is None else errors.arrayminus
            spans = enumerate(zip(values, below, errors.array, strict=False))
            return {at: (v - down, v + up) for at, (v, down, up) in spans if None not in (v, down, up)}
    lower, upper = quiet.get(f"{trace.name} lower"), quiet.get(f"{trace.name} upper")
    if lower is None or upper is None:
        return {}
    band = dict(zip(lower.x, zip(lower.y, upper.y, strict=True), strict=True))
    return {at: band[x] for at, x in enumerate(trace.x) if x in band}


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV."""
    import csv
    import io

    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def heading(text: str, note: str = "") -> None:
    """A section's heading, with a line under it."""
    st.subheader(text, anchor=False)
    if note:
        st.caption(note)


def missing(title: str, text: str, run: Run, command: str) -> None:
    """What has not been computed for this run, and the command that does."""
    st.html(markup.empty(title, text, f"{command} {shlex.quote(str(run.path))}"))


Page = Callable[[], None]
