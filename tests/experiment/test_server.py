"""The model server: answers, mistakes by name, overload, hot swap; once as a process of its own."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
import uvicorn
from typer.testing import CliRunner

from experiment import running
from experiment.bench.http import Fixed, body
from experiment.cli import app
from experiment.errors import BadInput
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.loading import load
from experiment.server import app as server_app
from experiment.server.app import RankServer
from experiment.server.command import listen
from experiment.server.input import RankInput
from experiment.server.live_model import (
    LiveModel,
    Model,
    RefusedError,
    Snapshot,
    Trial,
    Watch,
    published_days,
)
from experiment.server.shedding import _missing, shedding
from models import registry

SMALL = ["world.apps=800", "users.population=20000", "experiment.bucket_share=0.01", "experiment.days=1"]
LENIENT = [
    "gate.calibration_min=0", "gate.calibration_max=100", "gate.auc_margin=0.5", "gate.log_loss_margin=10",
]  # fmt: skip
TRIAL = Trial("fp32", latency_limit=1e4, score_limit=30.0, memory_limit=1000.0)
USER = {"country": 3, "language": 1, "age_band": 2, "gender": 0, "device": 4, "installed": [5, 6]}


class TestClient:
    """Asks an application in this process, from any thread."""

    __test__ = False

    def __init__(self, app):
        self.app = app

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, method, path, **content):
        async def ask():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **content)

        return asyncio.run(ask())

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, **content):
        return self.ask("POST", path, **content)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve") / "run"
    running.run(load("tiny", [*SMALL, *LENIENT, "run.workers=1"], arms="wide,wide_deep"), folder)
    return folder


@pytest.fixture
def run(original, tmp_path):
    """A copy of the run, to publish in."""
    return shutil.copytree(original, tmp_path / "run")


@pytest.fixture(scope="module")
def live(original):
    return LiveModel(original, "wide_deep", TRIAL)


@pytest.fixture(scope="module")
def visitors(live):
    return live.snapshot.visitors


def reader(visitors):
    world = visitors.world
    return RankInput(world.cardinalities, len(world.apps), world.users.installed_capacity, 20_000)


def served(serving, visitors, **options):
    given = {"threads": 2, "batch": 40, "queue": 8, "deadline": 5.0, **options}
    return RankServer(serving, reader(visitors), **given)


@pytest.fixture(scope="module")
def client(live, visitors):
    with served(live, visitors) as server, TestClient(server.app) as client:
        yield client


def publish(run, arm="wide_deep", change=lambda arrays: None):
    """Publishes the newest model again as tomorrow's, its meta and arrays changed."""
    folder = RunFolder.open(run)
    day = published_days(folder.manifest, arm)[-1]
    source = RunPaths(run).model(arm, day)
    with folder.new_folder(RunPaths(run).model(arm, day + 1)) as target:
        for file in source.iterdir():
            shutil.copy(file, target / file.name)
        change(target)
    folder.finish_day(folder.manifest.finished_day)
    os.utime(run / "manifest.json", ns=(time.time_ns(), time.time_ns()))
    return day + 1


def test_a_user_of_the_run_is_ranked_as_the_model_scores_them(client, live, visitors):
    for user in (*visitors._ids[[0, 5, -1]].tolist(), 17):
        request = visitors.request(user)
        scores = live.snapshot.model.ranker.score(request)[0]
        order = np.argsort(-scores, kind="stable")
        answer = client.post("/rank", json={"user_id": user})
        assert answer.status_code == 200
        assert answer.json() == {
            "model_version": "wide_deep/2",
            "apps": request.apps[0, order].tolist(),
            "scores": scores[order].tolist(),
        }


def test_features_give_what_the_id_gives(client, visitors):
    user = int(visitors._ids[3])
    by_id = client.post("/rank", json={"user_id": user, "top": 7}).json()
    by_features = client.post("/rank", content=body(visitors.request(user))).json()
    assert len(by_id["apps"]) == 7
    assert by_features["apps"][:7] == by_id["apps"]
    assert by_features["scores"][:7] == by_id["scores"]


def test_an_id_with_candidates_ranks_those(client):
    answer = client.post("/rank", json={"user_id": 4, "candidates": [9, 3, 700], "hour": 3, "day": 2}).json()
    assert sorted(answer["apps"]) == [3, 9, 700]
    assert answer["scores"] == sorted(answer["scores"], reverse=True)


def test_installed_apps_are_those_at_the_end_of_the_run(original, visitors):
    from experiment import plan
    from experiment.folder.tensors import read_arrays

    config = RunFolder.open(original).config
    for shard in plan.shards(config):
        members = plan.shard_members(config, shard)
        state = read_arrays(RunPaths(original).audience(shard.number, 1))["installed"]
        for row in (0, len(members) - 1):
            assert np.array_equal(visitors.installed(int(members[row]))[0], state[row])
    outside = next(u for u in range(20_000) if u not in set(visitors._ids.tolist()))
    before = visitors.world.initial_installs(visitors.world.profiles(np.array([outside])))
    assert np.array_equal(visitors.installed(outside), before)


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        ({}, "user", "got nothing, allowed: user_id, or user and candidates"),
        ({"user_id": 20_000}, "user_id", "got 20000, allowed: a whole number from 0 to 19,999"),
        ({"user_id": -1}, "user_id", "got -1, allowed: a whole number from 0 to 19,999"),
        ({"user_id": "4"}, "user_id", "got '4', allowed: a whole number from 0 to 19,999"),
        ({"user_id": 4.0}, "user_id", "got 4.0, allowed: a whole number from 0 to 19,999"),
        ({"user_id": 4, "user": USER}, "user_id", "got 4, allowed: one of user and user_id"),
        ({"user": USER}, "candidates", "got nothing, allowed: a list of apps"),
        ({"user": {**USER, "country": 20}, "candidates": [1]}, "user.country",
         "got 20, allowed: a whole number from 0 to 19"),
        ({"user": {k: v for k, v in USER.items() if k != "device"}, "candidates": [1]}, "user.device",
         "got nothing, allowed: a whole number from 0 to 7"),
        ({"user": {**USER, "installed": [1, 800]}, "candidates": [1]}, "user.installed.1",
         "got 800, allowed: input should be less than or equal to 799"),
        ({"user": USER, "candidates": [1, -2]}, "candidates.1",
         "got -2, allowed: input should be greater than or equal to 0"),
        ({"user_id": 4, "hour": 24}, "hour", "got 24, allowed: a whole number from 0 to 23"),
        ({"user_id": 4, "day": -40_000}, "day", "got -40000, allowed: a whole number from -32,767 to 32,767"),
        ({"user_id": 4, "top": 0}, "top", "got 0, allowed: a whole number at least 1"),
        ({"user_id": 4, "candidate": [1]}, "candidate",
         "got an unknown key, allowed: user_id, user, candidates, hour, day, top (did you mean candidates?)"),
        ([], "body", "got [], allowed: input should be an object"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(client, document, field, message):
    answer = client.post("/rank", json=document)
    assert answer.status_code == 422
    assert answer.json() == {"errors": [{"field": field, "message": message}]}


def test_empty_and_overlong_lists(client):
    answer = client.post("/rank", json={"user_id": 1, "candidates": []})
    assert answer.json()["errors"][0]["field"] == "candidates"
    answer = client.post("/rank", json={"user_id": 1, "candidates": [1] * 1001})
    assert answer.json()["errors"][0]["field"] == "candidates"
    answer = client.post("/rank", json={"user": {**USER, "installed": [1] * 99}, "candidates": [1]})
    assert answer.json()["errors"][0]["field"] == "user.installed"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"user_id": NaN}', b"[" * 10_000])
def test_what_is_no_json_is_said_to_be_none(client, text):
    answer = client.post("/rank", content=text)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in ("body", "user_id")


def test_all_mistakes_of_a_body_are_named_at_once(client):
    answer = client.post("/rank", json={"user_id": -1, "hour": 99, "top": 0})
    assert [e["field"] for e in answer.json()["errors"]] == ["user_id", "hour", "top"]


def test_a_long_body_is_refused(client):
    answer = client.post("/rank", content=b" " * (server_app.BODY_BYTES + 1))
    assert answer.status_code == 413
    message = "got more than 65,536 bytes, allowed: at most as many"
    assert answer.json() == {"errors": [{"field": "body", "message": message}]}


def test_other_ways_and_methods(client):
    assert client.get("/rank").status_code == 405
    assert client.get("/nothing").status_code == 404


def test_health_and_model(client, original):
    assert client.get("/health").json() == {"status": "ok", "model_version": "wide_deep/2"}
    found = client.get("/model").json()
    assert (found["version"], found["arm"], found["sim_day"], found["kind"]) == (
        "wide_deep/2", "wide_deep", 2, "wide_deep",
    )  # fmt: skip
    noted = json.loads(RunPaths(original).day_entry(1).read_text())["verdicts"]["wide_deep"]
    assert found["gate"] == noted
    assert found["gate"]["accepted"]
    assert found["dry_run"]["requests"] == 64
    assert found["dry_run"]["memory_mib"] > 0
    assert (found["swaps"], found["refused"]) == (0, {})


def test_metrics_count(live, visitors):
    with served(live, visitors, batch=100) as server, TestClient(server.app) as client:
        for _ in range(3):
            client.post("/rank", json={"user_id": 1})
        client.post("/rank", json={})
        answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    assert 'storelift_requests_total{status="200"} 3' in lines
    assert 'storelift_requests_total{status="422"} 1' in lines
    assert "storelift_request_seconds_count 3" in lines
    assert "storelift_batch_candidates_sum 300.0" in lines
    assert 'storelift_ranked_total{model_version="wide_deep/2"} 3' in lines


class Held:
    """A ranker that waits until it may go on."""

    def __init__(self, value=0.0):
        self.go, self.began, self.value = threading.Event(), threading.Event(), value

    def score(self, requests):
        self.began.set()
        assert self.go.wait(20)
        return np.full(requests.apps.shape, self.value, np.float32)


def fixed(ranker, visitors):
    return Fixed(Snapshot(Model(ranker, "test/1", "test", "fp32", {"version": "test/1"}), visitors))


def test_overload_is_answered_at_once(visitors):
    held = Held()
    with (
        served(fixed(held, visitors), visitors, threads=1, batch=1000, queue=1) as server,
        TestClient(server.app) as client,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(client.post, "/rank", json={"user_id": 1})
        assert held.began.wait(10)
        second = pool.submit(client.post, "/rank", json={"user_id": 2})
        end = time.monotonic() + 10
        while not server.batcher.full and time.monotonic() < end:
            time.sleep(0.01)
        answer = client.post("/rank", json={"user_id": 3})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        held.go.set()
        assert (first.result(10).status_code, second.result(10).status_code) == (200, 200)


def test_a_wait_past_the_deadline_is_overload_too(visitors):
    held = Held()
    options = {"threads": 1, "batch": 1000, "queue": 8}
    with (
        served(fixed(held, visitors), visitors, **options) as server,
        TestClient(server.app) as client,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(client.post, "/rank", json={"user_id": 1})
        assert held.began.wait(10)
        server._deadline = 0.05
        second = pool.submit(client.post, "/rank", json={"user_id": 2})
        end = time.monotonic() + 10
        while server.batcher.waiting < 1 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        held.go.set()
        assert first.result(10).status_code == 200
        assert second.result(10).status_code == 503


def test_a_score_that_is_not_finite_is_no_answer(visitors):
    broken = Held(np.nan)
    broken.go.set()
    with served(fixed(broken, visitors), visitors) as server, TestClient(server.app) as client:
        answer = client.post("/rank", json={"user_id": 1})
    assert answer.status_code == 500
    message = "test/1 gave a score that is not finite"
    assert answer.json() == {"errors": [{"field": "model", "message": message}]}


def test_a_newer_model_takes_over_and_the_old_one_finishes(run):
    live = LiveModel(run, "wide_deep", TRIAL)
    before = live.snapshot
    assert not live.check()
    assert publish(run) == 3
    assert live.check()
    assert live.snapshot.model.version == "wide_deep/3"
    assert before.model.version == "wide_deep/2"
    assert live.snapshot.visitors is before.visitors
    assert (live.swaps, live.refused) == (1, {})
    assert not live.check()
    request = before.visitors.some(3)
    assert np.array_equal(before.model.ranker.score(request), live.snapshot.model.ranker.score(request))


def test_a_damaged_newcomer_does_not_serve(run):
    live = LiveModel(run, "wide_deep", TRIAL)
    publish(run)
    weights = RunPaths(run).model("wide_deep", 3) / "arrays.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")
    with pytest.raises(BadInput, match=r"arrays.safetensors: got other content than was written"):
        live.check()
    assert live.snapshot.model.version == "wide_deep/2"
    weights.write_bytes(whole)
    assert live.check()
    assert live.snapshot.model.version == "wide_deep/3"


def test_a_newcomer_that_fails_its_dry_run_is_refused_and_said_to_be(run, monkeypatch):
    live = LiveModel(run, "wide_deep", TRIAL)
    visitors = live.snapshot.visitors
    publish(run)
    broken = Held(np.inf)
    broken.go.set()
    monkeypatch.setattr(registry, "load_published", lambda *_: broken)
    assert not live.check()
    assert live.snapshot.model.version == "wide_deep/2"
    assert live.snapshot.visitors is visitors
    assert list(live.refused) == ["wide_deep/3"]
    assert live.refused["wide_deep/3"].endswith("scores are not finite")
    monkeypatch.undo()
    publish(run)
    assert live.check()
    with served(live, visitors) as server, TestClient(server.app) as client:
        found = client.get("/model").json()
    assert found["version"] == "wide_deep/4"
    assert list(found["refused"]) == ["wide_deep/3"]


def test_users_move_on_though_the_newest_model_is_refused(run, monkeypatch):
    live = LiveModel(run, "wide_deep", TRIAL)
    before = live.snapshot
    publish(run)
    live._seen = (live._seen[0] - 1, live._seen[1])  # a day has ended since
    broken = Held(np.inf)
    broken.go.set()
    monkeypatch.setattr(registry, "load_published", lambda *_: broken)
    assert not live.check()
    assert live.snapshot.model is before.model
    assert live.snapshot.visitors is not before.visitors


def test_an_answer_that_fails_is_counted(live, visitors, monkeypatch):
    with served(live, visitors) as server:
        monkeypatch.setattr(server.batcher, "submit", lambda *_: 1 / 0)
        with TestClient(server.app) as client:
            with pytest.raises(ZeroDivisionError):
                client.post("/rank", json={"user_id": 1})
            assert 'storelift_requests_total{status="500"} 1' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("head", "missing"),
    [
        (b"content-length: 9", 7),
        (b"Content-Length: 9\r\nExpect: 100-continue", None),
        (b"transfer-encoding: chunked", None),
        (b"content-length: 1", None),
    ],
)
def test_what_a_refused_request_still_sends(head, missing):
    assert _missing(b"POST /rank HTTP/1.1\r\n" + head + b"\r\n\r\n{}") == missing


def test_a_slow_model_is_refused_here_though_not_in_a_run(original):
    slow = Trial("fp32", latency_limit=1e-6, score_limit=30.0, memory_limit=1000.0)
    with pytest.raises(RefusedError, match=r"^dry run: .* ms for one request, allowed are 1e-06$"):
        LiveModel(original, "wide_deep", slow)


def test_the_watch_goes_on_after_what_goes_wrong():
    calls = []

    def check():
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("torn")

    with Watch(check, 0.01):
        end = time.monotonic() + 10
        while len(calls) < 4 and time.monotonic() < end:
            time.sleep(0.01)
    assert len(calls) >= 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arm", "deep"], "arm: got 'deep', allowed: wide, wide_deep or production"),
        (["--arm", "wide", "--precision", "fp16"], "precision: got 'fp16', allowed: 'fp32' or 'bf16'"),
        (["--arm", "wide", "--latency-limit", "0.001"], None),
    ],
)
def test_the_command_line_refuses(original, arguments, message):
    result = CliRunner().invoke(app, ["serve", str(original), *arguments])
    if message is None:
        assert result.exit_code == 1
        assert "ms for one request, allowed are 0.001" in result.stderr
    else:
        assert (result.exit_code, result.stderr) == (2, f"storelift: {message}\n")


def test_a_folder_that_is_no_run_and_a_port_that_is_taken(tmp_path):
    result = CliRunner().invoke(app, ["serve", str(tmp_path), "--arm", "wide"])
    assert result.exit_code == 2
    assert "got no run folder" in result.stderr
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=rf"^port: got 127.0.0.1:{port}, allowed: a free port"):
            listen("127.0.0.1", port)
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@contextlib.contextmanager
def listening(server, full, shed):
    """The server on a socket, on a thread of this process; its port."""
    with listen("127.0.0.1", 0) as listener:
        protocol = shedding(full, 8, shed)
        config = uvicorn.Config(server.app, http=protocol, ws="none", log_level="error")
        uvicorn_server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(uvicorn_server.serve([listener])))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            uvicorn_server.should_exit = True
            thread.join(20)


def test_sheds_at_the_socket_and_keeps_the_connection(live, visitors):
    busy, shed, seen = threading.Event(), [], []
    with served(live, visitors) as server, listening(server, busy.is_set, lambda: shed.append(1)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        text = json.dumps({"user_id": 1}).encode()
        halves = (text[:3], text[3:])
        for full, parts in ((False, halves), (True, (text,)), (True, halves), (False, (text,))):
            busy.set() if full else busy.clear()
            connection.request("POST", "/rank", parts, {"Content-Length": str(len(text))})
            answer = connection.getresponse()
            seen.append((answer.status, answer.headers["retry-after"]))
            answer.read()
        busy.set()
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read())["status"] == "ok"
        connection.close()
    assert seen == [(200, None), (503, "1"), (503, "1"), (200, None)]
    assert len(shed) == 2


def test_too_many_connections_are_told_to_come_again(live, visitors, monkeypatch):
    monkeypatch.setattr("experiment.server.shedding.MOST_CONNECTIONS", 1)
    shed = []
    with served(live, visitors) as server, listening(server, lambda: False, lambda: shed.append(1)) as port:
        first = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        first.request("GET", "/health")
        assert first.getresponse().read()
        assert ask(port, 1)[0] == 503
        first.request("GET", "/health")
        assert first.getresponse().status == 200
        first.close()
    assert len(shed) == 1


def ask(port, user):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/rank", json.dumps({"user_id": user, "top": 3}).encode())
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_process_of_its_own_swaps_and_stops(run, number, code):
    command = [sys.executable, "-m", "experiment.cli", "serve", str(run), "--arm", "wide_deep"]
    command += ["--port", "0", "--poll", "0.05", "--latency-limit", "10000", "--deadline", "20000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("wide_deep/2 (fp32, ")
        port = int(line.rsplit(":", 1)[1])
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(ask, port, user) for user in range(60)]
            publish(run)
            answers = [future.result(30) for future in futures]
            end, version = time.monotonic() + 20, ""
            while version != "wide_deep/3" and time.monotonic() < end:
                version = ask(port, 1)[1]["model_version"]
            last = [pool.submit(ask, port, user) for user in range(8)]
            for future in last:
                assert future.result(30)[0] == 200
        assert version == "wide_deep/3"
        assert {status for status, _ in answers} == {200}
        assert {a["model_version"] for _, a in answers} <= {"wide_deep/2", "wide_deep/3"}
        process.send_signal(number)
        assert process.wait(20) == code
        assert process.stderr.read().splitlines()[:1] == ["serving wide_deep/3"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
