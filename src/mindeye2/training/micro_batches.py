"""Rows of a batch: counted, split into micro-batches, and named where a loss is not finite."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["Batch", "ComparesRows", "count_rows", "name_extremes", "split_rows", "take_rows"]

Batch = dict[str, Any]
"""Keyword arguments of a module: tensors whose first axis is the rows, mappings of such tensors,
and values that hold for all rows."""


@runtime_checkable
class ComparesRows(Protocol):
    """A module whose loss compares all rows of a batch with each other.

    Its gradient is computed in micro-batches as in GradCache (Gao et al. 2021, arXiv:2101.06983):
    embeddings of all rows without gradient, the gradient of `compare` at these embeddings, then
    each micro-batch again with its part of that gradient (`forward` with ``gradients``).
    """

    def split(self, batch: Batch, n: int) -> tuple[list[Int[Tensor, " _"]], list[Batch]]:
        """Return the rows of each micro-batch, and the micro-batches."""

    def compare(self, embeddings: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return ``loss`` and its terms from embeddings (`forward` with ``embed``) of all rows."""


def count_rows(batch: Batch) -> int:
    """Return the rows of a batch, from its first entry."""
    first = next(iter(batch.values()))
    return sum(map(len, first.values())) if isinstance(first, Mapping) else len(first)


def take_rows(value: Any, rows: Int[Tensor, " _"]) -> Any:  # noqa: ANN401 - an entry of a batch
    """Return some rows of one entry of a batch."""
    if isinstance(value, Mapping):
        return {name: take_rows(part, rows) for name, part in value.items()}
    return value[rows.to(value.device)] if isinstance(value, Tensor) and value.ndim else value


def split_rows(n_rows: int, n: int, *, of: str = "") -> list[Int[Tensor, " _"]]:
    """Return the consecutive rows of `n` equal micro-batches, or refuse a remainder."""
    if n_rows % n:
        raise ValueError(
            f"{n_rows} rows{of} of each process cannot be divided equally into {n} micro-batches. "
            f"Set optimizer.accumulate to a divisor of {n_rows}."
        )
    return list(torch.arange(n_rows).chunk(n))


def _tensors(batch: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in batch.items():
        if isinstance(value, Mapping):
            yield from _tensors(value, f"{prefix}{name} of ")
        elif isinstance(value, Tensor) and value.ndim and value.is_floating_point():
            yield prefix + name, value.detach()


def name_extremes(
    batch: Batch, trials: Mapping[str, Int[Tensor, " _"]], *, limit: float = 1e4
) -> str:
    """Name the entries of a batch, and their rows, that are not finite or beyond a limit.

    `trials` holds the numbers of the rows of one subject; without it rows count within the batch.
    """
    found = []
    for name, values in _tensors(batch):
        sizes = values.float().reshape(len(values), -1).abs().amax(dim=1)
        rows = (~(sizes <= limit)).nonzero()[:, 0].cpu()  # NaN too
        if len(rows):
            subject = name.rpartition(" of ")[0] and name.removeprefix("betas of ")
            numbers = trials[subject][rows] if subject in trials else rows
            kind = "trials" if subject in trials else "rows"
            shown = ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(rows) > 5 else "")
            # The largest of values that are finite, else NaN or infinity.
            found.append(f"{name} reach {float(sizes.max()):g} in {kind} {shown}")
    return "; ".join(found)
