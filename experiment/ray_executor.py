"""Tasks on Ray: one actor per slot, which remembers what it served, and is started anew where it is lost.

A lost actor's task is done again by its successor, which reads the run folder for what the first one
remembered; tasks put whole files at fixed places, so a task that is done twice leaves what it leaves once.
All workers must see the run folder under the same path: a file is written there and looked for by each.
To be imported after `ray_environment.prepare`, since Ray reads its environment when it is imported.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import ray
from ray import exceptions

from experiment import at_hand
from experiment.errors import BadInput
from experiment.folder.atomic import TEMPORARY
from experiment.worker import ONE_THREAD, WorkerLostError, prepare_worker

Task = TypeVar("Task")
Result = TypeVar("Result")

TRIES = 4
"""How often a task is begun before the workers that it kills are taken for its own fault."""

SECONDS = 10.0
"""A node of a cluster that takes longer to answer is taken for none."""

_LOST = (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError)


class Worker:
    """What runs in an actor."""

    def __init__(self, directory: str) -> None:
        with contextlib.suppress(OSError):  # paths from there are looked for later
            os.chdir(directory)
        prepare_worker()

    def do(self, function: Callable[[Any], Any], task: Any) -> Any:
        """The result of a task."""
        return function(task)

    def here(self) -> None:
        """Is answered once the worker, or the one in its place, is there."""

    def keep(self, folder: Path, files: Sequence[Any]) -> None:
        """Has `folder` at hand; `files` holds a reference to its bytes, fetched when they are wanted."""
        at_hand.keep(folder, lambda: _fetched(files[0]))

    def sees(self, path: Path) -> str | None:
        """Nothing where `path` is there, else the name of this host."""
        return None if path.exists() else socket.gethostname()


class RayActors:
    """Does tasks on actors of a Ray cluster, or of a Ray of its own on this machine.

    Attributes:
        workers: how many.

    Args:
        workers: 0 takes one per processor of the cluster. tasks_at_once: more workers would be of no use.
        address: of a node of a cluster; None starts Ray here, on the loopback interface.
        folder: that every worker must see.

    Raises:
        BadInput: no cluster answers at `address`, or a worker does not see `folder`.
    """

    def __init__(self, workers: int, tasks_at_once: int, address: str | None, folder: Path | None) -> None:
        self._closing = contextlib.ExitStack()
        with self._closing:
            self._closing.enter_context(_joined(workers, tasks_at_once, address))
            count = workers or int(ray.cluster_resources().get("CPU", 1))
            self.workers = max(1, min(count, tasks_at_once))
            actor = ray.remote(max_restarts=-1)(Worker)
            self._actors: list[Any] = []
            self._closing.callback(self._end)
            for _ in range(self.workers):
                self._actors.append(actor.options(scheduling_strategy="SPREAD").remote(str(Path.cwd())))
            if folder is not None:
                self._refuse_unseen(folder)
            self._closing = self._closing.pop_all()

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        slots: Sequence[int],
        done: Callable[[Result], None] | None = None,
    ) -> list[Result]:
        """See `Executor.map`.

        Raises:
            WorkerLostError: a task was begun `TRIES` times, and each time its worker was lost.
        """
        queues: list[deque[int]] = [deque() for _ in self._actors]
        for place, slot in enumerate(slots):
            queues[slot % self.workers].append(place)
        results: dict[int, Result] = {}
        lost: Counter[int] = Counter()
        running: dict[Any, int] = {}

        def begin(worker: int) -> None:
            if queues[worker]:
                running[self._actors[worker].do.remote(function, tasks[queues[worker][0]])] = worker

        for worker in range(self.workers):
            begin(worker)
        back: set[Any] = set()  # calls that a worker answers once it, or its successor, is there
        while running:
            (reference,), _ = ray.wait(list(running))
            worker = running.pop(reference)
            if reference in back:
                _result(reference)
                begin(worker)
                continue
            place = queues[worker][0]
            try:
                results[place] = result = _result(reference)
            except WorkerLostError:
                lost[place] += 1
                if lost[place] == TRIES:
                    raise
                heir = self._actors[worker].here.options(max_task_retries=-1).remote()
                running[heir] = worker
                back.add(heir)
                continue
            queues[worker].popleft()
            begin(worker)
            if done is not None:
                done(result)
        return [results[place] for place in range(len(tasks))]

    def share(self, folders: Sequence[Path]) -> None:
        """See `Executor.share`: the files are put into the object store, once for all workers of a node."""
        for folder in folders:
            files = ray.put({file.name: file.read_bytes() for file in folder.iterdir()})
            for actor in self._actors:
                actor.keep.remote(folder, [files])

    def _refuse_unseen(self, folder: Path) -> None:
        """Raises BadInput unless each worker sees a file that is written here."""
        token = folder / f".{secrets.token_hex(8)}{TEMPORARY}"
        token.touch()
        try:
            blind = [host for host in map(_result, [a.sees.remote(token) for a in self._actors]) if host]
        finally:
            token.unlink(missing_ok=True)
        if blind:
            hosts = ", ".join(sorted(set(blind)))
            raise BadInput(
                f"out: got {folder.absolute()}, which the workers on {hosts} do not see, "
                "allowed: a folder that all nodes share under one path"
            )

    def _end(self) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()


def _result(reference: Any) -> Any:
    """The result of a task, or what it raised."""
    try:
        return ray.get(reference)
    except exceptions.RayTaskError as error:
        raise error.cause from None
    except _LOST as error:
        raise WorkerLostError(
            f"a worker ended in the middle of a task (killed, or out of memory), {TRIES} times"
        ) from error


def _fetched(files: Any) -> Mapping[str, bytes] | None:
    """The bytes of a shared folder's files; None where they are lost."""
    try:
        found: Mapping[str, bytes] = ray.get(files)
    except exceptions.RayError:
        return None
    return found


@contextlib.contextmanager
def _joined(workers: int, tasks_at_once: int, address: str | None) -> Iterator[None]:
    """This process as a driver of Ray, for the block; one that it is already it stays."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"configure_logging": False, "logging_level": "ERROR", "log_to_driver": False}
    with contextlib.ExitStack() as leaving:
        if address is None:
            folder = tempfile.mkdtemp(prefix="storelift-ray-")
            leaving.callback(shutil.rmtree, folder, ignore_errors=True)
            options |= {
                "num_cpus": max(1, min(workers or len(os.sched_getaffinity(0)), tasks_at_once)),
                "include_dashboard": False,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": folder,
            }
        else:
            options |= {"address": address, "runtime_env": {"env_vars": dict.fromkeys(ONE_THREAD, "1")}}
        leaving.callback(ray.shutdown)
        try:
            _knock(address)
            with _same_signals():
                ray.init(**options)
        except (OSError, RuntimeError, ValueError) as error:
            if address is None:
                raise
            cause = str(error).strip().split("\n")[0]
            raise BadInput(
                f"run.address: got {address!r}, allowed: a node of a Ray cluster that answers ({cause})"
            ) from error
        yield


def _knock(address: str | None) -> None:
    """Raises OSError at once where nobody listens: Ray would try for minutes."""
    if address not in {None, "auto"}:
        host, _, port = str(address).rpartition(":")
        socket.create_connection((host, int(port)), SECONDS).close()


@contextlib.contextmanager
def _same_signals() -> Iterator[None]:
    """A block that leaves the handler of SIGTERM as it found it: Ray's would end the run unheard."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
