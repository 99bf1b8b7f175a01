"""Where the work of a run is done: in this process, in worker processes or on Ray, with the same results.

A task is a function and one argument, both picklable; it reads and writes the run folder and keeps nothing
that it could not read again. Tasks name a slot, and a slot always has the same worker, so that what a worker
remembers (a world, a model) is at hand when the slot's next task comes; no result depends on it.
"""

from __future__ import annotations

import copy
import faulthandler
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from pydantic import ValidationError

from experiment.config_errors import describe, scoped
from experiment.errors import BadInput
from experiment.orphans import end_with_parent
from experiment.settings import RunSettings
from experiment.worker import ONE_THREAD, WorkerLostError, one_blas_thread, prepare_worker

Task = TypeVar("Task")
Result = TypeVar("Result")


class Executor(Protocol):
    """Does tasks; used as a context manager, so that no worker outlives a run.

    Attributes:
        workers: tasks done at the same time.
    """

    workers: int

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        slots: Sequence[int],
        done: Callable[[Result], None] | None = None,
    ) -> list[Result]:
        """Results in the order of `tasks`; `done` is called with each as it comes."""
        ...

    def share(self, folders: Sequence[Path]) -> None:
        """Puts finished folders at every worker's hand, see `at_hand`, where that is faster than the disk."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class InProcess:
    """Does one task after the other in this process."""

    workers = 1

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        slots: Sequence[int],
        done: Callable[[Result], None] | None = None,
    ) -> list[Result]:
        """See `Executor.map`; slots do not matter here."""
        del slots
        prepare_worker()
        results = []
        for task in tasks:
            results.append(function(task))
            if done is not None:
                done(results[-1])
        return results

    def share(self, folders: Sequence[Path]) -> None:
        """See `Executor.share`: this process reads the disk as fast."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Processes:
    """Does tasks in worker processes, one for each of `workers` slots, each with one intra-op thread."""

    def __init__(self, workers: int) -> None:
        for name in ONE_THREAD:
            os.environ[name] = "1"
        self.workers = workers
        context = multiprocessing.get_context("spawn")
        self._pools = [
            ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker) for _ in range(workers)
        ]

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        slots: Sequence[int],
        done: Callable[[Result], None] | None = None,
    ) -> list[Result]:
        """See `Executor.map`.

        Raises:
            WorkerLostError: when a worker process dies, out of memory for instance.
        """
        futures: list[Future[Result]] = []
        for task, slot in zip(tasks, slots, strict=True):
            futures.append(self._pools[slot % len(self._pools)].submit(_told, function, task))
        try:
            waiting: set[Future[Result]] = set(futures)
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in (f for f in futures if f in finished):
                    result = future.result()
                    if done is not None:
                        done(result)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise WorkerLostError(
                f"a worker process ended in the middle of a task ({_how_it_ended(self._pools)})"
            ) from error
        finally:
            for future in futures:
                future.cancel()

    def share(self, folders: Sequence[Path]) -> None:
        """See `Executor.share`: the processes of one machine read through one cache."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in self._pools:
            if error is not None:
                _terminate(_processes(pool))
            pool.shutdown(wait=True, cancel_futures=True)


def _told(function: Callable[[Task], Result], task: Task) -> Result:
    """Does the task in the worker; an error that would not survive the way back is told in words."""
    try:
        return function(task)
    except Exception as error:
        try:
            ForkingPickler.dumps(error)
            copy.copy(error)  # made anew from its arguments, as at the other end
        except Exception:  # noqa: BLE001 - anything can happen in a class of somebody else's
            words = "".join(traceback.format_exception(error))
            told = RuntimeError(f"{type(error).__name__}: {error}")
            told.add_note(f"In the worker:\n{words}")
            raise told from None
        raise


def balanced(costs: Sequence[float], workers: int) -> list[int]:
    """A slot for each task; all workers get about as much to do: the longest first, to the idlest."""
    load = [0.0] * workers
    slots = [0] * len(costs)
    for task in sorted(range(len(costs)), key=lambda task: (-costs[task], task)):
        slots[task] = load.index(min(load))
        load[slots[task]] += costs[task]
    return slots


def open_executor(run: RunSettings, tasks_at_once: int, folder: Path | None = None) -> Executor:
    """The executor that `run` asks for.

    Args:
        run: where the workers are and how many. tasks_at_once: more workers than that would be of no use.
        folder: that the tasks work in; workers on other machines must see it too.

    Raises:
        BadInput: Ray is not installed, there is none at `run.address`, or a worker does not see `folder`.
    """
    one_blas_thread()
    if run.executor == "ray":
        refuse_missing(run)
        if run.address is None:
            from experiment import ray_environment

            ray_environment.prepare(ONE_THREAD)
        from experiment.ray_executor import RayActors

        return RayActors(run.workers, tasks_at_once, run.address, folder)
    count = min(run.workers or len(os.sched_getaffinity(0)), tasks_at_once)
    return InProcess() if count <= 1 else Processes(count)


def refuse_missing(run: RunSettings) -> None:
    """Raises BadInput when `run` asks for Ray and it is not installed."""
    if run.executor == "ray" and not ray_is_there():
        raise BadInput(
            "run.executor: got 'ray', which is not installed, allowed: 'local', or 'ray' after "
            "pip install 'storelift[ray]'"
        )


def ray_is_there() -> bool:
    """Whether the extra `ray` is installed."""
    return importlib.util.find_spec("ray") is not None


def placed(
    run: RunSettings, workers: int | None = None, executor: str | None = None, address: str | None = None
) -> RunSettings:
    """`run` with what is given instead; without Ray an address counts no more. Raises BadInput."""
    if executor == "local" and address is None:
        run = run.model_copy(update={"address": None})
    given = {"workers": workers, "executor": executor, "address": address}
    data = run.model_dump() | {name: value for name, value in given.items() if value is not None}
    try:
        return RunSettings.model_validate(data, strict=True)
    except ValidationError as error:
        raise BadInput("\n".join(scoped("run", describe(error, RunSettings)))) from error


def _start_worker() -> None:
    faulthandler.enable()
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        prepare_worker()
    except Exception as error:  # noqa: BLE001 - the run says that a worker was lost; here is why
        sys.stderr.write(f"storelift: a worker could not start: {type(error).__name__}: {error}\n")
        os._exit(1)


_REAPED_SECONDS = 5.0


def _how_it_ended(pools: Iterable[ProcessPoolExecutor]) -> str:
    """What is known of a lost worker's end: the executor itself ends the others by SIGTERM."""
    processes = [process for pool in pools for process in _processes(pool)]
    deadline = time.monotonic() + _REAPED_SECONDS
    while all(process.exitcode is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)  # the executor's own thread waits for them
    codes = {process.exitcode for process in processes}
    told = sorted(code for code in codes if code not in (None, 0, -signal.SIGTERM))
    if not told or told[0] == -signal.SIGKILL:
        return "killed, or out of memory"
    return f"signal {signal.Signals(-told[0]).name}" if told[0] < 0 else f"exit code {told[0]}"


def _processes(pool: ProcessPoolExecutor) -> Iterable[Any]:
    return list((getattr(pool, "_processes", None) or {}).values())


def _terminate(processes: Iterable[Any]) -> None:
    for process in processes:
        process.terminate()
