"""Worker processes: results in the order of the tasks, and what is said of one that is lost."""

import os
import signal
import time

import pytest

from experiment.executor import InProcess, Processes
from experiment.worker import WorkerLostError


def _double(number: int) -> int:
    return 2 * number


def _end(how: str) -> None:
    time.sleep(0.1)
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), getattr(signal, how))


def test_results_come_in_the_order_of_the_tasks():
    told: list[int] = []
    with Processes(2) as pool:
        assert pool.map(_double, [1, 2, 3, 4, 5], [0, 1, 0, 1, 1], told.append) == [2, 4, 6, 8, 10]
    assert sorted(told) == [2, 4, 6, 8, 10]
    assert InProcess().map(_double, [1, 2], [0, 1]) == [2, 4]


class _OddError(Exception):
    """Cannot be made from its own arguments, so it cannot be unpickled."""

    def __init__(self, day: int, why: str) -> None:
        super().__init__(f"day {day}: {why}")


def _fail(day: int) -> None:
    raise _OddError(day, "my data are bad")


def test_an_error_that_does_not_survive_the_way_back_is_told_in_words():
    with (
        pytest.raises(RuntimeError, match=r"^_OddError: day 3: my data are bad\n") as caught,
        Processes(2) as pool,
    ):
        pool.map(_fail, [3], [0])
    assert "in _fail" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", r"killed, or out of memory"),
        ("SIGSEGV", r"signal SIGSEGV"),
        ("exit", r"exit code 7"),
    ],
)
def test_how_a_worker_was_lost_is_said(how, said):
    with (
        pytest.raises(WorkerLostError, match=rf"a worker process ended in the middle of a task \({said}\)"),
        Processes(2) as pool,
    ):
        pool.map(_end, [how], [1])
