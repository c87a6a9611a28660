"""Randomness as an argument, the device, and progress that a person can read."""

import contextlib
import hashlib
import os
import resource
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import numpy as np
import torch

__all__ = [
    "available_cores",
    "choose_device",
    "generator",
    "numpy_rng",
    "peak_memory_gib",
    "process_rng",
    "progress",
]

T = TypeVar("T")


def _seed(seed: int, stream: tuple[object, ...]) -> int:
    text = "/".join(map(str, (seed, *stream)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, *stream: object, device: str | torch.device = "cpu") -> torch.Generator:
    """Make the generator of one named stream of randomness.

    Streams are independent of each other and of the order in which they are asked for, so that a
    result does not depend on the batch, the number of processes, or what ran before.

    Parameters
    ----------
    seed
        The seed of the run.
    *stream
        What the numbers are for, e.g. ``"mixco", step``.
    device
        Where the generator lives.

    Returns
    -------
    torch.Generator
        Freshly seeded.
    """
    return torch.Generator(device).manual_seed(_seed(seed, stream))


def numpy_rng(seed: int, *stream: object) -> np.random.Generator:
    """Make the NumPy generator of one named stream of randomness; see `generator`.

    Parameters
    ----------
    seed
        The seed of the run.
    *stream
        What the numbers are for.

    Returns
    -------
    numpy.random.Generator
        Freshly seeded.
    """
    return np.random.default_rng(_seed(seed, stream))


@contextlib.contextmanager
def process_rng(seed: int, *stream: object) -> Iterator[None]:
    """Seed PyTorch's process-wide generator for a block, and restore it afterwards.

    Only for what cannot be handed a generator: dropout and weight initialisation.

    Parameters
    ----------
    seed
        The seed of the run.
    *stream
        What the numbers are for.

    Yields
    ------
    None
        Inside the block the process-wide generator is seeded.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(_seed(seed, stream))  # noqa: TID251 - restored by fork_rng
        yield


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name
        ``"auto"`` (CUDA where there is one, else the CPU), or any name that PyTorch knows.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    ValueError
        If PyTorch does not know the name, or CUDA is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"--device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {name!r}."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"--device {name} was asked for, but PyTorch {torch.__version__} sees no CUDA device. "
            "Use --device cpu, or install a CUDA build of torch."
        )
    return device


def available_cores() -> int:
    """Count the CPU cores that this process may use.

    Returns
    -------
    int
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_gib() -> float:
    """Return the largest resident memory of this process so far, in GiB.

    Returns
    -------
    float
        GiB.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def progress(items: Iterable[T], *, label: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` behind a bar with the time left, on stderr, where that is a terminal.

    Parameters
    ----------
    items
        What to go through.
    label
        What is being done, e.g. ``"tokens"``.
    total
        How many items there are, where `items` has no length.

    Yields
    ------
    T
        The items.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    # Of the processes that torchrun started, one bar is enough.
    if not console.is_terminal or os.environ.get("RANK", "0") != "0":
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    yield from track(items, description=label, total=total, console=console)
