"""Training over several processes: shards of each batch, gathered rows, and one writer.

Process groups, ranks and barriers are accelerate's and torch.distributed's. In a single process
every function here is a no-op.
"""

import atexit
import functools
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from jaxtyping import Float, Shaped
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import FunctionCtx

from mindeye2.core.errors import InterruptedRun
from mindeye2.core.runtime import choose_device

__all__ = [
    "Shard",
    "batch_std",
    "current_shard",
    "gather_rows",
    "init_processes",
    "mean_over_ranks",
    "run_on_rank0",
    "wait_for_all",
]

T = TypeVar("T")

_ALONE: ContextVar[bool] = ContextVar("_ALONE", default=False)
"""Whether the other processes wait, so that this one does everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The part of every batch that one rank computes."""

    rank: int = 0
    world_size: int = 1

    def check(self, n_rows: int, *, rows: str = "images", setting: str = "batch_size") -> None:
        """Refuse a batch that cannot be divided equally among the ranks."""
        if n_rows % self.world_size == 0:
            return
        fitting = n_rows - n_rows % self.world_size
        hint = f"Add --set {setting}={fitting}, or start" if fitting else "Start"
        raise ValueError(
            f"{n_rows} {rows} a step cannot be divided equally among {self.world_size} processes. "
            f"{hint} a number of processes that divides {n_rows}."
        )

    def of(self, whole: Shaped[Tensor, "batch ..."]) -> Shaped[Tensor, "_ ..."]:
        """Return this rank's consecutive rows of a whole batch."""
        if self.world_size == 1:
            return whole
        self.check(len(whole))
        return whole.chunk(self.world_size)[self.rank]


def current_shard() -> Shard:
    """Return the shard of this process; the whole batch unless `init_processes` found others.

    The whole batch within `run_on_rank0` too, where the others wait.
    """
    if _ALONE.get() or not (dist.is_available() and dist.is_initialized()):
        return Shard()
    return Shard(rank=dist.get_rank(), world_size=dist.get_world_size())


def init_processes(device: str = "auto") -> torch.device:
    """Initialise the process group if a launcher started it; return this rank's device.

    Parameters
    ----------
    device
        As in `mindeye2.core.runtime.choose_device`; of several GPUs each rank takes its own.

    Returns
    -------
    torch.device
        Device of this rank.

    Raises
    ------
    ValueError
        If one GPU is named for several processes, or there are fewer GPUs than processes.
    """
    chosen = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return chosen
    if chosen.type == "cuda":
        _check_gpus(chosen)
    # Rank 0 writes and hashes files of many GiB while the others wait.
    state = PartialState(cpu=chosen.type == "cpu", timeout=timedelta(hours=2))
    # Threads of a group that outlives the interpreter end the process with an error, now and then.
    atexit.register(_leave)
    _waiting_group(dist.group.WORLD)
    own: torch.device = state.device
    return own


@functools.cache
def _waiting_group(world: dist.ProcessGroup | None) -> dist.ProcessGroup | None:  # noqa: ARG001
    """Return a group of all processes that waits for days, without a GPU spinning meanwhile."""
    group: dist.ProcessGroup | None = dist.new_group(backend="gloo", timeout=timedelta(days=30))
    return group


def wait_for_all() -> None:
    """Wait until every process has come to here, however long that takes.

    Raises InterruptedRun if one of them ends before.
    """
    if current_shard().world_size == 1:
        return
    try:
        dist.barrier(group=_waiting_group(dist.group.WORLD))
    except RuntimeError as error:
        raise InterruptedRun("another process ended; its own message says why.") from error


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _check_gpus(device: torch.device) -> None:
    local_rank, n_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    # Each process is refused, so that none waits for another. SLURM's own launcher may not say it.
    n_processes = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1))
    if str(device) != "cuda":
        raise ValueError(
            f"--device {device} names one GPU, but several processes were started, each of which "
            "takes its own. Leave --device out."
        )
    if n_processes > n_gpus:
        raise ValueError(
            f"{n_processes} processes were started on this machine, but PyTorch finds {n_gpus} "
            f"GPUs, and each process needs its own. Start {n_gpus} (torchrun --nproc-per-node "
            f"{n_gpus}), make more GPUs visible (CUDA_VISIBLE_DEVICES, the job's --gpus), or add "
            "--device cpu."
        )


def run_on_rank0(work: Callable[[], T]) -> T | None:
    """Run `work`, such as writing files, on rank 0 while the others wait; they return None.

    Within `work` functions for several processes compute everything themselves.
    """
    result = None
    if current_shard().rank == 0:
        alone = _ALONE.set(True)
        # If it raises, the process ends, and with it the waiting of the others.
        try:
            result = work()
        finally:
            _ALONE.reset(alone)
    wait_for_all()
    return result


def gather_rows(rows: Float[Tensor, "_ ..."]) -> Float[Tensor, "batch ..."]:
    """All-gather the rows of every rank, in the order of ranks, with gradient.

    A loss of all rows that each rank computes alike has, once gradients are averaged over ranks,
    the gradient of one process that holds the whole batch.
    """
    if current_shard().world_size == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    """All-gather whose gradient is the sum of what each rank's loss has for the own rows.

    PyTorch's differentiable one is deprecated, and its successor private.
    """

    @staticmethod
    def forward(_: FunctionCtx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


@torch.no_grad()
def mean_over_ranks(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Average a tensor over ranks, without gradient."""
    if current_shard().world_size == 1:
        return values
    mean: Tensor = reduce(values.detach().clone(), "mean")
    return mean


@torch.no_grad()
def batch_std(values: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Return the standard deviation of all numbers of the whole batch, without gradient."""
    n = values.numel() * current_shard().world_size
    mean = mean_over_ranks(values.double().mean())
    variance = mean_over_ranks((values.double() - mean).square().mean()) * n / (n - 1)
    return variance.sqrt().to(values)
