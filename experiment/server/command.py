"""`storelift serve`: a run's model over HTTP, on this machine alone unless told otherwise."""

from __future__ import annotations

import logging
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from experiment.server.app import RankServer

BACKLOG = 128
"""Connections that may wait to be accepted; asyncio accepts as many before it answers anything."""

GRACE_SECONDS = 10
"""How long requests that are being answered may take once the server is told to stop."""


def register(app: typer.Typer) -> None:
    """Adds `serve` to the command line."""
    app.command()(serve)


def serve(
    run_dir: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder, finished or still growing.")],
    arm: Annotated[str, typer.Option(help="The arm whose model serves, for example wide_deep.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8300,
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine alone.")] = (
        "127.0.0.1"
    ),
    threads: Annotated[int, typer.Option(min=0, max=256, help="Scoring threads; 0: one per core.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Most candidates scored as one piece.")] = 200,
    queue: Annotated[int, typer.Option(min=1, max=100_000, help="Most requests that may wait.")] = 32,
    deadline: Annotated[
        float, typer.Option(min=1.0, max=60_000.0, metavar="MS", help="Longest wait for a thread.")
    ] = 250.0,
    precision: Annotated[str, typer.Option(metavar="fp32|bf16", help="Of the net's products.")] = "fp32",
    latency_limit: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="MS", help="Refuse slower models; gate.latency_limit by default."),
    ] = None,
    poll: Annotated[
        float, typer.Option(min=0.05, max=3600.0, metavar="S", help="How often to look for a newer model.")
    ] = 1.0,
) -> None:
    """Serve a run's model over HTTP: POST /rank, GET /health, /model, /metrics. Ctrl-C stops."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from experiment.errors import BadInput
    from experiment.folder.rundir import RunFolder
    from experiment.server.app import RankServer
    from experiment.server.input import RankInput
    from experiment.server.live_model import LiveModel, Trial, Watch

    if precision not in ("fp32", "bf16"):
        raise BadInput(f"precision: got {precision!r}, allowed: 'fp32' or 'bf16'")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    config = RunFolder.open(run_dir).config
    limit = config.gate.latency_limit if latency_limit is None else latency_limit
    live = LiveModel(run_dir, arm, Trial(precision, limit, config.gate.score_limit, config.gate.memory_limit))
    visitors = live.snapshot.visitors
    assert visitors is not None
    users, world = config.users, visitors.world
    reader = RankInput(world.cardinalities, len(world.apps), users.installed_capacity, users.population)
    listener = listen(host, port)
    workers = threads or len(os.sched_getaffinity(0))
    server = RankServer(
        live,
        reader,
        threads=workers,
        batch=batch,
        queue=queue,
        deadline=deadline / 1e3,
    )
    with server, Watch(live.check, poll):
        bound, model = listener.getsockname(), live.snapshot.model
        typer.echo(f"{model.version} ({model.precision}, {workers} threads) on http://{bound[0]}:{bound[1]}")
        serve_until_told(server, listener)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BadInput where the address cannot be had."""
    from experiment.errors import BadInput

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise BadInput(f"port: got {host}:{port}, allowed: a free port of this machine ({error})") from error
    # Connections inherit it. Without it an answer's second packet waits 40 ms for the client's word.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve_until_told(server: RankServer, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is under way; SIGINT raises KeyboardInterrupt."""
    import uvicorn

    from experiment.server.shedding import shedding

    config = uvicorn.Config(
        server.app,
        backlog=BACKLOG,
        http=shedding(lambda: server.batcher.full, server.most, server.turned_away),
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        date_header=False,
    )
    told: list[int] = []

    def note(number: int, frame: Any) -> None:
        del frame
        told.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listener.close()
    if signal.SIGINT in told:
        raise KeyboardInterrupt
