"""The wide part: a linear model over sparse features and cross-products (Cheng et al. 2016, section 3.1).

All features lie in one id space: bias, attributes, crosses with a category, then a row of ids for each app of
the vocabulary (the app and its crosses with user attributes). The crosses of installed with impression apps
have a dictionary, and a coordinate of FTRL-Proximal each, of their own. An app or a pair without an id adds
exactly 0. Letters in shapes: B requests, S shown apps, I installed slots, A apps, F user features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.crosses import CrossDictionary
from models.features import Day, Features
from models.ftrl import FTRL
from models.pairs import PackedPairs
from models.settings import LinearSettings
from models.wide_space import Layout, backward, cross_backward, cross_forward, forward

Array = NDArray[Any]


class LinearPart:
    """Wide part in training: it predicts a mini-batch's logits, then takes a step on their gradients.

    Attributes:
        first: FTRL over the id space of `layout`.
        crosses: ids of the installed x app pairs; None where these are not wanted.
        pairs: FTRL over these ids.
    """

    def __init__(self, features: Features, settings: LinearSettings) -> None:
        self.settings = settings
        self.layout = Layout.of(
            features.cardinalities, settings.crosses, features.age.buckets, features.settings.positions
        )
        self.first = self._ftrl(self.layout.rows)
        self._most_ids = self.layout.per_impression
        wanted = "installed_x_app" in settings.crosses
        self.crosses = CrossDictionary(settings.cross_min_count) if wanted else None
        self.pairs = self._ftrl(1)
        self._n_apps = len(features.codes)
        if self.crosses is not None:
            self._packed = self._pack()
        self._rates = (settings.alpha, settings.beta, settings.l1, settings.l2)
        self._batch: tuple[Array, ...] = ()

    def _ftrl(self, size: int) -> FTRL:
        s = self.settings
        return FTRL(size, s.alpha, s.beta, s.l1, s.l2, np.float32)

    def grow(self, day: Day) -> None:
        """Makes room for the apps of the vocabulary and for pairs that are now frequent enough."""
        self.first.grow(self.layout.rows + self.layout.stride * (day.features.app_vocabulary.size - 1))
        if self.crosses is not None:
            last, window = day.features.last_day, self.settings.cross_window_days
            if last is not None and last % window == 0 and window > 1:
                self.crosses.forget_rare()
            grow = self.crosses.grow_pairs if window > 1 else self.crosses.grow_and_forget
            grow(day.installed, day.apps)
            self.pairs.grow(self.crosses.size)
            self._packed = self._pack()

    def _pack(self) -> PackedPairs:
        """The ids of the pairs that have one."""
        assert self.crosses is not None
        ids = np.arange(1, self.crosses.size, dtype=np.int32)
        return PackedPairs.of(*self.crosses.pairs(), ids, self._n_apps)

    def logits(self, batch: Day) -> Array:
        """The part's log odds, float32[B, S]; remembers what `step` needs."""
        B, S = batch.apps.shape
        width = self._most_ids
        if self.layout.installed_category >= 0:
            width += min(batch.installed.shape[1], self.layout.categories)
        ids, offsets = np.empty(B * S * width, np.int64), np.empty(B * S + 1, np.int64)
        logits = np.empty((B, S), np.float32)
        f = batch.features
        forward(
            self.layout,
            batch.codes,
            batch.installed,
            batch.apps,
            batch.positions,
            f.codes,
            batch.ages,
            f.app_rows,
            f.dense,
            self.first.table,
            ids,
            offsets,
            logits,
        )
        self._batch = (batch.codes, batch.apps, f.dense, ids, offsets)
        if self.crosses is not None:
            ids = np.empty(batch.installed.size * S, np.int64)
            impressions = np.empty_like(ids)
            n = cross_forward(
                self._packed, batch.installed, batch.apps, self.pairs.table, ids, impressions, logits
            )
            self._batch += (ids[:n], impressions[:n])
        return logits

    def step(self, gradients: Array) -> None:
        """One FTRL step on the last `logits` batch; `gradients` float32[B, S] are of the loss by logits."""
        codes, apps, dense, ids, offsets, *cross = self._batch
        backward(self.layout, codes, apps, dense, self.first.table, ids, offsets, gradients, self._rates)
        if cross:
            cross_backward(self.pairs.table, cross[0], cross[1], gradients.reshape(-1), self._rates)

    def to_state(self) -> dict[str, Array]:
        """Optimiser state and dictionary, as arrays."""
        state = {f"first.{k}": v for k, v in self.first.to_state().items()}
        if self.crosses is not None:
            state |= {f"pairs.{k}": v for k, v in self.pairs.to_state().items()}
            state |= {f"crosses.{k}": v for k, v in self.crosses.to_state().items()}
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over what `to_state` gave."""
        self.first = FTRL.from_state(_under(state, "first."))
        self.first.weights()
        if self.crosses is not None:
            self.pairs = FTRL.from_state(_under(state, "pairs."))
            self.pairs.weights()
            self.crosses = CrossDictionary.from_state(_under(state, "crosses."))

    def published(self) -> dict[str, Array]:
        """The non-zero weights: `ids`, `weights` of `layout`, and `keys`, `cross_weights` of the pairs."""
        weights = self.first.weights()
        ids = np.flatnonzero(weights)
        arrays = {"ids": ids, "weights": weights[ids]}
        if self.crosses is not None:
            weights = self.pairs.weights()[1:]
            used = np.flatnonzero(weights)
            lefts, rights = (side[used] for side in self.crosses.pairs())
            arrays |= {"lefts": lefts.astype(np.int32), "rights": rights.astype(np.int32)}
            arrays["cross_weights"] = weights[used]
        return arrays


def _under(state: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
