"""A new experiment: what is tried, in which store, for how long."""

from __future__ import annotations

import shlex
from typing import Any

import streamlit as st

from dashboard import knobs, launch, markup, shell
from experiment.errors import BadInput
from experiment.loading import presets
from experiment.rankers import KINDS
from experiment.words import arm_name

st.title("Start an experiment", anchor=False)
st.caption("It runs as a process of its own: closing this page does not stop it.")

for one in launch.starting(shell.root()):
    if one.code not in (None, 0):
        st.html(
            markup.empty(f"{one.folder.name} did not start", one.last_words() or "It said nothing.", bad=True)
        )

left, right = st.columns(2, gap="large")
with left:
    names = presets()
    order = [name for name in knobs.PRESETS if name in names] + [n for n in names if n not in knobs.PRESETS]
    preset = st.radio(
        "Size",
        order,
        captions=[knobs.PRESETS.get(name, "") for name in order],
        index=order.index("tiny") if "tiny" in order else 0,
        key="start-preset",
    )
    shape = knobs.of_preset(preset)
with right:
    arms = st.multiselect(
        "Arms",
        list(dict.fromkeys([*shape.arms, *KINDS])),
        default=list(shape.arms),
        format_func=arm_name,
        key=f"start-arms-{preset}",
        help="The rankers on trial; the first known one is the control unless the preset says otherwise.",
    )
    days = st.number_input(
        "Days of the experiment", 1, 365, int(shape.value("experiment.days")), 1, key=f"start-days-{preset}"
    )
    seed = st.number_input(
        "Seed",
        0,
        2**53 - 1,
        0,
        1,
        key="start-seed",
        help="Draws the world, the users and every coin. Same seed, same result.",
    )
    name = st.text_input(
        "Name of the run", key="start-name", placeholder="by date and preset", help="The name of its folder."
    )
    stop_early = st.toggle(
        "Stop once every lift is decided",
        key="start-stop",
        help="By the always-valid p-values, which may be read on any day.",
    )

changed: dict[str, Any] = {}
world = st.expander("Change the world: what decides which ranker wins", icon=":material/public:")
columns = world.columns(2, gap="large")
for number, knob in enumerate(knobs.KNOBS):
    with columns[number % 2]:
        default = shape.value(knob.path)
        fitted = knob.fitted(default)
        value = st.number_input(
            knob.name,
            value=default,
            step=fitted.step,
            format=fitted.format,
            key=f"start-{knob.path}-{preset}",
            help=f"{knob.path}. {knob.meaning}",
        )
        st.caption(knob.meaning)
        if value is not None and value != default:
            changed[knob.path] = value
more = world.text_area(
    "Further settings, one per line",
    key="start-more",
    placeholder="experiment.bucket_share=0.02\ngate.auc_margin=0.01",
    height=90,
    help="As for --set on the command line; storelift config schema lists them all.",
)

settings = [f"{path}={value}" for path, value in changed.items()]
if days != shape.value("experiment.days"):
    settings.append(f"experiment.days={days}")
if stop_early:
    settings.append("experiment.stop_when=decided")
settings += [line.strip() for line in more.splitlines() if line.strip()]
chosen = tuple(arms) if list(arms) != list(shape.arms) else ()
wish = launch.Order(preset, int(seed), chosen, tuple(settings), name.strip())

problem = None
try:
    config = wish.config()
    wish.folder(shell.root())
except BadInput as error:
    problem = str(error)
if not arms:
    problem = "arms: got none, allowed: at least one"
if problem is None:
    users = round(config.users.population * sum(config.shares().values()) / len(config.arms))
    st.caption(
        f"{len(config.arms)} arms of about {users:,} users, {config.experiment.days} days after "
        f"{config.experiment.pre_days} of pre-period, {config.world.apps:,} apps."
    )
else:
    st.error(problem, icon=":material/block:")
if st.button("Start", type="primary", icon=":material/play_arrow:", disabled=problem is not None):
    try:
        launched = launch.start(wish, shell.root())
    except (BadInput, OSError) as error:
        st.error(str(error), icon=":material/block:")
    else:
        st.session_state["watch"] = launched.folder.name
        st.switch_page("views/live.py", query_params={})  # none is named: `run` belongs to the sidebar
with st.expander("The same on the command line", icon=":material/terminal:"):
    out = shell.root() / (wish.name or "NAME")
    st.code(
        shlex.join(["storelift", *[word for word in wish.arguments(out) if word != "--quiet"]]),
        language=None,
    )
