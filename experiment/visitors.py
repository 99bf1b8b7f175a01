"""The users of a run as it left them: their installed apps, and retrieval's candidates for them."""

from __future__ import annotations

import dataclasses

import numpy as np

from experiment import plan
from experiment.folder.manifest import RunFolderError
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.folder.tensors import read_arrays
from experiment.indexing import index_of
from experiment.worlds import world_of
from simulator.schema import Array, Requests
from simulator.world import with_apps


class Visitors:
    """The users of a run after its last finished day.

    Attributes:
        world: of the run.
        day: simulated, the one after the last finished day; requests are of it unless they say otherwise.

    Args:
        folder: of the run, as its manifest says.

    Raises:
        RunFolderError: no day is finished, or the state of the last one is not what was written.
    """

    def __init__(self, folder: RunFolder) -> None:
        config, finished = folder.config, folder.manifest.finished_day
        if finished is None:
            raise RunFolderError(f"{folder.path}: got a run without a finished day, allowed: one with models")
        self.world, self.day = world_of(config), finished + 1
        paths = RunPaths(folder.path)
        folder.trusted(paths.retrieval(finished))
        self._index = index_of(folder.path, config, self.day)
        ids, installed = [], []
        for shard in plan.shards(config):
            ids.append(plan.shard_members(config, shard))
            path = folder.trusted(paths.audience(shard.number, finished))
            installed.append(read_arrays(path)["installed"])
        every = np.concatenate(ids)
        order = np.argsort(every, kind="stable")
        self._ids, self._installed = every[order], np.concatenate(installed)[order]

    def installed(self, user_id: int) -> Array:
        """int32[1, capacity]: a user's installed apps; of one outside of the run, those before its start."""
        place = int(np.searchsorted(self._ids, user_id))
        if place < len(self._ids) and self._ids[place] == user_id:
            return np.asarray(self._installed[place : place + 1])
        return self.world.initial_installs(self.world.profiles(np.array([user_id], np.int64)))

    def request(
        self,
        user_id: int,
        *,
        day: int | None = None,
        hour: int | None = None,
        candidates: Array | None = None,
    ) -> Requests:
        """The request of a visit: its candidates are retrieval's, its hour the user's own, unless stated.

        Args:
            user_id: any of the world.
            day: simulated. hour: 0 .. 23.
            candidates: int32[C].
        """
        profiles = self.world.profiles(np.array([user_id], np.int64))
        one, rows = self.day if day is None else day, np.zeros(1, np.int64)
        request, _ = self.world.requests(profiles, rows, self.installed(user_id), one, self._index)
        if hour is not None:
            request = dataclasses.replace(request, hour=np.array([hour], np.int8))
        return request if candidates is None else with_apps(request, candidates[None])

    def some(self, n: int) -> Requests:
        """The requests of at most `n` users of the run, spread over all of them."""
        rows = np.unique(np.linspace(0, len(self._ids) - 1, n).astype(np.int64))
        profiles = self.world.profiles(self._ids[rows])
        every = np.arange(len(rows), dtype=np.int64)
        return self.world.requests(profiles, every, self._installed[rows], self.day, self._index)[0]
