"""Fast fp32 matrix products on the CPU.

With precision "medium" torch hands fp32 products to oneDNN, which on many processors is more than twice as
fast as the default library at the same accuracy; where the hardware would round to bfloat16 instead (AMX),
the default stays. A probe decides once per process, so a process computes in one way throughout. CUDA's
products stay fp32: there the same setting would round to TF32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

TOLERANCE = 1e-5
"""Relative error of the probe that still counts as fp32."""


@functools.cache
def prepare() -> str:
    """Chooses and sets torch's fp32 precision for this process; returns "medium" or "highest"."""
    rows = torch.arange(64 * 128, dtype=torch.float32).reshape(64, 128)
    a, b = torch.sin(rows), torch.cos(rows).t().contiguous()
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    if float(((a @ b).double() - exact).abs().max() / exact.abs().max()) > TOLERANCE:
        torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    return torch.get_float32_matmul_precision()


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware; elsewhere it would be slower than fp32."""
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())  # noqa: SLF001


def require_bf16() -> None:
    """Raises ValueError where the processor has no bf16 products."""
    if not has_bf16():
        raise ValueError("precision: got bf16 on a processor without bf16 products, fp32 is allowed")
