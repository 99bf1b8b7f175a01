"""How far a long command is: a bar on a terminal, a line now and then elsewhere. Never on standard output."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

Tell = Callable[[int, int], None]
"""Is told how many parts of how many are done."""

LINE_SECONDS = 5.0
"""Without a terminal, at most so often a line is printed."""


@contextlib.contextmanager
def watched(words: str, *, quiet: bool) -> Iterator[Tell | None]:
    """A function to tell how many parts of how many are done; None where nobody wants to know.

    Args:
        words: what is being done. quiet: show nothing.
    """
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines(words, console.print)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(words, total=None)

        def show(done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total)

        yield show


def counted(tell: Tell | None, total: int, done: int = 0) -> Callable[[], None]:
    """Tells how many parts are done, and with each call that one more is."""

    def one_more() -> None:
        nonlocal done
        done += 1
        if tell is not None:
            tell(done, total)

    if tell is not None:
        tell(done, total)
    return one_more


def _lines(words: str, write: Callable[[str], None]) -> Tell:
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > LINE_SECONDS or done == total:
            last = time.monotonic()
            write(f"{words}: {done} of {total}")

    return show
