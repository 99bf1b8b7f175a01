"""The window on a folder of runs: `streamlit run dashboard/app.py -- ROOT`; see `storelift dashboard`."""

from __future__ import annotations

import streamlit as st

from dashboard import launch, shell, words
from experiment import webpage
from experiment.words import arm_name

OF_ALL_RUNS = ("Compare", "Start")  # pages that are of no run in particular
OF_NO_LEVEL = ("Latency", "Data", "Memorise, generalise", "Start")  # pages without intervals that change


def pages() -> dict[str, list[st.Page]]:
    """The pages by the sections of the menu."""
    return {
        "Result": [
            st.Page(
                "views/overview.py",
                title="Overview",
                icon=":material/gavel:",
                default=True,
                help="Which ranker won, by how much, how sure, and whether to trust it.",
            ),
            st.Page(
                "views/lift.py",
                title="Lift",
                icon=":material/show_chart:",
                help="The lift over the days, and in parts.",
            ),
            st.Page(
                "views/quality.py",
                title="Quality",
                icon=":material/target:",
                help="AUC, calibration, the gate.",
            ),
            st.Page(
                "views/latency.py", title="Latency", icon=":material/speed:", help="Milliseconds per request."
            ),
            st.Page(
                "views/generalise.py",
                title="Memorise, generalise",
                icon=":material/psychology:",
                url_path="generalise",
                help="Where the rankers differ, and why.",
            ),
        ],
        "Run": [
            st.Page(
                "views/live.py", title="Live", icon=":material/monitor_heart:", help="How the run is doing."
            ),
            st.Page(
                "views/data.py",
                title="Data",
                icon=":material/table_view:",
                help="What was logged, and the truth.",
            ),
        ],
        "All runs": [
            st.Page(
                "views/compare.py",
                title="Compare",
                icon=":material/compare_arrows:",
                help="Runs side by side.",
            ),
            st.Page("views/start.py", title="Start", icon=":material/play_arrow:", help="A new experiment."),
        ],
    }


def sidebar(title: str) -> None:
    """Which run, at which level, against which arm; grey where the page takes no notice of it."""
    of_all, of_no_level = title in OF_ALL_RUNS, title in OF_NO_LEVEL
    names = [run.name for run in shell.runs()]
    watched = next((run for run in shell.runs() if run.name == st.session_state.get("watch")), None)
    if watched is not None and watched.status:  # it was started here, and has said how it is doing
        st.session_state["run"] = st.session_state.pop("watch")
    with st.sidebar:
        if not names:
            st.caption(f"No run in {shell.root()}")
            return
        st.selectbox(
            "Run",
            names,
            index=None,
            placeholder=f"newest: {names[0]}",
            key="run",
            bind="query-params",
            disabled=of_all,
            on_change=_picked,
            help="Newest first. Type to search.",
        )
        st.caption(words.census(shell.runs()))
        st.selectbox(
            "Intervals",
            list(shell.LEVELS),
            key="level",
            bind="query-params",
            disabled=of_no_level,
            help="Coverage of the intervals of the lifts; decisions follow it.",
        )
        run = shell.chosen()
        if run is not None and len(run.arms) > 1:
            control = run.control if run.control in run.arms else run.arms[0]
            st.selectbox(
                "Against",
                [control, *(arm for arm in run.arms if arm != control)],
                key="against",
                format_func=arm_name,
                bind="query-params",
                disabled=of_all or of_no_level,
                help="The arm that the others are compared with.",
            )


def _picked() -> None:
    """Who picks a run no longer waits for one that was started."""
    st.session_state.pop("watch", None)


def main() -> None:
    """One turn of the window."""
    st.set_page_config(
        page_title="Storelift", page_icon=shell.HERE / "icon.svg", layout="wide", initial_sidebar_state=300
    )
    st.logo(shell.HERE / "icon.svg", size="large")
    st.html(webpage.STYLE)
    st.html(shell.HERE / "style.css")
    shell.refresh()
    launch.reap()
    page = st.navigation(pages())
    sidebar(page.title)
    page.run()


if __name__ == "__main__":  # a process that is spawned from the window's imports this file, too
    main()
