"""Writing safetensors tensor by tensor, so that no model has to fit into memory."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mindeye2.core.runtime import progress
from mindeye2.released.pieces import Pieces, blocks

__all__ = ["slim_bytes", "write_slim"]

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's names of types."""


def slim_bytes(state: Mapping[str, Tensor | Pieces], *, dtype: torch.dtype | None) -> int:
    """Return how large the file will be, without its header.

    Parameters
    ----------
    state
        Names and values.
    dtype
        What floating-point values become; None keeps them.

    Returns
    -------
    int
        Bytes.
    """
    return sum(math.prod(v.shape) * _becomes(v, dtype).itemsize for v in state.values())


def write_slim(
    path: Path,
    state: Mapping[str, Tensor | Pieces],
    *,
    dtype: torch.dtype | None,
    mapped: bool,
    facts: Mapping[str, str],
) -> None:
    """Write a safetensors file block by block, beside its place first.

    Parameters
    ----------
    path
        The file.
    state
        Names and values.
    dtype
        What floating-point values become; None keeps them.
    mapped
        The values are memory-mapped from a file, so that what was written may be let go.
    facts
        Metadata of the file.

    Raises
    ------
    ValueError
        If a finite number does not fit into `dtype`.
    """
    entries: dict[str, object] = {"__metadata__": dict(facts)}
    place = 0
    for name, value in state.items():
        kind = _becomes(value, dtype)
        size = math.prod(value.shape) * kind.itemsize
        entries[name] = {
            "dtype": _NAMES[kind],
            "shape": list(value.shape),
            "data_offsets": [place, place + size],
        }
        place += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # numbers start at a multiple of eight bytes
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as stream:
            stream.write(struct.pack("<Q", len(header)) + header)
            for name, value in progress(state.items(), label=f"writing {path.name}"):
                for block in blocks(value, mapped=mapped):
                    changed = _convert(block, _becomes(value, dtype), name=name)
                    stream.write(changed.contiguous().view(torch.uint8).numpy().data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _becomes(value: Tensor | Pieces, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and value.dtype.is_floating_point else value.dtype


def _convert(block: Tensor, dtype: torch.dtype, *, name: str) -> Tensor:
    changed = block.to(dtype)
    if dtype.is_floating_point and dtype.itemsize < block.dtype.itemsize:
        lost = block.isfinite() & ~changed.isfinite()
        if lost.any():
            raise ValueError(
                f"{name} has the value {block[lost][0].item():g}, which does not fit into "
                f"{str(dtype).removeprefix('torch.')}. Use --set precision=float32."
            )
    return changed
