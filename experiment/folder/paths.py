"""Where things lie in a run folder. Arms and days make up the names, so none can lead out of the folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_ARM = re.compile(r"[a-z][a-z0-9_+]{0,255}")


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The places of one run; nothing is read or written here.

    Attributes:
        root: the run folder.
    """

    root: Path

    def log(self, arm: str, day: int) -> Path:
        """`log/arm=A/day=D/`: what was observed, in parts."""
        return self._day("log", arm, day)

    def truth(self, arm: str, day: int) -> Path:
        """`truth/arm=A/day=D/`: what only the simulator knows; no model reads it."""
        return self._day("truth", arm, day)

    def model(self, arm: str, day: int) -> Path:
        """`models/arm=A/day=D/`: the model that arm A serves with from day D on."""
        return self._day("models", arm, day)

    def state(self, day: int) -> Path:
        """`state/day=D/`: what day D + 1 goes on from."""
        return self.root / "state" / f"day={day:d}"

    def audience(self, shard: int, day: int) -> Path:
        """The installed apps of a shard's users after a day."""
        return self.state(day) / f"audience-{shard:05d}.safetensors"

    def retrieval(self, day: int) -> Path:
        """What retrieval has learned by the end of a day."""
        return self.state(day) / "retrieval.safetensors"

    def checkpoint(self, learner: str, day: int) -> Path:
        """`state/checkpoints/learner=L/day=D/`: a whole training state."""
        return self._day("state/checkpoints", learner, day, "learner")

    def checkpoints(self) -> Path:
        """`state/checkpoints/`."""
        return self.root / "state" / "checkpoints"

    def offline(self, arm: str) -> Path:
        """The arm's scores of the offline holdout."""
        return self.root / "metrics" / f"offline-{_checked(arm)}.safetensors"

    def offline_model(self, arm: str) -> Path:
        """`models/offline-A/`: the model behind these scores, where none that serves is."""
        return self.root / "models" / f"offline-{_checked(arm)}"

    def users(self) -> Path:
        """`metrics/users.parquet`: user-days of the experiment, an input of `storelift analyze`."""
        return self.root / "metrics" / "users.parquet"

    def user_days(self, day: int) -> Path:
        """Counts of the users who visited on a day."""
        return self.root / "metrics" / "user_days" / f"day={day:d}.parquet"

    def day_entry(self, day: int) -> Path:
        """Verdicts of the gate and the quality of what was served on a day."""
        return self.root / "metrics" / "days" / f"day={day:d}.json"

    def _day(self, kind: str, arm: str, day: int, key: str = "arm") -> Path:
        return self.root / kind / f"{key}={_checked(arm)}" / f"day={day:d}"


def part(number: int) -> str:
    """The file name of a part."""
    return f"part-{number:05d}.parquet"


def _checked(name: str) -> str:
    if not _ARM.fullmatch(name):
        raise ValueError(f"arm: got {name!r}, allowed: small letters, digits and _")
    return name
