"""Batches: the rows of a step, preparation ahead of time, and transfer to the device."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import Any, TypeVar

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from mindeye2.core.runtime import generator
from mindeye2.training.micro_batches import count_rows

__all__ = ["epoch_rows", "prefetched", "to_device"]

B = TypeVar("B")

_WINDOW = 20
"""Last steps whose times are compared."""

_MIN_LOST = 5.0
"""Seconds lost in these steps from which a slow disk is worth a word."""


def epoch_rows(
    n_rows: int, batch_size: int, step: int, *, seed: int, stream: str
) -> Int[Tensor, " batch"]:
    """Return the rows of one step, going through all rows once per epoch in a new order.

    Parameters
    ----------
    n_rows
        Rows there are.
    batch_size
        Rows a step takes; where it exceeds `n_rows`, rows repeat.
    step
        From 0.
    seed
        Seed of the run.
    stream
        What the rows are of; different streams are shuffled differently.

    Returns
    -------
    Tensor
        Row numbers.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(first // n_rows, (last - 1) // n_rows + 1):
        order = torch.randperm(n_rows, generator=generator(seed, "epoch", stream, epoch))
        start = epoch * n_rows
        parts.append(order[max(first, start) - start : min(last, start + n_rows) - start])
    return torch.cat(parts)


@contextmanager
def prefetched(batch_of: Callable[[int], B], steps: range) -> Iterator[Callable[[int], B]]:
    """Prepare the batch of the next step in a background thread while a step is computed.

    Parameters
    ----------
    batch_of
        The batch of one step, a pure function of the step's number that uses no global random
        generator.
    steps
        Steps in the order in which they will be taken.

    Yields
    ------
    Callable[[int], B]
        Same as `batch_of`, also for steps out of order. An error of `batch_of` is raised by the
        call for its step. When the block is left, the thread has ended. Batches that take longer
        than the steps are said once, as a warning.
    """
    pace, handed_over = _Pace(), time.monotonic()

    def prepare(step: int) -> tuple[B, float]:
        began = time.monotonic()
        return batch_of(step), time.monotonic() - began

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as thread:
        waiting = {step: thread.submit(prepare, step) for step in steps[:1]}

        def take(step: int) -> B:
            nonlocal handed_over
            computing = time.monotonic() - handed_over
            prepared = waiting.pop(step, None)
            batch, preparing = prepared.result() if prepared else prepare(step)
            following = step + steps.step
            if following in steps and following not in waiting:
                waiting[following] = thread.submit(prepare, following)
            pace.add(batch, preparing=preparing, computing=computing)
            handed_over = time.monotonic()
            return batch

        try:
            yield take
        finally:
            thread.shutdown(cancel_futures=True)


class _Pace:
    """Compares the time that batches take with that of the steps."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, float]] = deque(maxlen=_WINDOW)
        self._said = False

    def add(self, batch: object, *, preparing: float, computing: float) -> None:
        """Add the seconds of a batch and of the step before it; warn once if batches are slow."""
        self._times.append((preparing, computing))
        lost = sum(max(0.0, batch - step) for batch, step in self._times)
        if self._said or len(self._times) < _WINDOW or lost < _MIN_LOST:
            return
        preparing, computing = (median(times) for times in zip(*self._times, strict=True))
        if preparing > computing and isinstance(batch, Mapping):
            self._said = True
            _warn_of_slow_batches(batch, preparing=preparing, computing=computing)


def _warn_of_slow_batches(batch: Mapping[str, Any], *, preparing: float, computing: float) -> None:
    n_rows, megabytes = count_rows(dict(batch)), _n_bytes(batch) / 1e6
    warnings.warn(
        f"batches are prepared more slowly than steps are computed: {n_rows / preparing:.3g} "
        f"rows/s ({megabytes / preparing:.3g} MB/s) of {n_rows / max(computing, 1e-9):.3g} that a "
        f"process could train on, median of {_WINDOW} steps. Training goes on at that rate. Put "
        "the prepared data on a faster disk (local, not a network's), or leave more memory free: "
        "the system keeps there what was read before. If the disk is idle, each process needs "
        "more processor cores.",
        stacklevel=4,
    )


def _n_bytes(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(map(_n_bytes, value.values()))
    return value.nbytes if isinstance(value, Tensor) else 0


def to_device(values: Shaped[Tensor, "..."], device: torch.device) -> Shaped[Tensor, "..."]:
    """Move a tensor of a batch to its device; to a GPU through pinned memory, without waiting."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
