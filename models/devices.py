"""Torch's devices: which of them this machine has, and sums by row that repeat bit for bit on each."""

from __future__ import annotations

import torch
from torch import Tensor


def require(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: if there is no such device, or this machine has none.
    """
    here = available()
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(_refusal(name, here)) from error
    if device.type != "cpu" and str(device) not in here:
        raise ValueError(_refusal(name, here))
    return device


def available() -> list[str]:
    """The names of the devices that this machine has, `cpu` first."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        return ["cpu"]
    return ["cpu", found.type, *(f"{found.type}:{n}" for n in range(torch.accelerator.device_count()))]


def add_at(target: Tensor, index: Tensor, source: Tensor) -> None:
    """target[index[n]] += source[n], in the order of n: `index_add_` of an accelerator adds in any order."""
    target.index_put_((index,), source, accumulate=True)


def _refusal(name: str, here: list[str]) -> str:
    return f"device: got {name!r}, this machine has {', '.join(here)}"
