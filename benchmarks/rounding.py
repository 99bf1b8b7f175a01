"""What bf16 costs in scores: the served form against fp32, and where in the net the error comes from.

    python benchmarks/rounding.py RUN

First the served bf16 form: the paper's untrained network on 100 requests, and the newest model of each arm of
RUN that has a net. Then, for those arms, the products of the net made again in float64 with one kind of
rounding at a time, whatever this processor multiplies.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.special import expit

from experiment.bench.engines import CANDIDATES
from experiment.bench.paper import PaperNet, prepare
from experiment.folder.paths import RunPaths
from experiment.folder.rundir import RunFolder
from experiment.server.live_model import published_days
from experiment.visitors import Visitors
from models import folded_deep, registry

Tensor = torch.Tensor
Product = Callable[[Tensor, Tensor], Tensor]
"""Of inputs [T, H] and weights [H, H'], float32 each; the result is float64."""

PAPER_REQUESTS, RUN_REQUESTS, TOP = 100, 256, 10


def narrow(x: Tensor) -> Tensor:
    """Rounded to bf16."""
    return x.bfloat16().double()


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two bf16 whose sum is nearly `x`."""
    return narrow(x), narrow((x.double() - narrow(x)).float())


def plain(x: Tensor, w: Tensor) -> Tensor:
    """One product in bf16, summed exactly."""
    return narrow(x) @ narrow(w)


def split_weights(x: Tensor, w: Tensor) -> Tensor:
    """The weights as two bf16."""
    return narrow(x) @ sum(halves(w))


def split_inputs(x: Tensor, w: Tensor) -> Tensor:
    """The inputs as two bf16."""
    product: Tensor = sum(halves(x)) @ narrow(w)
    return product


def split_both(x: Tensor, w: Tensor) -> Tensor:
    """Both, without the product of the two small parts."""
    (a, b), (c, d) = halves(x), halves(w)
    return a @ c + a @ d + b @ c


def integers(x: Tensor, w: Tensor) -> Tensor:
    """Both as integers by row and by column, of two int8 each, without the product of the low ones."""
    (a, b, s), (c, d, t) = _digits(x, 1), _digits(w, 0)
    return (128.0**2 * (a @ c) + 128.0 * (a @ d + b @ c)) * (s * t)


def _digits(x: Tensor, along: int) -> tuple[Tensor, Tensor, Tensor]:
    scale = x.double().abs().amax(along, keepdim=True).clamp_min(1e-30) / (127 * 128 + 63)
    whole = torch.round(x.double() / scale)
    high = torch.floor((whole + 64) / 128)
    return high, whole - 128 * high, scale


WAYS: dict[str, tuple[Product, str]] = {
    "bf16, results rounded before the bias too": (plain, "each twice"),
    "bf16, results rounded after bias and ReLU": (plain, "each"),
    "bf16, the last layer in fp32 (as served)": (plain, "all but the last"),
    "bf16, the weights as a sum of two": (split_weights, "none"),
    "bf16, the inputs as a sum of two": (split_inputs, "none"),
    "bf16, both as a sum of two, fp32 results": (split_both, "none"),
    "integers of two int8, fp32 results": (integers, "none"),
}
"""How each product is made, and which results are rounded to bf16."""


def logits(net: Any, x: Tensor, way: tuple[Product, str] | None) -> Tensor:
    """The net's log odds from its first layer's activations float32[T, H]; exact without a way."""
    layers, biases, out = (vars(net)[name] for name in ("_layers", "_biases", "_out"))
    for k, (w, bias) in enumerate(zip(layers, biases, strict=True)):
        last = k + 1 == len(layers)
        exact = way is None or (way[1] == "all but the last" and last and k > 0)
        z = x.double() @ w.double() if exact or way is None else way[0](x.float(), w)
        if way is not None and way[1] == "each twice":
            z = narrow(z.float())
        z = torch.relu(z + torch.from_numpy(bias).double())
        x = narrow(z.float()) if way is not None and way[1] != "none" and not exact else z
    return x.double() @ torch.from_numpy(out).double()


def activations(ranker: Any, requests: Any) -> Tensor:
    """The first layer's of every candidate, as the ranker fills its tiles, float32[B C, H]."""
    found, fill = [], folded_deep.__dict__["_fill_tile"]

    def keep(*arguments: Any) -> None:
        fill(*arguments)
        at, tile = arguments[-2:]
        found.append(tile[: requests.apps.size - at].copy())

    with mock.patch.object(folded_deep, "_fill_tile", keep):
        ranker.score(requests)
    return torch.from_numpy(np.concatenate(found))


def differences(found: Any, exact: Any) -> dict[str, float]:
    """Of log odds and chances, [B, C]; and how often the same apps come first."""
    a, b = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    first = [np.argsort(-x, axis=1, kind="stable")[:, :TOP] for x in (a, b)]
    same = [set(p) == set(q) for p, q in zip(*(x.tolist() for x in first), strict=True)]
    return {
        "log_odds": float(np.abs(a - b).max()),
        "log_odds_rms": float(np.sqrt(np.mean((a - b) ** 2))),
        "chance": float(np.abs(expit(a) - expit(b)).max()),
        "chance_rms": float(np.sqrt(np.mean((expit(a) - expit(b)) ** 2))),
        f"same_top_{TOP}": float(np.mean(same)),
    }


def measure(run: Path) -> dict[str, Any]:
    """The document that is printed."""
    prepare()
    paper = PaperNet.draw(20_000)
    exact = paper.publish()
    rounded = exact.rounded()
    asked = [paper.request(CANDIDATES, seed=seed) for seed in range(1, PAPER_REQUESTS + 1)]
    pairs = [(rounded.score(one), exact.score(one)) for one in asked]
    document: dict[str, Any] = {
        "paper": {
            **differences(*(np.concatenate(side) for side in zip(*pairs, strict=True))),
            "requests_beyond_5e-4": float(np.mean([np.abs(a - b).max() > 5e-4 for a, b in pairs])),
        }
    }
    folder = RunFolder.open(run)
    visitors = Visitors(folder)
    some = visitors.some(RUN_REQUESTS)
    for arm in folder.config.arms:
        days = published_days(folder.manifest, arm)
        if not days:
            continue
        model: Any = registry.load_published(RunPaths(run).model(arm, days[-1]), visitors.world.apps)
        nets = [p for p in getattr(model, "parts", {}).values() if isinstance(p, folded_deep.FoldedNet)]
        if not nets:
            continue
        x = activations(model, some)
        true = logits(nets[0], x, None)
        document[f"{arm}/{days[-1]}"] = {
            "served": differences(model.rounded().score(some), model.score(some)),
            "log_odds_rms_by_way": {
                name: float((logits(nets[0], x, way) - true).square().mean().sqrt())
                for name, way in WAYS.items()
            },
        }
    return document


def main() -> None:
    """Prints one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    print(json.dumps(measure(parser.parse_args().run), indent=2))


if __name__ == "__main__":
    main()
