import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dashboard import knobs, launch
from dashboard.launch import Order
from experiment.errors import BadInput
from experiment.folder.journal import LOCK
from experiment.loading import load


def test_the_arguments_are_those_of_the_command_line(tmp_path):
    order = Order("tiny", 7, ("wide", "deep"), ("world.drift=0.05",), "mine")
    assert order.arguments(tmp_path / "mine") == [
        *("run", "--preset", "tiny", "--seed", "7", "--out", str(tmp_path / "mine"), "--quiet"),
        *("--arms", "wide,deep", "--set", "world.drift=0.05"),
    ]
    assert order.config() == load("tiny", ["world.drift=0.05"], seed=7, arms="wide,deep")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Order("tine"), "preset: got 'tine', allowed: quick"),
        (Order("tiny", settings=("world.drift=2",)), "world.drift: got 2, allowed: a number"),
        (Order("tiny", settings=("world.drif=0.1",)), "world.drif: got an unknown key"),
        (Order("tiny", arms=("wide", "nope")), "arms: got 'nope'"),
        (Order("tiny", settings=("world.apps=200", "world.turnover=0.9")), "world.apps: got 200, of which "),
        (
            Order("tiny", settings=("arms.deep.settings.deep.device=cuda:99",)),
            "arms.deep.settings.deep.device: got 'cuda:99'",
        ),
        (Order("tiny", settings=("nonsense",)), "set: got 'nonsense', allowed: path=value"),
    ],
)
def test_bad_settings_are_refused_in_the_words_of_the_command_line(order, message, tmp_path):
    with pytest.raises(BadInput) as error:
        launch.start(order, tmp_path)
    assert str(error.value).startswith(message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/b", ".hidden", "x" * 101, "a b", "<b>", "a\nb"])
def test_names_cannot_lead_out_of_the_folder(tmp_path, name):
    with pytest.raises(BadInput, match="name: got "):
        Order("tiny", name=name).folder(tmp_path)


def test_a_taken_name_is_refused(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(BadInput, match="taken"):
        Order("tiny", name="taken").folder(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="taken"):
        Order("tiny", name="dangling").folder(tmp_path)


def test_the_process_outlives_its_parent_and_says_why_it_failed(tmp_path, monkeypatch):
    seen = {}
    true = subprocess.Popen

    def popen(command, **options):
        seen.update(command=command, **options)
        return true([sys.executable, "-c", "import sys; sys.exit('no disk')"], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    launched = launch.start(Order("tiny", name="x"), tmp_path)
    while launched.code is None:
        time.sleep(0.01)
    assert seen["start_new_session"] is True
    assert seen["command"][1:3] == ["-m", "experiment.cli"]
    assert launched.code == 1
    assert launched.last_words() == "no disk"
    assert launch.started_here("x") is launched
    assert launch.starting(tmp_path) == [launched]
    assert not launched.said.exists()


def test_a_killed_run_is_reaped_though_nobody_asks_after_it(tmp_path, monkeypatch):
    true = subprocess.Popen
    code = "import time; print('so far', flush=True); time.sleep(60)"
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **options: true([sys.executable, "-c", code], **options)
    )
    launched = launch.start(Order("tiny", name="killed"), tmp_path)
    while not launched.last_words():
        time.sleep(0.01)
    launched.process.kill()
    os.waitid(os.P_PID, launched.process.pid, os.WEXITED | os.WNOWAIT)
    while launched.process.returncode is None:
        launch.reap()
    assert not Path(f"/proc/{launched.process.pid}").exists()
    assert not launched.said.exists()
    assert launched.last_words() == "so far"


@pytest.mark.parametrize("ignoring", [False, True])
def test_stop_interrupts_the_holder_of_the_lock(maker, ignoring):
    path = maker.run(finished=1, requests=False)
    lines = [
        "import signal, time",
        "from pathlib import Path",
        "from experiment.folder import lock",
        "signal.signal(signal.SIGTERM, signal.default_int_handler)",
        "signal.signal(signal.SIGINT, signal.SIG_IGN)" if ignoring else "",
        f"with lock.locked(Path({str(path / LOCK)!r})):",
        "  print(1, flush=True)",
        "  time.sleep(60)",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.readline()
    assert launch.stop(path)
    assert process.wait(20) != 0
    process.stdout.close()
    assert not launch.stop(path)


def test_no_other_hosts_process_is_touched(maker):
    import json

    path = maker.run(finished=1, requests=False)
    (path / LOCK).write_text(json.dumps({"pid": 1, "host": "elsewhere", "began": 0}))
    assert not launch.stop(path)


@pytest.mark.parametrize("preset", list(knobs.PRESETS))
def test_every_knob_is_a_setting_of_every_preset(preset):
    shape = knobs.of_preset(preset)
    for knob in knobs.KNOBS:
        value = shape.value(knob.path)
        assert isinstance(value, int | float)
        load(preset, [f"{knob.path}={value}"])
        assert float(knob.fitted(value).format % value) == value
        assert knob.fitted(value).step <= value or value == 0 or knob.fitted(value) is knob
        assert knob.meaning.endswith(".")


def test_a_process_that_is_gone_ignores_no_interrupt():
    assert not launch._ignores_interrupts(1 << 30)
