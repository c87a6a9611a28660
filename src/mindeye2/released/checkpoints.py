"""Reading other people's checkpoint files: memory-mapped, and never running their code."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from mindeye2.core.errors import ArtifactError
from mindeye2.released.zero import is_zero_folder, read_zero

__all__ = ["Foreign", "read_checkpoint", "read_pickle"]

_BOOKKEEPING = ("deepspeed", "lightning", "lightning_fabric", "pytorch_lightning")
"""Packages whose objects stand beside the weights. Nothing of them is imported: each object is
replaced by one that holds nothing and does nothing."""

_INERT = (
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
)


@dataclass(frozen=True)
class Foreign:
    """What a checkpoint holds."""

    content: Mapping[Any, Any]
    """Nested as it was saved; tensors are memory-mapped where the format allows it."""

    mapped: bool
    """Whether they are."""

    files: tuple[Path, ...]
    """What was read."""


class _Nothing:
    """Stands for an object of another library."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def read_checkpoint(path: Path) -> Foreign:
    """Read a PyTorch, safetensors or DeepSpeed ZeRO checkpoint without running anything in it.

    Parameters
    ----------
    path
        A file, or the folder of a ZeRO checkpoint.

    Returns
    -------
    Foreign
        Its content.

    Raises
    ------
    ArtifactError
        If there is no such file, or it is truncated, of another format, or wants to run code.
    """
    path = Path(path)
    if not path.exists():
        raise ArtifactError(f"{path} does not exist. Give a checkpoint file or a ZeRO folder.")
    if path.is_dir():
        if not is_zero_folder(path):
            raise ArtifactError(
                f"{path} is a folder without '*_optim_states.pt' files, so it is no DeepSpeed "
                "ZeRO checkpoint. Give the checkpoint file itself, e.g. last.pth."
            )
        content, files = read_zero(path, read=lambda file: read_pickle(file)[0])
        return Foreign(content, mapped=True, files=files)
    if path.suffix == ".safetensors":
        return Foreign(_read_safetensors(path), mapped=True, files=(path,))
    content, mapped = read_pickle(path)
    return Foreign(content, mapped=mapped, files=(path,))


def read_pickle(path: Path) -> tuple[dict[Any, Any], bool]:
    """Read what ``torch.save`` wrote, with ``weights_only=True``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    tuple
        The dictionary that was saved, and whether its tensors are memory-mapped.

    Raises
    ------
    ArtifactError
        If the file is truncated, of another format, or wants to run code.
    """
    mapped = zipfile.is_zipfile(path)  # what PyTorch wrote before 1.6 cannot be mapped
    try:
        with _known_objects(path, zipped=mapped):
            content = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except Exception as error:
        raise ArtifactError(_explain(path, error)) from error
    if not isinstance(content, dict):
        raise ArtifactError(
            f"{path} holds a {type(content).__name__}, but a dictionary of weights is needed."
        )
    return content, mapped


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is truncated or not a safetensors file ({error}). Get it again."
        ) from error


@contextmanager
def _known_objects(path: Path, *, zipped: bool) -> Iterator[None]:
    """Allow NumPy's arrays, and put nothing in the place of other libraries' bookkeeping."""
    names = set(_INERT)
    if zipped:
        asked = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        names |= {name for name in asked if name.partition(".")[0] in _BOOKKEEPING}
    with torch.serialization.safe_globals([*map(_inert, sorted(names)), *_numpy_arrays()]):
        yield


def _inert(name: str) -> tuple[type, str]:
    module, _, last = name.rpartition(".")
    # PyTorch compares the class's own name with the one in the file.
    return type(last, (_Nothing,), {"__module__": module, "__qualname__": last}), name


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


def _explain(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL ([\w.]+)", str(error))
    if refused is not None:
        return (
            f"{path} is a pickle that wants to run {refused[1]!r}, which is not how weights are "
            "stored; nothing was run. Get the file from its publisher again."
        )
    size = path.stat().st_size
    first = " ".join(str(error).split())[:120]
    return (
        f"{path} ({size:,} bytes) is truncated or not a PyTorch file ({first}). Compare its size "
        "with its publisher's and get it again."
    )
