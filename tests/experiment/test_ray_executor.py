"""The same experiment on Ray, bit for bit, whoever dies meanwhile; and what is said where it cannot be."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiment import executor, ray_environment, running
from experiment.at_hand import at_hand, keep
from experiment.errors import BadInput
from experiment.executor import open_executor, placed
from experiment.loading import load
from experiment.settings import RunSettings
from experiment.worker import ONE_THREAD, WorkerLostError

SMALL = [
    "users.population=20000",
    "experiment.bucket_share=0.01",
    "experiment.days=2",
    "experiment.pre_days=2",
]
NODE = "HOST:PORT of a node of a Ray cluster, or 'auto' on one"
RAY = RunSettings(executor="ray", workers=2)

there = pytest.mark.skipif(
    not executor.ray_is_there(), reason="needs the extra: pip install 'storelift[ray]'"
)


def small(*overrides: str, **options):
    return load("tiny", [*SMALL, *overrides], arms="wide,wide_deep", **options)


def results(folder: Path) -> dict[str, bytes]:
    """All files of a run by name, but for its times; log and truth row by row, whatever the parts."""
    from experiment import plan
    from experiment.daily import day_log, day_truth
    from experiment.folder.rundir import RunFolder

    opened = RunFolder.open(folder)
    assert opened.verify() == []
    found = {}
    for file in sorted((folder / "models").rglob("*")) + sorted((folder / "metrics").rglob("*")):
        if file.is_file():
            found[str(file.relative_to(folder))] = file.read_bytes()
    for day in plan.all_days(opened.config):
        for arm in plan.serving_arms(opened.config, day):
            for rows in (day_log(folder, opened.config, (arm,), day), day_truth(folder, (arm,), day)):
                found[f"{type(rows).__name__} {arm} {day}"] = _bytes(rows)
    report = opened.report()
    del report["run"]["clock"]
    found["report"] = json.dumps(report).encode()
    return found


def _bytes(rows: object) -> bytes:
    parts = []
    for name, values in rows.arrays().items():
        parts.append(name.encode() + (_bytes(values) if hasattr(values, "arrays") else _plain(values)))
    return b"".join(parts)


def _plain(values) -> bytes:
    return repr(values.tolist()).encode() if values.dtype == object else values.tobytes()


def no_litter(folder: Path) -> bool:
    return not list(folder.rglob(".*.tmp"))


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("local") / "run"
    running.run(small(workers=1), folder)
    return results(folder)


# Without Ray


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "ray_is_there", lambda: False)
    message = (
        "run.executor: got 'ray', which is not installed, allowed: 'local', or 'ray' after "
        "pip install 'storelift[ray]'"
    )
    with pytest.raises(BadInput) as refused:
        running.run(load("tiny", executor="ray"), tmp_path / "run")
    assert str(refused.value) == message
    assert not (tmp_path / "run").exists()
    with pytest.raises(BadInput) as refused:
        open_executor(RAY, 3)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "auto"}, "run.address: got 'auto', allowed: one with run.executor = 'ray'"),
        ({"executor": "ray", "address": "ray://head:10001"},
         f"run.address: got 'ray://head:10001', allowed: {NODE}"),
        ({"executor": "ray", "address": "head"},
         f"run.address: got 'head', allowed: {NODE}"),
    ],
)  # fmt: skip
def test_a_wrong_address_is_named(options, message):
    with pytest.raises(BadInput) as refused:
        load("tiny", **options)
    assert str(refused.value) == message
    with pytest.raises(BadInput) as refused:
        placed(RunSettings(), **options)
    assert str(refused.value) == message


def test_where_a_run_goes_on_is_a_new_choice():
    cluster = RunSettings(executor="ray", address="head:6379", workers=8)
    assert placed(cluster) == cluster
    assert placed(cluster, executor="local") == RunSettings(workers=8)
    assert placed(RunSettings(), 3, "ray", "auto") == RunSettings(executor="ray", address="auto", workers=3)
    assert load("tiny", executor="ray", address="a:1").config_hash() == load("tiny").config_hash()


def test_a_url_is_no_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as refused:
        running.run(load("tiny"), "s3://bucket/run")
    assert str(refused.value) == (
        "out: got 's3:/bucket/run', allowed: a folder of a file system, which all workers share; "
        "an object store must be mounted"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_at_hand_is_read_instead_of_the_disk(tmp_path):
    first, second = tmp_path / "arm=a/day=1", tmp_path / "arm=a/day=2"
    second.mkdir(parents=True)
    (second / "x").write_bytes(b"disk")
    keep(second, lambda: {"x": b"memory"})
    with at_hand(second) as files:
        assert (files / "x").read_bytes() == b"memory"
    assert not files.exists()
    with at_hand(first) as files:
        assert files == first
    keep(second, lambda: None)  # lost with the node that had it
    with at_hand(second) as files:
        assert (files / "x").read_bytes() == b"disk"


def test_a_task_done_twice_leaves_what_it_leaves_once(tmp_path):
    """As when a worker is lost after it has written, and before it says so."""
    from experiment import nightly, plan, serving
    from experiment.diary import Diary
    from experiment.folder.rundir import RunFolder
    from experiment.indexing import refit_retrieval

    config = load("tiny", [*SMALL, "users.population=4000"], arms="wide,deep")
    folder = RunFolder.create(tmp_path / "run", config)
    diary = Diary.open(folder)

    def twice(function, task):
        before = function(task)
        files = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
        serving.forget()
        nightly.forget()
        function(task)
        assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == files
        return before

    for day in (-1, 0):
        diary.served(day, [twice(serving.serve_shard, diary.serve_task(s, day)) for s in plan.shards(config)])
        twice(refit_retrieval, diary.retrieval_task(day))
        nights = [diary.learn_task(learner, day) for learner in plan.learners(config, day)]
        diary.learned(day, [twice(nightly.learn, night) for night in nights])
        diary.finish(day)
    assert {path.parent.name for path in diary.published(0)} == {"arm=wide", "arm=deep", "arm=production"}


# With Ray


def by_value() -> None:
    """Has the functions of this file travel with their code: workers cannot import it."""
    ray_environment.prepare(ONE_THREAD)
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def die_once(marker: Path) -> int:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(words: str) -> None:
    raise ValueError(words)


def about_me(_: object) -> tuple[int, str, str | None]:
    return os.getpid(), str(Path.cwd()), os.environ.get("OMP_NUM_THREADS")


def my_place(_: object) -> tuple[str, int]:
    import ray

    return ray.get_runtime_context().get_node_id(), os.getpid()


@there
@pytest.mark.slow
def test_slots_keep_their_worker_and_lost_workers_are_replaced(tmp_path):
    by_value()
    told: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with open_executor(RAY, 5, tmp_path) as pool:
        assert pool.workers == 2
        assert signal.getsignal(signal.SIGTERM) is before
        pids = children(os.getpid())
        heard = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
        once = pool.map(about_me, list(range(5)), [0, 1, 2, 3, 4])
        assert [pid for pid, *_ in once] == [once[0][0], once[1][0]] * 2 + [once[0][0]]
        assert {(folder, threads) for _, folder, threads in once} == {(str(Path.cwd()), "1")}
        with pytest.raises(ValueError, match=r"^no such app$"):
            pool.map(refuse, ["no such app"], [0])
        (heir,) = pool.map(die_once, [tmp_path / "marker"], [0], told.append)
        assert heir != once[0][0]
        assert told == [heir]
        with pytest.raises(WorkerLostError, match=r"a worker ended in the middle of a task \(killed, or out"):
            pool.map(die, [0], [1])
    assert list(tmp_path.iterdir()) == [tmp_path / "marker"]
    ours = [line.split()[3] for line in heard.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    assert len(ours) >= 4
    assert [host for host in ours if "127.0.0.1" not in host] == []  # nobody else is listened to


def children(pid: int) -> set[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(map(int, line.split()) for line in listed.splitlines())
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.fixture(scope="module")
def cluster():
    """A Ray that is there already, of one node."""
    ray_environment.prepare(ONE_THREAD)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@there
@pytest.mark.slow
@pytest.mark.parametrize(("workers", "users"), [(1, 8192), (3, 61)])
def test_a_run_is_the_same_on_any_number_of_workers_and_shards(tmp_path, local, cluster, workers, users):
    config = small(f"run.shard_users={users}", executor="ray", address=cluster.address, workers=workers)
    running.run(config, tmp_path / "run")
    assert results(tmp_path / "run") == local


@there
@pytest.mark.slow
@pytest.mark.parametrize("what", ["serve_shard", "learn"])
def test_a_run_is_the_same_after_a_worker_was_killed(tmp_path, local, cluster, monkeypatch, what):
    from experiment import loop

    by_value()
    marker = tmp_path / "marker"
    real = getattr(loop, what)

    def killed_once(task):
        if task.day == 1 and not marker.exists():
            marker.touch()
            real(task)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(task)

    monkeypatch.setattr(loop, what, killed_once)
    config = small("run.shard_users=100", executor="ray", address=cluster.address, workers=2)
    running.run(config, tmp_path / "run")
    assert marker.exists()
    assert results(tmp_path / "run") == local
    assert no_litter(tmp_path / "run")


@there
@pytest.mark.slow
def test_a_run_is_the_same_after_a_node_was_lost(tmp_path, local, cluster, monkeypatch):
    """A second node on the same machine, on which some of the actors are, dies in the middle of day 1."""
    from experiment import loop

    by_value()
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    night = loop.learn_overnight

    def places(workers):
        return workers.map(my_place, list(range(workers.workers)), list(range(workers.workers)))

    def without_a_node(diary, workers, day, progress):
        if day == 1:
            lost = [pid for node, pid in places(workers) if node == other.node_id]
            assert 0 < len(lost) < workers.workers
            cluster.remove_node(other, allow_graceful=False)
            for pid in lost:
                os.kill(pid, signal.SIGKILL)  # else they outlive their node for a while
        night(diary, workers, day, progress)
        if day == 1:
            assert len({node for node, _ in places(workers)}) == 1

    monkeypatch.setattr(loop, "learn_overnight", without_a_node)
    config = small("run.shard_users=100", executor="ray", address=cluster.address, workers=4)
    running.run(config, tmp_path / "run")
    assert results(tmp_path / "run") == local


@there
@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_run_goes_on_elsewhere(tmp_path, local):
    folder = tmp_path / "run"
    options = [
        "--preset",
        "tiny",
        *(f"--set={one}" for one in SMALL),
        "--arms=wide,wide_deep",
        "--out",
        str(folder),
    ]
    command = [sys.executable, "-m", "experiment.cli", "run", *options, "--executor", "ray", "--workers", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    try:
        wait_for(lambda: (folder / "metrics/days/day=0.json").exists() or process.poll() is not None, 300)
        family = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-2:] == [
        "storelift: interrupted",
        f"Finished days are kept. Go on with: storelift resume {folder}",
    ]
    assert [line for line in err.splitlines()[:-2] if not line.startswith(("pre-period", "day"))] == []
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), 30)
    running.resume(folder, executor="local", workers=1)
    assert results(folder) == local


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@there
@pytest.mark.slow
def test_a_folder_that_a_worker_does_not_see_is_refused(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(Path, "touch", lambda self: None)  # so that there is nothing to be seen
    with pytest.raises(BadInput) as refused:
        running.run(small(executor="ray", address=cluster.address, workers=1), tmp_path / "run")
    assert str(refused.value) == (
        f"out: got {tmp_path / 'run'}, which the workers on {socket.gethostname()} do not see, "
        "allowed: a folder that all nodes share under one path"
    )


@there
def test_an_address_where_nobody_answers_is_named(monkeypatch):
    ray_environment.prepare(ONE_THREAD)
    with pytest.raises(BadInput) as refused:
        open_executor(RunSettings(executor="ray", address="127.0.0.1:1"), 2)
    assert str(refused.value) == (
        "run.address: got '127.0.0.1:1', allowed: a node of a Ray cluster that answers "
        "([Errno 111] Connection refused)"
    )
