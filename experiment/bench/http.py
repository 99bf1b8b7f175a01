"""Servers in processes of their own, and the client that measures them over loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from experiment.bench.paper import INSTALLED, PaperNet
from experiment.server.input import CONTEXT
from simulator.schema import Array, Requests

START_SECONDS = 120.0
"""How long a server may take to begin."""


@contextlib.contextmanager
def run_server(run: Path, arm: str, *options: object) -> Iterator[str]:
    """`storelift serve` of a run on a free port; its address, `127.0.0.1:port`."""
    with _process("experiment.cli", "serve", run, "--arm", arm, "--port", 0, *options) as address:
        yield address


@contextlib.contextmanager
def paper_server(apps: int, threads: int, batch: int, precision: str = "fp32") -> Iterator[str]:
    """A server of the paper's network, see `main`."""
    with _process("experiment.bench.http", apps, threads, batch, precision) as address:
        yield address


@contextlib.contextmanager
def _process(module: str, *arguments: object) -> Iterator[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(  # noqa: S603 - our own module
        command, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if "http://" not in line:
            raise RuntimeError(f"{module}: got no server but {line.strip()!r} (exit {server.wait(10)})")
        yield urlsplit(line[line.index("http://") :].strip()).netloc
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        assert server.stdout is not None
        server.stdout.close()


def body(requests: Requests, row: int = 0) -> bytes:
    """What `POST /rank` takes for one of `requests`."""
    user: dict[str, Any] = {name: int(getattr(requests, name)[row]) for name in CONTEXT}
    user["installed"] = [int(app) for app in requests.installed[row] if app >= 0]
    document = {"user": user, "hour": int(requests.hour[row]), "day": int(requests.sim_day[row])}
    return json.dumps({**document, "candidates": requests.apps[row].tolist()}).encode()


def latencies(address: str, bodies: Sequence[bytes], requests: int, warm: int = 50) -> list[float]:
    """Milliseconds of `requests` requests one after the other on one connection.

    Raises:
        RuntimeError: for any answer but 200.
    """
    connection, times = http.client.HTTPConnection(address, timeout=30), []
    with contextlib.closing(connection):
        for number in range(-warm, requests):
            started = time.perf_counter()
            connection.request("POST", "/rank", bodies[number % len(bodies)])
            answer = connection.getresponse()
            text = answer.read()
            if number >= 0:
                times.append((time.perf_counter() - started) * 1e3)
            if answer.status != 200:
                raise RuntimeError(f"/rank: got {answer.status} {text[:200]!r}")
    return times


def main(apps: int, threads: int, batch: int, precision: str) -> None:
    """Serves the paper's network over a catalogue of so many apps until told to stop."""
    from experiment.bench.paper import CARDINALITIES, prepare
    from experiment.server.app import RankServer
    from experiment.server.command import listen, serve_until_told
    from experiment.server.input import RankInput
    from experiment.server.live_model import Snapshot, Trial, try_out

    prepare()
    net = PaperNet.draw(apps)
    trial = Trial(precision, latency_limit=1e6, score_limit=1e6, memory_limit=1e6)
    model = try_out(net.publish(), "paper/0", "deep", net.request(200), trial)
    read = RankInput(CARDINALITIES, apps, INSTALLED + 4, None)
    listener = listen("127.0.0.1", 0)
    fixed = Fixed(Snapshot(model, None))
    with RankServer(fixed, read, threads=threads, batch=batch, queue=64, deadline=1.0) as server:
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        serve_until_told(server, listener)


class Fixed:
    """A model that never changes; see `server_app.Serving`."""

    def __init__(self, snapshot: Any) -> None:
        self.snapshot, self.refused, self.swaps = snapshot, dict[str, str](), 0


def percentiles(milliseconds: Sequence[float] | Array) -> dict[str, float]:
    """`p50_ms`, `p95_ms` and `p99_ms`."""
    import numpy as np

    values = np.percentile(np.asarray(milliseconds), [50, 95, 99])
    return {name: round(float(v), 4) for name, v in zip(("p50_ms", "p95_ms", "p99_ms"), values, strict=True)}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
