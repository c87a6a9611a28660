"""Seeded random streams, the compute device, memory, and progress."""

import contextlib
import hashlib
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

__all__ = [
    "available_cores",
    "choose_device",
    "each_on_one_thread",
    "generator",
    "numpy_rng",
    "peak_memory_gib",
    "process_rng",
    "progress",
]

T = TypeVar("T")
R = TypeVar("R")

_LINE_SECONDS = 30.0


def _seed(seed: int, stream: tuple[object, ...]) -> int:
    text = "/".join(map(str, (seed, *stream)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, *stream: object, device: str | torch.device = "cpu") -> torch.Generator:
    """Return the torch generator of a named random stream.

    Streams are independent of each other and of the order in which they are made, so that a result
    does not depend on the batch, the number of processes, or earlier work.

    Parameters
    ----------
    seed
        The seed of the run.
    *stream
        Name of the stream, e.g. ``"mixco", step``.
    device
        Device of the generator.

    Returns
    -------
    torch.Generator
        Freshly seeded.
    """
    return torch.Generator(device).manual_seed(_seed(seed, stream))


def numpy_rng(seed: int, *stream: object) -> np.random.Generator:
    """Return the NumPy generator of a named random stream; see `generator`."""
    return np.random.default_rng(_seed(seed, stream))


@contextlib.contextmanager
def process_rng(seed: int, *stream: object) -> Iterator[None]:
    """Seed PyTorch's global generator in a block, for dropout and weight initialisation."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(_seed(seed, stream))  # noqa: TID251 - restored by fork_rng
        yield


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name
        ``"auto"`` (CUDA where available, else the CPU), or any name that PyTorch accepts.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    ValueError
        If PyTorch does not accept the name, or CUDA is asked for and not available.
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
            f"--device {name} was asked for, but PyTorch {torch.__version__} finds no CUDA "
            "device. Use --device cpu, or install a CUDA build of torch."
        )
    return device


def each_on_one_thread(
    work: Callable[[T], R], items: Iterable[T], *, device: torch.device
) -> Iterator[R]:
    """Yield what `work` returns for each item, on a CPU with as many at once as there are threads.

    Threads that share a tensor round its sums differently than one does. Here each item has one
    thread to itself, so that the results depend on the number of threads as little as on that of
    processes.

    Parameters
    ----------
    work
        Computes on `device`; on a CPU it is called from several threads.
    items
        What to go through, in order.
    device
        Where `work` computes; on another device than a CPU, one item after the other.

    Yields
    ------
    R
        The result of each item, in order.
    """
    if device.type != "cpu":
        yield from map(work, items)
        return
    n_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            n_threads, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield from pool.map(work, items)
    finally:
        # A thread's number is also that of threads that start later.
        torch.set_num_threads(n_threads)


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_gib() -> float:
    """Return the peak resident memory of this process in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def progress(
    items: Iterable[T],
    *,
    label: str,
    total: int | None = None,
    start: int = 0,
    note: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Yield `items` and show their progress on stderr.

    On a terminal it is a bar; elsewhere, e.g. in the log of a cluster, a line every 30 seconds.
    Of several processes the first alone shows it.

    Parameters
    ----------
    items
        What to go through.
    label
        What is done.
    total
        Items in all; by default their number where they have one.
    start
        Items that an earlier run went through, of `total`.
    note
        Called when something is shown, e.g. for the last loss.

    Yields
    ------
    T
        Each item.
    """
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeRemainingColumn

    if os.environ.get("RANK", "0") != "0":
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items) + start
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from _in_lines(items, label, total, start=start, note=note)
        return
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(), TextColumn("left"))
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as bar:
        task = bar.add_task(label, total=total, completed=start, note="")
        for item in items:
            yield item
            bar.update(task, advance=1, note=note() if note else "")


def _in_lines(
    items: Iterable[T],
    label: str,
    total: int | None,
    *,
    start: int,
    note: Callable[[], str] | None,
) -> Iterator[T]:
    """Yield items and write a line when 30 seconds have passed since the last one."""
    began = written = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - written < _LINE_SECONDS:
            continue
        written = now
        parts = [f"{label}: {start + done}"]
        if total:
            left = (now - began) / done * (total - start - done)
            parts = [
                f"{label}: {start + done} of {total} ({100 * (start + done) / total:.0f} %)",
                f"{_duration(left)} left",
            ]
        sys.stderr.write(", ".join(filter(None, [*parts, note() if note else ""])) + "\n")
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
