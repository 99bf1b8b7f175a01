"""What was logged, with the truth beside it; questions in SQL."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import diaries, explaining, markup, requests_shown, shell, sql
from experiment import webpage
from experiment.errors import BadInput
from experiment.words import arm_name, big

run = shell.opened(
    "Data", "What was observed, and beside it what only the simulator knows. No model reads the truth."
)
served = diaries.log_days(run)
if not served:
    st.html(markup.empty("No log yet", "The log is read day by day; no day is finished."))
    st.stop()

tables = sql.schema(run)
with st.container(horizontal=True):
    for name, rows in sql.sizes(run).items():
        st.metric(name, f"{big(rows)} rows", border=True, help=sql.TABLES[name])

shell.heading(
    "A request", "What a user was shown, what the arm thought of it, what they took, and what was true."
)

explained = explaining.known(run)
begin = explained[0] if explained else (None, None, None)
arms = sorted(dict.fromkeys(a for a, _ in served), key=lambda a: (a != begin[0], a == "production"))
with st.container(horizontal=True):
    arm = st.selectbox("Arm", arms, format_func=arm_name, key="arm", bind="query-params", width=200)
    own = sorted({day for name, day in served if name == arm}, key=lambda day: (day != begin[1], -day))
    day = st.selectbox("Day", own, key="day", bind="query-params", width=120)
    listed = requests_shown.listed(run, arm, day)
    taken = [row["request"] for row in sorted(listed, key=lambda row: -row["acquired"])]
    first = [request for who, when, request in explained if (who, when) == (arm, day)]
    number = st.selectbox(
        "Request",
        list(dict.fromkeys([*first, *taken])),
        key="request",
        bind="query-params",
        width=240,
        help="Explained ones first, then the first of the day, most acquired on top.",
    )
one = requests_shown.request(run, arm, day, str(number)) if number else None
if one is None:
    st.html(markup.empty("Nothing served", "This arm served nobody on this day."))
else:
    facts = " · ".join(f"{name.replace('_', ' ')} {value}" for name, value in one.facts.items())
    st.caption(f"{facts} · {len(one.installed)} apps installed · served by {one.model}")
    st.dataframe(
        one.shown,
        hide_index=True,
        height="content",
        column_config={
            "score": st.column_config.NumberColumn(
                "score", format="%.2f", help="Log odds of the serving model."
            ),
            "predicted": st.column_config.ProgressColumn(
                "predicted", format="%.1f%%", min_value=0, max_value=100
            ),
            "acquired": st.column_config.CheckboxColumn("acquired"),
            "true chance": st.column_config.ProgressColumn(
                "true chance", format="%.1f%%", min_value=0, max_value=100
            ),
            "exception": st.column_config.NumberColumn(
                "exception",
                format="%+.2f",
                help="Log odds that installed companions add: what can be memorised.",
            ),
        },
    )
    found = explaining.of_request(run, one.number)
    if found is None:
        command = f"storelift explain {shlex.quote(str(run.path))} --request {one.number}"
        st.html(
            markup.empty(
                "Why these scores?",
                "Each arm's ranking of these candidates, feature by feature, is computed by:",
                command,
            )
        )
    else:
        explaining.show(found)

shell.heading(
    "Ask in SQL", f"Read-only, over the finished days; {sql.ROWS:,} rows and {sql.SECONDS:g} s at most."
)
with st.expander("Tables and columns", icon=":material/schema:"):
    for name, columns in tables.items():
        st.markdown(f"**{name}**: {sql.TABLES[name]}")
        st.html(webpage.table(["Column", "Kind"], [[column, kind] for column, kind in columns], text=True))
example = st.selectbox("An example", list(sql.EXAMPLES), key="example", bind="query-params")
query = st.text_area("Query", sql.EXAMPLES[example], height=150, key=f"query-{example}")
if st.button("Run", icon=":material/play_arrow:", key="ask"):
    try:
        st.session_state["answer"] = (run.name, query, sql.ask(run, query))
    except BadInput as error:
        st.session_state.pop("answer", None)
        st.error(str(error), icon=":material/block:")
kept = st.session_state.get("answer")
if kept is not None and kept[:2] == (run.name, query):
    answer = kept[2]
    st.dataframe(answer.records(), hide_index=True)
    st.caption(f"{len(answer.rows):,} rows" + (", more were left out" if answer.cut else ""))
    csv = shell.as_csv(answer.records())
    st.download_button("CSV", csv, "answer.csv", "text/csv", icon=":material/download:", on_click="ignore")

shell.heading("Take it with you")
users = run.path / "metrics" / "users.parquet"
with st.container(horizontal=True):
    if users.is_file():
        st.download_button(
            "Users, Parquet",
            users.read_bytes,
            f"{run.name}-users.parquet",
            "application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
            help="A row per user and day: the input of storelift analyze.",
        )
    for name in ("config.toml", "report.json", "report.md", "events.jsonl"):
        if (run.path / name).is_file():
            st.download_button(
                name,
                (run.path / name).read_bytes(),
                name,
                "text/plain",
                icon=":material/download:",
                on_click="ignore",
            )
