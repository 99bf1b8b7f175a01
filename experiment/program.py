"""The code behind a figure, as 12 digits: figures that different code has made are not mixed in silence."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiment.config import Config

NO_FIGURES = (
    "bench/", "server/", "interference/", "study/claims_text.py", "study/figure.py", "study/markdown.py",
    "study/page.py", "study/phrases.py", "study/plan.py", "study/predictor_figure.py", "study/predictors.py",
    "study/reproduce.py", "study/sheets.py", "study/spread.py", "study/summary.py", "study/sweep.py",
    "study/table.py", "palette.py", "webpage.py",
)  # fmt: skip
"""What of the code has no part in a cell's figures."""

NO_DAYS = (
    "analyze/", "bench/", "calibration/", "interference/", "offpolicy/", "preference/",
    "server/", "slices/", "study/", "truth/", "palette.py", "webpage.py",
)  # fmt: skip
"""What of the code has no part in a run's days; `reporting/` has, since it may stop a run."""


@lru_cache(maxsize=4)
def fingerprint(without: tuple[str, ...] = NO_FIGURES) -> str:
    """12 digits that stand for the code that a run and its figures come from.

    Args:
        without: beginnings of paths within a package; what they name has no part in the figures.
    """
    import experiment
    import models
    import simulator

    sha = hashlib.sha256()
    for package in (simulator, models, experiment):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            name = file.relative_to(root).as_posix()
            if not name.startswith(without):
                sha.update(name.encode() + file.read_bytes())
    return sha.hexdigest()[:12]


def rankers(config: Config) -> str:
    """12 digits that stand for the code of the configuration's own rankers, `module:Class`; none without."""
    import importlib.util

    modules = sorted({arm.kind.partition(":")[0] for arm in config.arms.values() if ":" in arm.kind})
    if not modules:
        return ""
    sha = hashlib.sha256()
    for name in modules:
        found = importlib.util.find_spec(name)
        sha.update(name.encode())
        if found is not None and found.origin is not None:
            sha.update(Path(found.origin).read_bytes())
    return sha.hexdigest()[:12]
