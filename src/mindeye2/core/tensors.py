"""Safetensors files, written whole or not at all; modules whose weights come from such files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["read_tensor", "save_tensors", "tensor_names", "without_values"]


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file in one step, readable as other files of the user are.

    Memory-mapped tensors are written from the page cache without a copy (safetensors 0.8), so that
    memory does not grow with the file.

    Parameters
    ----------
    tensors
        Names and values, on any device; they may be views and share memory.
    path
        The file.
    metadata
        Strings for the file's header.

    Raises
    ------
    OSError
        If the file cannot be written, on a full disk for example. Nothing is left of it.
    """
    values: dict[str, Tensor] = {}
    addresses = set()
    for name, value in tensors.items():
        values[name] = value.detach().cpu().contiguous()
        # safetensors refuses tensors that share memory.
        if values[name].data_ptr() in addresses:
            values[name] = values[name].clone()
        addresses.add(values[name].data_ptr())
    try:
        # It writes under a temporary name and renames, but leaves the file to its owner alone.
        save_file(values, path, metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    path.chmod(0o644)


def tensor_names(path: Path) -> set[str]:
    """Return the names of the tensors in a safetensors file; none where there is no file."""
    if not path.exists():
        return set()
    with safe_open(path, framework="pt") as stored:
        return set(stored.keys())


def read_tensor(path: Path, name: str) -> Tensor:
    """Read one tensor of a safetensors file."""
    with safe_open(path, framework="pt") as stored:
        values: Tensor = stored.get_tensor(name)
    return values


@contextmanager
def without_values() -> Iterator[None]:
    """Build modules whose parameters have shapes only, until weights are assigned to them.

    Yields
    ------
    None
        Inside the block tensors are made on the meta device.
    """
    with torch.device("meta"), _NoInitialValues():
        yield


class _NoInitialValues(TorchFunctionMode):
    """Skips random initial values.

    For those on the meta device PyTorch would import 800 modules, which takes seconds.
    """

    def __torch_function__(  # noqa: PLR0917 - PyTorch calls it so
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever `func` returns
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        if func is torch.randn:
            func = torch.empty
        return func(*args, **(kwargs or {}))
