"""Load on the real server over loopback: percentiles, a swap every second, twice the capacity.

    .venv/bin/python benchmarks/load_serving.py RUN [--arm wide_deep] [--requests 20000] [--seconds 10]

Works on a copy of RUN, in which it publishes the newest model again and again. Ends by itself. Three parts:

1. capacity: closed loop for SECONDS, one request under way on each connection; rate and percentiles.
2. swaps: REQUESTS the same way while a newer model is published every second. Each answer must be whole, name
   one published model and have that model's scores.
3. overload: requests are due at twice the capacity for SECONDS, whatever becomes of the ones before. Goodput
   is the rate of 200 answers, and everything else must be a 503 with Retry-After. The server's memory is read
   before and after.

The client shares the cores with the server: it sends bytes made before, compares bytes, and says how much of
a core it took (`client_cores`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import selectors
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiment.bench.http import body, percentiles, run_server
from experiment.bench.paper import prepare
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.machine import Clock
from experiment.server.live_model import published_days
from experiment.visitors import Visitors
from models import registry

BODIES = 64
ANSWER_SECONDS = 20.0
POOL = 256
"""Connections of the client that offers twice the capacity."""

SELECT_SECONDS = 0.001
WARM_SECONDS = 2.0


class Connection:
    """One connection with at most one request under way."""

    def __init__(self, address: str, selector: selectors.BaseSelector) -> None:
        host, port = address.split(":")
        self._address, self._selector = (host, int(port)), selector
        self._socket: socket.socket | None = None
        self._answer = b""
        self.number, self.began = 0, 0.0

    def send(self, number: int, request: bytes) -> None:
        """Sends the request of that number. Raises OSError where the server does not take it."""
        self.number, self.began, self._answer = number, time.perf_counter(), b""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, ANSWER_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._socket, selectors.EVENT_READ, self)
        self._socket.sendall(request)

    def receive(self) -> tuple[int, bytes, bytes] | None:
        """Status, head and body of the answer once it is whole. Raises OSError where it ends before."""
        assert self._socket is not None
        part = self._socket.recv(1 << 18)
        if not part:
            raise ConnectionResetError
        answer = self._answer = self._answer + part if self._answer else part
        end = answer.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        head = answer[:end].lower()
        at = head.index(b"content-length:") + 15
        if len(answer) < end + int(head[at : head.index(b"\r", at)]):
            return None
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), head, answer[end:]

    def close(self) -> None:
        """Ends the connection; the next request opens another."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


class Tally:
    """What came of the requests; `expected` are the scores of each body, by app."""

    def __init__(self, expected: list[dict[int, float]]) -> None:
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.milliseconds: list[float] = []
        self.lost, self.wrong, self.without_retry_after, self.unsent = 0, 0, 0, 0
        self._expected, self._right = expected, [b""] * len(expected)

    def note(self, connection: Connection, answer: tuple[int, bytes, bytes]) -> None:
        """Counts one answer, and compares every one that has scores."""
        status, head, text = answer
        self.statuses[status] += 1
        if status == 503:
            self.without_retry_after += b"retry-after:" not in head
        if status != 200:
            return
        self.milliseconds.append((time.perf_counter() - connection.began) * 1e3)
        version, _, rest = text.partition(b",")
        self.versions[version.decode()] += 1
        place = connection.number % len(self._expected)
        if rest != self._right[place]:  # what was found right once is compared as bytes from then on
            document = json.loads(text)
            found = dict(zip(document["apps"], document["scores"], strict=True))
            if found == self._expected[place]:
                self._right[place] = rest
            else:
                self.wrong += 1

    def document(self, seconds: float) -> dict[str, Any]:
        """The counts as plain data."""
        return {
            "requests": self.statuses.total() + self.lost,
            "requests_per_second": round(self.statuses[200] / seconds, 1),
            "statuses": {str(k): v for k, v in sorted(self.statuses.items())},
            "model_versions": len(self.versions),
            "lost": self.lost,
            "unsent": self.unsent,
            "wrong": self.wrong,
            "without_retry_after": self.without_retry_after,
            **(percentiles(self.milliseconds) if self.milliseconds else {}),
        }


def load(
    address: str,
    sent: list[bytes],
    tally: Tally,
    *,
    requests: float = math.inf,
    seconds: float = math.inf,
    rate: float = math.inf,
    connections: int = POOL,
) -> float:
    """Sends requests and counts their answers; the seconds that it took.

    Args:
        address: of the server. sent: requests as bytes, taken by turns. tally: is told of each answer.
        requests, seconds: when to end, whichever comes first.
        rate: requests due per second whatever becomes of the others; a due one that finds no free connection
            is not sent. Without a rate each free connection sends at once.
        connections: of the client, one request under way on each.
    """
    began, number = time.perf_counter(), 0
    with selectors.DefaultSelector() as selector:
        free = [Connection(address, selector) for _ in range(connections)]
        under_way: set[Connection] = set()

        def lose(connection: Connection) -> None:
            tally.lost += 1
            under_way.discard(connection)
            connection.close()
            free.append(connection)

        while True:
            now = time.perf_counter() - began
            ended = number >= requests or now >= seconds
            due = 0 if ended else min(requests, now * rate if math.isfinite(rate) else number + len(free))
            while number < due:
                if free:
                    connection = free.pop()
                    under_way.add(connection)
                    try:
                        connection.send(number, sent[number % len(sent)])
                    except OSError:
                        lose(connection)
                else:
                    tally.unsent += 1
                number += 1
            if ended and not under_way:
                break
            for key, _ in selector.select(SELECT_SECONDS):
                connection = key.data
                try:
                    answer = connection.receive()
                except OSError:
                    lose(connection)
                    continue
                if answer is not None:
                    under_way.discard(connection)
                    free.append(connection)
                    tally.note(connection, answer)
            late = time.perf_counter() - ANSWER_SECONDS
            for connection in [one for one in under_way if one.began < late]:
                lose(connection)
        took = time.perf_counter() - began
        for connection in free:
            connection.close()
    return took


@contextlib.contextmanager
def publishing(copy: Path, arm: str, every: float) -> Iterator[list[int]]:
    """Publishes the newest model again under the next day, every so many seconds; the list is how often."""
    stop, count = threading.Event(), [0]

    def work() -> None:
        while not stop.wait(every):
            publish_again(copy, arm)
            count[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


def publish_again(copy: Path, arm: str) -> None:
    """The newest model as that of the day after."""
    folder = RunFolder.open(copy)
    day = published_days(folder.manifest, arm)[-1]
    source = RunPaths(copy).model(arm, day)
    with folder.locked(), folder.new_folder(RunPaths(copy).model(arm, day + 1)) as target:
        for file in source.iterdir():
            shutil.copy(file, target / file.name)
    folder.finish_day(folder.manifest.finished_day or 0)


@contextlib.contextmanager
def copy_of(run: Path) -> Iterator[Path]:
    """A copy of what a server reads of a run."""
    with tempfile.TemporaryDirectory(prefix="storelift-load-") as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("log", "truth", "checkpoints", "*.lock"))
        yield copy


def memory(address: str) -> float:
    """MiB of the process that listens at `address`."""
    port = f"{int(address.split(':')[1]):04X}"
    sockets = Path("/proc/net/tcp").read_text().splitlines()[1:]
    inode = next(s.split()[9] for s in sockets if s.split()[1].endswith(f":{port}") and s.split()[3] == "0A")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(fd.readlink()) == f"socket:[{inode}]" for fd in (process / "fd").iterdir()):
                pages = int((process / "statm").read_text().split()[1])
                return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return float("nan")


def measure(run: Path, arm: str, requests: int, seconds: float, connections: int) -> dict[str, Any]:
    """All three parts."""
    prepare()  # products round alike only with equally many threads
    folder = RunFolder.open(run)
    visitors = Visitors(folder)
    day = published_days(folder.manifest, arm)[-1]
    ranker = registry.load_published(RunPaths(run).model(arm, day), visitors.world.apps)
    some = visitors.some(BODIES)
    bodies = [body(some, row) for row in range(len(some))]
    scores = ranker.score(some)
    expected = [
        dict(zip(a.tolist(), s.tolist(), strict=True)) for a, s in zip(some.apps, scores, strict=True)
    ]
    sent = [b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(b), b) for b in bodies]
    document: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    with copy_of(run) as copy, run_server(copy, arm, "--poll", 0.2) as address:
        load(address, sent, Tally(expected), requests=500, connections=connections)  # to warm up
        tally, clock = Tally(expected), Clock()
        took = load(address, sent, tally, seconds=seconds, connections=connections)
        document["capacity"] = {**tally.document(took), "client_cores": round(clock.cpu() / took, 3)}
        tally = Tally(expected)
        with publishing(copy, arm, 1.0) as published:
            took = load(address, sent, tally, requests=requests, connections=connections)
        document["swaps"] = {**tally.document(took), "published": published[0]}
        twice = 2 * document["capacity"]["requests_per_second"]
        load(address, sent, Tally(expected), seconds=WARM_SECONDS, rate=twice)  # its memory is not growth
        before, tally, clock = memory(address), Tally(expected), Clock()
        took = load(address, sent, tally, seconds=seconds, rate=twice)
        document["overload"] = {
            **tally.document(took),
            "client_cores": round(clock.cpu() / took, 3),
            "offered_per_second": round(twice, 1),
            "goodput_ratio": round(2 * tally.statuses[200] / took / twice, 3),
            "memory_before_mib": round(before, 1),
            "memory_after_mib": round(memory(address), 1),
        }
    document["load_after"] = os.getloadavg()[0]
    return document


def main() -> int:
    """Prints the figures; 1 if an answer was lost or wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--arm", default="wide_deep")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=8)
    given = parser.parse_args()
    found = measure(given.run, given.arm, given.requests, given.seconds, given.connections)
    print(json.dumps(found, indent=2))
    parts = (found["capacity"], found["swaps"], found["overload"])
    return int(any(part["lost"] or part["wrong"] or part["without_retry_after"] for part in parts))


if __name__ == "__main__":
    sys.exit(main())
