"""Batches: the rows of a step, preparation ahead of time, and transfer to the device."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from mindeye2.core.runtime import generator

__all__ = ["epoch_rows", "prefetched", "to_device"]

B = TypeVar("B")


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
        call for its step. When the block is left, the thread has ended.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as thread:
        waiting = {step: thread.submit(batch_of, step) for step in steps[:1]}

        def take(step: int) -> B:
            prepared = waiting.pop(step, None)
            batch = prepared.result() if prepared else batch_of(step)
            following = step + steps.step
            if following in steps and following not in waiting:
                waiting[following] = thread.submit(batch_of, following)
            return batch

        try:
            yield take
        finally:
            thread.shutdown(cancel_futures=True)


def to_device(values: Shaped[Tensor, "..."], device: torch.device) -> Shaped[Tensor, "..."]:
    """Move a tensor of a batch to its device; to a GPU through pinned memory, without waiting."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
