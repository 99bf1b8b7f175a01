"""What a process that works on tasks is like, wherever it runs: one thread, exact matrix products."""

from __future__ import annotations

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that hold a worker to one thread."""


class WorkerLostError(RuntimeError):
    """A worker process ended in the middle of a task; the run can be resumed."""


def one_blas_thread() -> None:
    """Holds numpy's matrix products to one thread in this process: with more, sums round differently."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1, user_api="blas")


def prepare_worker() -> None:
    """One intra-op thread for torch, and exact matrix products; the same in every process."""
    import torch

    from models import matmul

    one_blas_thread()
    torch.set_num_threads(1)
    matmul.prepare()
