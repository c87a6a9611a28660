"""Which rows a step uses, as a pure function of the step's number."""

import torch
from jaxtyping import Int
from torch import Tensor

from mindeye2.core.runtime import generator

__all__ = ["epoch_rows"]


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
