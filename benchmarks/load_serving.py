"""Load on the real server over loopback: percentiles, a swap every second, twice the capacity.

    .venv/bin/python benchmarks/load_serving.py RUN [--arm wide_deep] [--requests 20000] [--seconds 10]

Works on a copy of RUN, in which it publishes the newest model again and again. Ends by itself. Three parts:

1. capacity: closed loop, one request under way on each connection; requests per second and percentiles.
2. swaps: the same while a newer model is published every second. Each answer must be whole, name one
   published model and have that model's scores.
3. overload: requests are due at twice the capacity whatever becomes of the ones before. Goodput is the rate
   of 200 answers, and everything else must be a 503 with Retry-After. The server's memory is read before and
   after.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiment.bench.http import body, percentiles, run_server
from experiment.bench.paper import prepare
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.server.live_model import published_days
from experiment.visitors import Visitors
from models import registry

BODIES = 64
ANSWER_SECONDS = 20.0
POOL = 256
"""Connections of the client that offers twice the capacity."""


class Client:
    """One connection that writes requests and reads answers, as little Python as will do."""

    def __init__(self, address: str) -> None:
        self._host, self._port = address.split(":")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, text: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of the answer to one `POST /rank`."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, int(self._port))
        reader, writer = self._streams
        writer.write(b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_SECONDS)
        status, *lines = head.rstrip().split(b"\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(b":") for line in lines)}
        answer = await reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            self.close()
        return int(status.split()[1]), headers, answer

    def close(self) -> None:
        """Ends the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Tally:
    """What came of the requests; `expected` are the scores of each body, by model the same."""

    def __init__(self, expected: list[dict[int, float]] | None = None) -> None:
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.milliseconds: list[float] = []
        self.lost, self.wrong, self.without_retry_after, self.unsent = 0, 0, 0, 0
        self._expected = expected

    def note(self, number: int, began: float, answer: tuple[int, dict[bytes, bytes], bytes]) -> None:
        """Counts one answer, and looks into every one with scores."""
        status, headers, text = answer
        self.statuses[status] += 1
        if status == 503:
            self.without_retry_after += b"retry-after" not in headers
        if status != 200:
            return
        self.milliseconds.append((time.perf_counter() - began) * 1e3)
        document = json.loads(text)
        self.versions[document["model_version"]] += 1
        if self._expected is not None:
            known = self._expected[number % len(self._expected)]
            found = dict(zip(document["apps"], document["scores"], strict=True))
            self.wrong += found != known

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


async def closed(address: str, bodies: list[bytes], requests: int, connections: int, tally: Tally) -> float:
    """`requests` requests, one under way on each connection; the seconds that they took."""
    numbers, began = iter(range(requests)), time.perf_counter()

    async def one() -> None:
        client = Client(address)
        for number in numbers:
            started = time.perf_counter()
            try:
                tally.note(number, started, await client.ask(bodies[number % len(bodies)]))
            except (OSError, EOFError, TimeoutError):
                tally.lost += 1
                client.close()
        client.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return time.perf_counter() - began


async def opened(address: str, bodies: list[bytes], rate: float, seconds: float, tally: Tally) -> float:
    """Requests due at `rate` per second for some seconds; one that finds no free connection is not sent."""
    free = [Client(address) for _ in range(POOL)]
    under_way: set[asyncio.Task[None]] = set()
    began = time.perf_counter()

    async def one(number: int) -> None:
        client, started = free.pop(), time.perf_counter()
        try:
            tally.note(number, started, await client.ask(bodies[number % len(bodies)]))
        except (OSError, EOFError, TimeoutError):
            tally.lost += 1
            client.close()
        free.append(client)

    number = 0
    while (now := time.perf_counter() - began) < seconds:
        while number < now * rate:
            number += 1
            if not free:
                tally.unsent += 1
                continue
            task = asyncio.create_task(one(number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    await asyncio.gather(*under_way)
    took = time.perf_counter() - began
    for client in free:
        client.close()
    return took


async def publishing(copy: Path, arm: str, every: float, stop: asyncio.Event) -> int:
    """Publishes the newest model again under the next day, every so many seconds; how often."""
    count = 0
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every)
            break
        await asyncio.to_thread(publish_again, copy, arm)
        count += 1
    return count


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
    document: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    with copy_of(run) as copy, run_server(copy, arm, "--poll", 0.2) as address:
        asyncio.run(closed(address, bodies, 500, connections, Tally()))  # to warm up
        tally = Tally(expected)
        took = asyncio.run(closed(address, bodies, requests, connections, tally))
        document["capacity"] = tally.document(took)

        async def with_swaps() -> tuple[float, int]:
            stop = asyncio.Event()
            publisher = asyncio.create_task(publishing(copy, arm, 1.0, stop))
            took = await closed(address, bodies, requests, connections, tally)
            stop.set()
            return took, await publisher

        tally = Tally(expected)
        took, swaps = asyncio.run(with_swaps())
        document["swaps"] = {**tally.document(took), "published": swaps}
        capacity = document["capacity"]["requests_per_second"]
        before, tally = memory(address), Tally(expected)
        asyncio.run(opened(address, bodies, 2 * capacity, seconds, tally))
        document["overload"] = {
            **tally.document(seconds),
            "offered_per_second": 2 * capacity,
            "goodput_ratio": round(tally.statuses[200] / seconds / capacity, 3),
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
