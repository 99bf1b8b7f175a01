"""No process of a run outlives the one that started it, however that one ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading

_NAME = "end-with-parent"


def end_with_parent() -> None:
    """Ends this worker once the process that started it is gone; in a process without one it does nothing.

    A worker that went on would write into a run folder that somebody else has resumed.
    """
    parent = multiprocessing.parent_process()
    if parent is None or any(thread.name == _NAME for thread in threading.enumerate()):
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name=_NAME, daemon=True).start()
