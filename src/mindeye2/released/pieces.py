"""A tensor that lies in several places of other files, and is put together block by block."""

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pieces", "blocks"]

_BLOCK = 16 * 2**20
"""Numbers at a time: 64 MB in float32, so that no tensor has to fit into memory."""


@dataclass(frozen=True)
class Pieces:
    """Flat parts that make one tensor when laid end to end."""

    shape: tuple[int, ...]
    """Shape of the whole."""

    parts: Sequence[Tensor]
    """One-dimensional, of one dtype; together at least as long as the whole."""

    @property
    def dtype(self) -> torch.dtype:
        """Return the parts' dtype."""
        return self.parts[0].dtype

    def whole(self) -> Tensor:
        """Put the tensor together in memory.

        Returns
        -------
        Tensor
            A copy, unless there is one part.
        """
        flat = self.parts[0] if len(self.parts) == 1 else torch.cat(list(self.parts))
        return flat.view(self.shape)


def blocks(value: Tensor | Pieces, *, mapped: bool) -> Iterator[Tensor]:
    """Go through a tensor's numbers in order.

    Parameters
    ----------
    value
        The tensor.
    mapped
        The numbers are memory-mapped from a file and were not changed. Each block is then let go
        when the next is asked for: without that, all of an 18 GB file that was read would count
        as this process's memory.

    Yields
    ------
    Tensor
        One-dimensional.
    """
    parts: Sequence[Tensor] = [value.reshape(-1)] if isinstance(value, Tensor) else value.parts
    # What is laid out otherwise was copied to be flattened, and a copy cannot be read again.
    mapped = mapped and not (isinstance(value, Tensor) and not value.is_contiguous())
    for part in parts:
        for block in part.split(_BLOCK):
            yield block
            if mapped:
                _release(block)


def _release(block: Tensor) -> None:
    """Tell the system that pages are not needed for now; they are read from the file again."""
    start = -(-block.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    stop = (block.data_ptr() + block.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if stop > start and advise is not None:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED)
