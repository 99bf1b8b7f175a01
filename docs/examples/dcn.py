"""A ranker of one's own: DCN-v2 (Wang et al. 2021), whose layers cross every feature with every other.

    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l          next to a net of ReLU layers; their outputs are added

Wide & Deep is told which features to cross, one weight for each pair of values; these crosses are learned, on
embeddings, and so generalise. `storelift check docs.examples.dcn:DCN` puts it through the contract.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from models import checkpoint
from models.catalogue import app_codes, app_sizes, user_codes, user_sizes
from simulator.schema import AppTable, Array, Cardinalities, Log, Requests, days_in

PAIRS = 512
"""Pairs of request and app in one product: with one fixed shape a score never depends on the call's."""


class Settings(BaseModel):
    """What `--set arms.NAME.settings.embedding_dim=16` changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    embedding_dim: int = 8
    crosses: int = 2
    hidden: tuple[int, ...] = (64, 32)
    rate: float = 0.05
    batch_requests: int = 64


class Net(nn.Module):
    """The log odds of N pairs; letters in shapes: D = embedding_dim, F fields, X = D F + 2 inputs."""

    def __init__(self, sizes: tuple[int, ...], apps: int, settings: Settings) -> None:
        super().__init__()
        D, X = settings.embedding_dim, settings.embedding_dim * (len(sizes) + 2) + 2
        self.fields = nn.ModuleList(nn.Embedding(size, D) for size in sizes)
        self.shown, self.installed = nn.Embedding(apps, D), nn.Embedding(apps, D)
        self.positions = nn.Embedding(128, 1)
        self.crosses = nn.ModuleList(nn.Linear(X, X) for _ in range(settings.crosses))
        widths = (X, *settings.hidden)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(X + widths[-1], 1)

    def forward(self, x0: Tensor) -> Tensor:
        """Log odds [N] of inputs [N, X]."""
        crossed = deep = x0
        for cross in self.crosses:
            crossed = x0 * cross(crossed) + crossed
        for layer in self.hidden:
            deep = torch.relu(layer(deep))
        return self.out(torch.cat([crossed, deep], 1))[:, 0]


class DCN:
    """The ranker; it is its own published form."""

    Settings = Settings

    def __init__(
        self, apps: AppTable, cardinalities: Cardinalities, settings: Mapping[str, Any] | Settings, key: int
    ) -> None:
        self.apps, self.cardinalities, self.key = apps, cardinalities, key
        self.settings = Settings.model_validate(settings)
        sizes = (*user_sizes(cardinalities), *app_sizes(cardinalities), 16)
        self.codes = torch.from_numpy(app_codes(apps).astype(np.int64))
        self.counts = np.zeros((2, len(apps)))  # impressions and acquisitions of each app so far
        self.net = Net(sizes, len(apps), self.settings)
        rng = torch.Generator().manual_seed(key % 2**63)
        for name, weights in self.net.named_parameters():
            scale = 0.05 if weights.shape[0] == len(apps) or "fields" in name else weights.shape[-1] ** -0.5
            nn.init.zeros_(weights) if weights.ndim == 1 or "positions" in name else nn.init.normal_(
                weights, 0.0, scale, generator=rng
            )
        self.optimiser = torch.optim.Adagrad(
            self.net.parameters(), self.settings.rate, initial_accumulator_value=0.1
        )

    def inputs(self, requests: Requests) -> Tensor:
        """float32[B, C, X]: what is known of user and context, broadcast over the apps, and of each app."""
        users = torch.from_numpy(user_codes(requests, self.cardinalities, len(self.apps)).astype(np.int64))
        shown = torch.from_numpy(requests.apps.astype(np.int64))
        owned = torch.from_numpy(requests.installed.astype(np.int64))
        has = (owned >= 0)[:, :, None].float()
        taste = (self.net.installed(owned.clamp(min=0)) * has).sum(1) / has.sum(1).clamp(min=1)
        age = requests.sim_day[:, None].astype(np.int64) - self.apps.release_day[requests.apps]
        bucket = torch.from_numpy(np.log2(np.clip(age, 0, 2**14) + 1).astype(np.int64))
        codes = torch.cat([self.codes[shown], bucket[:, :, None]], 2)
        fields, n = list(self.net.fields), users.shape[1]
        left = torch.cat([taste, *(fields[i](users[:, i]) for i in range(n))], 1)
        right = [fields[n + i](codes[:, :, i]) for i in range(codes.shape[2])]
        rate = (self.counts[1] + 2.0) / (self.counts[0] + 40.0)
        history = np.stack([np.log(rate / (1 - rate)) + 3.0, np.log1p(self.counts[0]) / 8], 1)
        dense = torch.from_numpy(history.astype(np.float32))[shown]
        wide = left[:, None].expand(-1, shown.shape[1], -1)
        return torch.cat([wide, self.net.shown(shown), *right, dense], 2)

    def fit(self, data: Log, key: int) -> None:
        """One pass over each day, with what was known before it; the order of requests is drawn by `key`."""
        for day in days_in(data.requests):
            log = data.take(data.requests.sim_day == day)
            order = np.random.default_rng([key % 2**63, day % 2**32]).permutation(len(log))
            for start in range(0, len(log), self.settings.batch_requests):
                batch = log.take(order[start : start + self.settings.batch_requests])
                odds = self.net(self.inputs(batch.requests).flatten(0, 1))
                odds = (
                    odds
                    + self.net.positions(torch.from_numpy(batch.positions.astype(np.int64)).flatten())[:, 0]
                )
                labels = torch.from_numpy(batch.labels.astype(np.float32)).flatten()
                self.optimiser.zero_grad()
                nn.functional.binary_cross_entropy_with_logits(odds, labels, reduction="sum").backward()
                self.optimiser.step()
            np.add.at(self.counts[0], log.requests.apps.ravel(), 1.0)
            np.add.at(self.counts[1], log.requests.apps[log.labels > 0], 1.0)

    @torch.no_grad()
    def score(self, requests: Requests) -> Array:
        """Log odds float32[B, C] at the top position, in products of one fixed shape."""
        x = self.inputs(requests).flatten(0, 1)
        scores = np.empty(len(x) + PAIRS, np.float32)
        top = float(self.net.positions.weight[0, 0])
        for start in range(0, len(x), PAIRS):
            part = x[start : start + PAIRS]
            block = torch.cat([part, part.new_zeros(PAIRS - len(part), x.shape[1])])
            scores[start : start + PAIRS] = self.net(block).numpy() + top
        return scores[: len(x)].reshape(requests.apps.shape)

    def publish(self) -> DCN:
        """A copy that later fits leave alone."""
        return copy.deepcopy(self)

    def save(self, folder: Path) -> None:
        """Weights, AdaGrad's sums and the apps' history, as arrays."""
        arrays = {f"net.{name}": value.numpy() for name, value in self.net.state_dict().items()}
        for place, state in self.optimiser.state_dict()["state"].items():
            arrays[f"sum.{place}"] = state["sum"].numpy()
        checkpoint.write(
            folder, f"{type(self).__module__}:{type(self).__name__}", arrays | {"counts": self.counts},
            form="both", key=self.key, settings=self.settings.model_dump(mode="json"),
            cardinalities=dataclasses.asdict(self.cardinalities),
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path, apps: AppTable) -> Self:
        """What `save` wrote; it goes on as if it had never left memory."""
        arrays, meta = checkpoint.read(folder, None, "both")
        ranker = cls(apps, Cardinalities(**meta["cardinalities"]), meta["settings"], meta["key"])
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        ranker.net.load_state_dict({n[4:]: value for n, value in tensors.items() if n.startswith("net.")})
        for place, weights in enumerate(ranker.net.parameters()):
            ranker.optimiser.state[weights]["sum"] = tensors[f"sum.{place}"]
        ranker.counts = arrays["counts"]
        return ranker
