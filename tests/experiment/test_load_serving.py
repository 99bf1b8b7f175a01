"""The load's client: what is lost, wrong or refused is counted as that, against a server of four answers."""

import importlib.util
import itertools
import json
import math
import socketserver
import threading
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "load_serving.py"
RIGHT = json.dumps({"model_version": "deep/1", "apps": [3, 2], "scores": [0.5, -1.0]}, separators=(",", ":"))


@pytest.fixture(scope="module")
def load_serving():
    found = importlib.util.spec_from_file_location("benchmark_load_serving", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def serve():
    """Starts a server that gives the answers by turns, each in two pieces; None hangs up."""
    servers = []

    def start(*answers):
        turns = itertools.cycle(answers)

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while self.rfile.readline():
                    while self.rfile.readline() != b"\r\n":
                        pass
                    self.rfile.read(2)
                    answer = next(turns)
                    if answer is None:
                        return
                    status, head, body = answer
                    self.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(body)))
                    self.wfile.write(head + b"\r\n" + body)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


SENT = [b"POST /rank HTTP/1.1\r\nHost: x\r\n\r\n{}"]


def test_every_request_is_counted_once(load_serving, serve):
    wrong = RIGHT.replace("0.5", "0.25").encode()
    address = serve(
        (200, b"", RIGHT.encode()),
        (200, b"", wrong),
        (503, b"Retry-After: 1\r\n", b"{}"),
        (503, b"Connection: close\r\n", b"{}"),
        None,
    )
    tally = load_serving.Tally([{3: 0.5, 2: -1.0}])
    load_serving.load(address, SENT, tally, requests=20, connections=1)
    document = tally.document(1.0)
    assert document["requests"] == 20
    assert document["statuses"] == {"200": 8, "503": 8}
    assert (document["lost"], document["wrong"], document["without_retry_after"]) == (4, 4, 4)
    assert document["model_versions"] == 1


def test_what_finds_no_connection_is_not_sent(load_serving, serve):
    address = serve((200, b"", RIGHT.encode()))
    tally = load_serving.Tally([{3: 0.5, 2: -1.0}])
    load_serving.load(address, SENT, tally, requests=50, rate=math.nextafter(math.inf, 0), connections=2)
    document = tally.document(1.0)
    assert document["requests"] + document["unsent"] == 50
    assert document["statuses"] == {"200": 2}
    assert document["wrong"] == 0
