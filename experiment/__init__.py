"""The online experiment: assignment, the loop, its statistics and its report.

`experiment.run(experiment.load_config("tiny"))` is the whole of it, from Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiment.loading import load as load_config
    from experiment.running import run

__all__ = ["load_config", "run"]


def __getattr__(name: str) -> Any:
    """The two entry points, imported when they are first asked for: neither costs anything before."""
    if name == "load_config":
        from experiment.loading import load

        return load
    if name == "run":
        from experiment.running import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
