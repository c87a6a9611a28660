"""Sums over many rows, accumulated in chunks that fit into memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Moments", "Rows", "row_chunks"]

CHUNK = 2**24
"""Numbers that are read at once: 64 MiB as float32."""


@runtime_checkable
class Rows(Protocol):
    """Rows that are read when they are indexed: a tensor, or a reader of a file."""

    @property
    def shape(self) -> Sequence[int]:
        """Shape of all rows together."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Read rows by number."""


def row_chunks(rows: Int[Tensor, " batch"], *, width: int) -> tuple[Int[Tensor, " _"], ...]:
    """Split row numbers into chunks whose rows of `width` numbers fit into memory."""
    chunks: tuple[Tensor, ...] = rows.split(max(1, CHUNK // width))
    return chunks


@dataclass
class Moments:
    """Sums over rows (x, y), of which a covariance, a ridge regression or their parts follow.

    Sums are of differences from offsets near the means, so that float32 keeps its digits.
    """

    x_offset: Float[Tensor, " features"]
    """Subtracted from every x."""

    y_offset: Float[Tensor, " features2"]
    """Subtracted from every y."""

    n: int
    """Number of rows."""

    x_sum: Float[Tensor, " features"]
    """Sum of x."""

    y_sum: Float[Tensor, " features2"]
    """Sum of y."""

    xx: Float[Tensor, "features features"]
    """Sum of the outer products of x with itself."""

    xy: Float[Tensor, "features features2"]
    """Sum of the outer products of x and y."""

    @classmethod
    def about(
        cls, x_offset: Float[Tensor, " features"], y_offset: Float[Tensor, " features2"]
    ) -> "Moments":
        """Return empty sums with given offsets."""
        a, b = len(x_offset), len(y_offset)
        sums = [x_offset.new_zeros(*shape) for shape in ((a,), (b,), (a, a), (a, b))]
        return cls(x_offset, y_offset, 0, *sums)

    def add(self, x: Float[Tensor, "batch features"], y: Float[Tensor, "batch features2"]) -> None:
        """Add rows."""
        x, y = x - self.x_offset, y - self.y_offset
        self.n += len(x)
        self.x_sum += x.sum(dim=0)
        self.y_sum += y.sum(dim=0)
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)

    def __sub__(self, part: "Moments") -> "Moments":
        """Return the sums over the rows that are not in a part with the same offsets."""
        return Moments(
            self.x_offset,
            self.y_offset,
            self.n - part.n,
            self.x_sum - part.x_sum,
            self.y_sum - part.y_sum,
            self.xx - part.xx,
            self.xy - part.xy,
        )

    @property
    def x_mean(self) -> Float[Tensor, " features"]:
        """Mean of x."""
        return self.x_offset + self.x_sum / self.n

    @property
    def y_mean(self) -> Float[Tensor, " features2"]:
        """Mean of y."""
        return self.y_offset + self.y_sum / self.n

    def centred(
        self,
    ) -> tuple[Float[Tensor, "features features"], Float[Tensor, "features features2"]]:
        """Return the sums of outer products of differences from the means."""
        mean = self.x_sum / self.n
        xx = torch.addr(self.xx, mean, self.x_sum, alpha=-1)
        return xx, torch.addr(self.xy, mean, self.y_sum, alpha=-1)
