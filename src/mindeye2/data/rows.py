"""Betas that lie in several files, read as if they were one array."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from mindeye2.data.source_dataset import Rows

__all__ = ["JoinedRows"]


@dataclass(frozen=True)
class JoinedRows:
    """Parts one below the other, e.g. sessions or runs; each is read when it is asked for."""

    parts: Sequence[Rows]
    """Arrays of (trials, voxels) with the same voxels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels) of the whole."""
        return (len(self), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        """Return the number of trials."""
        return sum(len(part) for part in self.parts)

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " trials"]
    ) -> Float32[np.ndarray, "trials voxels"]:
        """Read some trials, in ascending order; parts without any of them are not touched."""
        wanted = np.arange(len(self))[rows]
        starts = np.cumsum([0, *(len(part) for part in self.parts)])
        blocks = [np.empty((0, *self.shape[1:]), np.float32)]
        for part, start in zip(self.parts, starts[:-1], strict=True):
            inside = wanted[(wanted >= start) & (wanted < start + len(part))] - start
            if len(inside):
                blocks.append(np.asarray(part[inside], np.float32))
        joined: Float32[np.ndarray, "trials voxels"] = np.concatenate(blocks)
        return joined
