"""What a Ray of one's own is told by the environment, before it is imported."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable

PRIVATE = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for: listen on the loopback interface only
}
UNHEARD = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0"}


def prepare(one: Iterable[str]) -> None:
    """Has a Ray that this process will start keep to this machine, let nobody else in and report to nobody.

    What the environment says already stands. Where Ray has been imported before, it is too late for most of
    it: then Ray listens to the network, and keeps out whoever has not the token that it makes.

    Args:
        one: variables that are 1 in every worker.
    """
    os.environ.update(dict.fromkeys(one, "1"))
    for name, value in UNHEARD.items():
        os.environ.setdefault(name, value)
    if "ray" not in sys.modules:
        for name, value in {**PRIVATE, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            os.environ.setdefault(name, value)
