"""How a run is doing: what it does now, how fast, how long still, and how the lift comes out."""

from __future__ import annotations

import time
from datetime import datetime

import streamlit as st

from dashboard import figures, launch, markup, reading, series, shell, story, words
from dashboard import results as outcome
from dashboard.figures import Line
from dashboard.reading import Run
from experiment import webpage
from experiment.palette import inks
from experiment.reporting.text import level
from experiment.words import arm_name, big, duration, interval, percent

EVENTS = 20  # shown of the last ones

PHASES = {
    "starting": "build the world",
    "serving": "serve and log",
    "training": "train, pass the gate",
    "analysing": "analyse",
    "done": "done",
}
SAME = {"foreseeing": "analysing"}  # phases that are shown as another


def started(waiting: launch.Launched) -> bool:
    """Whether the run has said how it is doing."""
    return bool(reading.read(waiting.folder).status)


def wait_for(waiting: launch.Launched) -> None:
    """The page until the run folder is there."""
    st.title("Live", anchor=False)

    @st.fragment(run_every="1s")
    def until_there() -> None:
        """Looks for the run folder."""
        ended = waiting.code is not None  # asked first: until then it may still begin
        if started(waiting):
            st.rerun()
        if ended:
            st.session_state.pop("watch", None)  # said here, once: the next turn shows the chosen run
            title = f"{waiting.folder.name} did not start"
            st.html(markup.empty(title, waiting.last_words() or "It said nothing.", bad=True))
            return
        st.html(
            markup.empty(f"Starting {waiting.folder.name}", "It is loading; its folder appears in seconds.")
        )
        st.progress(0.0)

    until_there()


watched = launch.started_here(str(st.session_state.get("watch", "")))
if watched is not None and not started(watched):
    wait_for(watched)
    st.stop()

run = shell.opened("Live", "")
path = run.path


def head(now: Run) -> None:
    """Phase, speed and time left."""
    status = now.status
    phase = str(status.get("phase", "starting"))
    phase = SAME.get(phase, phase)
    marks = "".join(
        f'<span class="{"now" if name == phase and now.state == "running" else ""}">{words_}</span>'
        for name, words_ in PHASES.items()
        if name != "done"
    )
    st.html(f'<div class="phases sl" aria-label="Phases of a day">{marks}</div>')
    share = min(1.0, max(0.0, float(status.get("share") or 0.0)))
    day = status.get("sim_day")
    if now.state != "running" or phase == "analysing":  # the planned last day, if it stopped before
        where = words.day_of(now)
    else:
        where = "pre-period" if not isinstance(day, int) or day < 1 else f"day {day} of {now.days}"
    st.progress(share, f"{share:.0%} · {where}")
    worked = float(status.get("worked_s") or 0.0)
    shown = int(status.get("impressions") or 0)
    left = worked * (1 - share) / share if 0 < share < 1 and now.state == "running" else None
    pace = big(shown / worked) if worked > 0 else "–"
    days = story.speed(reading.events(now))
    pace_of_days = days if len(days) > 1 else None
    with st.container(horizontal=True):
        st.metric("Impressions", big(shown), border=True, height="stretch")
        st.metric("Per second", pace, border=True, height="stretch", chart_data=pace_of_days)
        st.metric("Worked", duration(worked), border=True, height="stretch")
        st.metric("Left, about", duration(left) if left is not None else "–", border=True, height="stretch")
        st.metric("Last heard of", words.ago(now.heartbeat), border=True, height="stretch")
    quiet = time.time() - now.heartbeat if now.heartbeat else 0.0
    if now.state == "running" and quiet > 60:
        st.warning(f"Nothing heard for {duration(quiet)}. A long training, or a process that hangs.")


def happened(now: Run) -> None:
    """The last events, newest first."""
    rows: list[list[str]] = []
    for event in reversed(reading.events(now)):
        at = event.get("wall_s")
        when = f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}" if isinstance(at, int | float) else ""
        line = story.told(event)
        if not rows or rows[-1][1] != line:
            rows.append([when, line])
        if len(rows) == EVENTS:
            break
    if rows:
        st.html(f'<div class="events">{webpage.table(["When", "What"], rows, text=True)}</div>')
    else:
        st.html(markup.empty("No events yet", "They appear here as they happen."))


def lift(now: Run) -> None:
    """The lift of the finished days, by what may be read on any day."""
    found = outcome.document(now, shell.level(), shell.control())
    if found is None:
        st.html(markup.empty("No lift yet", "The first day of the experiment is not finished."))
        return
    pairs = [(c["arm"], c["control"]) for c in outcome.against_control(found)]
    drawn = [
        Line(one.arm, one.days, one.values, one.bands, name=arm_name(one.arm))
        for one in series.lines(now, found, pairs, over="cumulative", scale="relative", kind="always-valid")
    ]
    if not drawn:
        st.html(markup.empty("No lift to draw", "The finished days hold no users' counts."))
        return
    last = "; ".join(f"{line.label} {percent(line.y[-1])}, {interval(line.bands[-1])}" for line in drawn)
    shell.chart(
        figures.lifts(drawn, inks(list(found["arms"])), band=f"always-valid {level(found['run'])} interval"),
        key="live-lift",
        alt=f"Cumulative lift after day {now.day}: {last}",
    )


if run.state == "running":
    with st.container(horizontal=True):
        paused = st.toggle("Pause", key="paused", help="Stops the updates of this page, not the run.")
        st.space("stretch")
        if st.button("Stop the run", icon=":material/stop_circle:", help="As Ctrl-C: it can be resumed."):
            stopped = launch.stop(path)
            st.toast("Asked to stop." if stopped else "Its process is not on this machine, or gone.")

    every = None if paused else "2s"

    @st.fragment(run_every=every)
    def pulse() -> None:
        """What changes by the second."""
        now = reading.read(path)
        head(now)
        if now.state != "running" or now.finished_day != run.finished_day:
            st.rerun()

    @st.fragment(run_every=every)
    def events() -> None:
        """What happened last."""
        happened(reading.read(path))

    pulse()
    shell.heading("Lift so far", "Drawn again when a simulated day is finished; zooming is safe in between.")
    lift(run)
    shell.heading("What happened")
    events()
else:
    head(run)
    if run.state != "done":

        @st.fragment(run_every=None if run.state in ("damaged", "older") else "3s")
        def until_resumed() -> None:
            """Looks whether somebody goes on with the run."""
            if reading.read(path).signature != run.signature:
                st.rerun()

        until_resumed()
    judged = outcome.document(run, shell.level(), shell.control()) if run.report is not None else None
    if judged is not None:
        checks = words.health(run, judged)
        st.html(markup.verdict(words.verdict(run, judged), words.trust(checks)))
        st.page_link("views/overview.py", label="The whole result", icon=":material/gavel:")
    shell.heading("Lift")
    lift(run)
    shell.heading("What happened")
    happened(run)
