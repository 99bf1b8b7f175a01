"""What holds for all tests: no deadline for a test's examples, and an environment that says nothing."""

import os

from hypothesis import settings

for name in ("FORCE_COLOR", "PY_COLORS", "NO_COLOR", "TTY_COMPATIBLE", "GITHUB_ACTIONS", "STORELIFT_DEBUG"):
    os.environ.pop(name, None)  # Typer reads them when it is imported, and nothing has imported it yet
os.environ["COLUMNS"] = "80"

settings.register_profile("storelift", deadline=None)  # a first example compiles
settings.load_profile("storelift")
