"""Overload answered at the socket, before HTTP is parsed: a refused request costs next to nothing.

Parsing and routing a request costs as much as ranking one. When both are short of time, refusals must be
cheaper by far than answers, or refusing eats the time that answers need.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 512
"""Connections that may be open; a further one is told to come again and closed."""

MOST_SKIPPED = 64 * 1024
"""Longest rest of a body that is waited for after its request was turned away."""

LINGER_SECONDS = 1.0
"""How long a connection that was turned away may stay to read its answer."""

RETRY_AFTER = 1
"""Seconds after which to come again."""

BUSY = b'{"errors":[{"field":"","message":"too many requests wait; come again"}]}'

_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: %d\r\n"
    b"content-length: %d\r\n%s\r\n%s"
)
KEEP_ALIVE = _ANSWER % (RETRY_AFTER, len(BUSY), b"", BUSY)
CLOSE = _ANSWER % (RETRY_AFTER, len(BUSY), b"connection: close\r\n", BUSY)

_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


def shedding(full: Callable[[], bool], most: int, shed: Callable[[], None]) -> type[asyncio.Protocol]:
    """A protocol for `uvicorn.Config(http=…)` that turns requests to `/rank` away when there are too many.

    Args:
        full: whether the queue takes no more.
        most: requests of all connections that may be read, ranked or answered at a time.
        shed: is told of each request that was turned away.
    """

    class Shedding(H11Protocol):
        _away = False
        _skip = 0  # bytes still to come of a body that nobody reads

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > MOST_CONNECTIONS:
                self._away = True
                shed()
                transport.write(CLOSE)
                transport.write_eof()
                self.loop.call_later(LINGER_SECONDS, transport.abort)

        def data_received(self, data: bytes) -> None:
            if self._away:
                return
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
            if not data:
                return
            idle = self.cycle is None or self.cycle.response_complete
            if idle and (len(self.tasks) >= most or full()) and data.startswith(b"POST /rank "):
                missing = _missing(data)
                if missing is not None:
                    self._skip = missing
                    shed()
                    self.transport.write(KEEP_ALIVE)
                    return
            super().data_received(data)

    return Shedding


def _missing(data: bytes) -> int | None:
    """How many bytes are still to come of the one request that `data` begins; None where that is unclear."""
    end = data.find(b"\r\n\r\n")
    length = _LENGTH.search(data, 0, end + 2) if end >= 0 else None
    if length is None or _EXPECT.search(data, 0, end + 2):  # such a client sends no body after a refusal
        return None
    missing = end + 4 + int(length[1]) - len(data)
    return missing if 0 <= missing <= MOST_SKIPPED else None
