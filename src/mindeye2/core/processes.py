"""Several processes that train one model: which rows each takes, and what they tell each other.

torchrun and accelerate launch start the same command several times. Every process draws what the
whole batch needs, from the same named streams, and keeps its share of it: so the result does not
depend on how many there are. Where there is one, everything here gives back what it was given.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch import distributed as dist

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import choose_device

__all__ = [
    "WHOLE",
    "Share",
    "batch_std",
    "batch_variance",
    "exchange",
    "gather_rows",
    "join_processes",
    "on_main",
    "own_share",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The equal part of every batch that one process takes."""

    index: int = 0
    """Number of the process, from 0; the first one writes the files."""

    count: int = 1
    """Number of processes."""

    def check(self, n_rows: int, *, rows: str = "rows", setting: str = "batch_size") -> None:
        """Refuse a batch that cannot be divided equally.

        Parameters
        ----------
        n_rows
            Rows of the whole batch.
        rows
            What they are, e.g. ``"pictures"``.
        setting
            What sets their number.

        Raises
        ------
        ValueError
            If there is a remainder.
        """
        if not n_rows % self.count:
            return
        fitting = n_rows - n_rows % self.count
        remedy = f"Add --set {setting}={fitting}, or start" if fitting else "Start"
        raise ValueError(
            f"{n_rows} {rows} a step cannot be divided equally among {self.count} processes. "
            f"{remedy} another number of processes (1 to {n_rows})."
        )

    def of(
        self, whole: Shaped[Tensor, "batch ..."], sizes: Sequence[int] | None = None
    ) -> Shaped[Tensor, "_ ..."]:
        """Return this process's rows of a whole batch.

        Parameters
        ----------
        whole
            The whole batch.
        sizes
            Rows of its parts, each of which is divided, e.g. by subject; by default it is one.

        Returns
        -------
        Tensor
            A consecutive piece of each part.
        """
        if self.count == 1:
            return whole
        parts = whole.split(list(sizes or [len(whole)]))
        for part in parts:
            self.check(len(part))
        return torch.cat([part.chunk(self.count)[self.index] for part in parts])


WHOLE = Share()
"""The share of a process that is alone."""


def own_share() -> Share:
    """Return the share of this process.

    Returns
    -------
    Share
        Everything, unless `join_processes` found others.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return WHOLE
    return Share(index=dist.get_rank(), count=dist.get_world_size())


def join_processes(device: str = "auto") -> torch.device:
    """Meet the processes that were started with this one, and return where to compute.

    Parameters
    ----------
    device
        As in `mindeye2.core.runtime.choose_device`; of several GPUs each process takes its own.

    Returns
    -------
    torch.device
        The device of this process.

    Raises
    ------
    ValueError
        If one GPU is named for several processes, or there are fewer GPUs than processes.
    """
    place = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return place
    if place.type == "cuda":
        place = _own_gpu(place)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
        # The others wait while the first one writes and hashes files of several GiB.
        dist.init_process_group(backend, timeout=timedelta(hours=2))
    return place


def _own_gpu(place: torch.device) -> torch.device:
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if str(place) != "cuda":
        raise ValueError(
            f"--device {place} names one GPU, but several processes were started, each of which "
            "takes its own. Leave --device out."
        )
    if number >= there:
        raise ValueError(
            f"process {number} of this machine has no GPU: PyTorch sees {there}. Start one "
            "process per GPU (torchrun --nproc-per-node), or add --device cpu."
        )
    own = torch.device("cuda", number)
    torch.cuda.set_device(own)
    return own


def exchange(*values: float) -> list[tuple[float, ...]]:
    """Tell every process some numbers, and hear theirs.

    Parameters
    ----------
    *values
        As many on every process.

    Returns
    -------
    list of tuple
        What each process gave.
    """
    share = own_share()
    if share.count == 1:
        return [values]
    own = torch.tensor(values, dtype=torch.float64)
    heard = [torch.empty_like(own) for _ in range(share.count)]
    dist.all_gather(heard, own)
    return [tuple(numbers.tolist()) for numbers in heard]


def on_main(work: Callable[[], T]) -> T | None:
    """Let the first process do what only one may do, such as writing, while the others wait.

    Parameters
    ----------
    work
        What to do.

    Returns
    -------
    T | None
        What `work` returned on the first process, None on the others.

    Raises
    ------
    ArtifactError
        On the others, if the first process failed; it raises what `work` raised.
    """
    share, done, result = own_share(), False, None
    try:
        if share.index == 0:
            result = work()
        done = True
    finally:
        everywhere = exchange(float(done))
    if not all(fine for (fine,) in everywhere):
        raise ArtifactError("another process stopped; its message says why.")
    return result


def gather_rows(
    own: Float[Tensor, "_ ..."], *, share: Share, sizes: Sequence[int] | None = None
) -> Float[Tensor, "batch ..."]:
    """Return the rows of all processes in the order of the whole batch: `Share.of` undone.

    For a loss that compares each row with all others. Every process must compute the same loss of
    all rows; its mean over the processes, which is what their gradients are averaged to, then has
    the gradient of one process that holds the whole batch.

    Parameters
    ----------
    own
        Rows of this process.
    share
        Which they are.
    sizes
        As given to `Share.of`.

    Returns
    -------
    Tensor
        Rows of the whole batch.
    """
    if share.count == 1:
        return own
    parts: tuple[Tensor, ...] = _Gather.apply(own, share)  # type: ignore[no-untyped-call]
    pieces = [size // share.count for size in sizes or [share.count * len(own)]]
    by_size = zip(*(part.split(pieces) for part in parts), strict=True)
    return torch.cat([rows for of_all in by_size for rows in of_all])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, share: Share) -> tuple[Tensor, ...]:  # noqa: ANN401
        ctx.share = share
        parts = [own.new_empty(own.shape) for _ in range(share.count)]
        dist.all_gather(parts, own.contiguous())
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        # The loss is the same on every process, so the gradient of own rows is whole already. It
        # is multiplied because what follows is a mean over processes, of which only this one
        # has a gradient from these rows.
        return grads[ctx.share.index] * ctx.share.count, None


@torch.no_grad()
def batch_variance(own: Float[Tensor, "..."], share: Share) -> Float[Tensor, ""]:
    """Return the variance of all numbers of the whole batch; carries no gradient.

    Parameters
    ----------
    own
        Rows of this process; as many on each.
    share
        Which they are.

    Returns
    -------
    Tensor
        As ``own.var()`` of the whole batch.
    """
    if share.count == 1:
        return own.var()
    n = own.numel() * share.count
    mean = _summed(own.double().sum()) / n
    return (_summed((own.double() - mean).square().sum()) / (n - 1)).to(own)


@torch.no_grad()
def batch_std(own: Float[Tensor, "..."], share: Share) -> Float[Tensor, ""]:
    """Return the standard deviation of all numbers of the whole batch; carries no gradient.

    Parameters
    ----------
    own
        Rows of this process; as many on each.
    share
        Which they are.

    Returns
    -------
    Tensor
        As ``own.std()`` of the whole batch.
    """
    return own.std() if share.count == 1 else batch_variance(own, share).sqrt()


def _summed(x: Tensor) -> Tensor:
    dist.all_reduce(x)
    return x
