"""Other people's libraries in a benchmark: measured where they are installed, else skipped with the reason.

Their scripts lie in `benchmarks/`, outside of what is installed with the package.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def measured(script: str, *arguments: Any) -> dict[str, dict[str, Any]]:
    """What each of `PEERS` in `benchmarks/<script>.py` gives for the arguments, by name.

    `status` is "ok", or says why there are no figures: skipped (not installed) or failed (its own error).
    """
    place = FOLDER / f"{script}.py"
    if not place.exists():
        return {script: {"status": f"skipped: {place.name} is not there, as in a copy without benchmarks/"}}
    found = importlib.util.spec_from_file_location(f"storelift_{script}", place)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    results: dict[str, dict[str, Any]] = {}
    for name, measure in module.PEERS.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # standard output is ours
                results[name] = {"status": "ok", **measure(*arguments)}
        except ImportError as error:
            results[name] = {"status": f"skipped: {error}"}
        except Exception as error:  # noqa: BLE001 - what fails in another's library is no failure of ours
            results[name] = {"status": f"failed: {type(error).__name__}: {error}"}
    return results
