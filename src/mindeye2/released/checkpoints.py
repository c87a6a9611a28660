"""Foreign checkpoint files, read memory-mapped and without running their code."""

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from mindeye2.core.errors import ArtifactError

__all__ = ["read_checkpoint", "read_pickle"]

_BOOKKEEPING = ("deepspeed", "lightning", "lightning_fabric", "pytorch_lightning")
"""Packages whose objects stand beside the weights. They are not imported: each object is replaced
by an empty one."""

_INERT = (
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
)

_SHARDS = "*_optim_states.pt"
"""Files of a DeepSpeed ZeRO checkpoint that hold its float32 weights."""


class _Empty:
    """Placeholder of an object of another library."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """Read a PyTorch or safetensors checkpoint without running code that it holds.

    Tensors are memory-mapped, except in files from before PyTorch 1.6, whose format does not allow
    it. Raises ``ArtifactError`` if there is no such file, it is truncated, of another format, or
    would run code, or if `path` is a folder.
    """
    path = Path(path)
    if not path.exists():
        raise ArtifactError(f"{path} does not exist. Give a checkpoint file.")
    if path.is_dir():
        raise ArtifactError(_explain_folder(path))
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise ArtifactError(
            f"{path} holds a {type(content).__name__}, but a dictionary of weights is needed."
        )
    return content


def read_pickle(path: Path) -> Any:  # noqa: ANN401 - whatever was saved
    """Read what ``torch.save`` wrote, without running code; raise an `ArtifactError` otherwise."""
    zipped = zipfile.is_zipfile(path)  # the format before PyTorch 1.6 cannot be mapped
    try:
        with _safe_globals(path, zipped=zipped):
            return torch.load(path, map_location="cpu", mmap=zipped, weights_only=True)
    except Exception as error:
        raise ArtifactError(_explain_file(path, error)) from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is truncated or not a safetensors file ({error}). Get it again."
        ) from error


def _explain_folder(folder: Path) -> str:
    """Return the message for a folder; DeepSpeed saves one, with a script that converts it."""
    shards = (p for pattern in (_SHARDS, f"*/{_SHARDS}") for p in folder.glob(pattern))
    if next(shards, None) is None:
        return f"{folder} is a folder. Give the checkpoint file itself, e.g. last.pth."
    # DeepSpeed puts the script beside the folder of each step.
    root = folder.parent if any(folder.glob(_SHARDS)) else folder
    return (
        f"{folder} is a DeepSpeed checkpoint, in parts. Put them together with the script that "
        f"DeepSpeed saved with it, 'python {root / 'zero_to_fp32.py'} {root} {root / 'fp32'}' "
        "(add --max_shard_size 100GB where the script has that option, for one file), and import "
        "the file that it writes."
    )


@contextmanager
def _safe_globals(path: Path, *, zipped: bool) -> Iterator[None]:
    """Allow NumPy's arrays, and replace other libraries' bookkeeping by empty objects."""
    names = set(_INERT)
    if zipped:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        names |= {name for name in named if name.partition(".")[0] in _BOOKKEEPING}
    with torch.serialization.safe_globals([*map(_inert, sorted(names)), *_numpy_arrays()]):
        yield


def _inert(name: str) -> tuple[type, str]:
    module, _, last = name.rpartition(".")
    # PyTorch compares the class's own name with the one in the file.
    return type(last, (_Empty,), {"__module__": module, "__qualname__": last}), name


def _numpy_arrays() -> list[Any]:
    rebuild: Any = np.empty(0).__reduce__()[0]
    kinds = {type(np.dtype(c)) for c in "?bBhHiIlLqQefdSU"}
    return [
        np.ndarray,
        np.dtype,
        *sorted(kinds, key=lambda kind: kind.__name__),
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
        (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
        (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    ]


def _explain_file(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if refused is not None:
        return (
            f"{path} is a pickle that calls {refused[1]!r}, which no file of weights needs; it "
            "was not run. Get the file from its publisher again."
        )
    size = path.stat().st_size
    first = " ".join(str(error).split())[:120]
    return (
        f"{path} ({size:,} bytes) is truncated or not a PyTorch file ({first}). Compare its size "
        "with its publisher's and get it again."
    )
