"""Pickled dictionaries in ``.npy`` files, read by an unpickler with an allow-list.

A pickle may name any function and call it. `pickle.Unpickler.find_class` is where it names them:
what NumPy needs to rebuild arrays and scalars is allowed, every other name is refused before it is
imported (Python's documents, "Restricting Globals").
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mindeye2.core.errors import ArtifactError

__all__ = ["read_pickled_npy"]


class _RefusedError(pickle.UnpicklingError):
    """A name or type outside the allow-list."""


def _dtype(code: str, *_: object) -> np.dtype[Any]:
    if not re.fullmatch(r"[biufcSUO]\d*", code):
        raise _RefusedError(f"an array of type {code!r}")
    return np.dtype(code, copy=True)  # the unpickler changes it


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _RefusedError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


_ARRAY: Any = np.empty(0)
_SCALAR: Any = np.float64(0)

_ALLOWED: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _dtype,
    "numpy.ndarray": np.ndarray,
    # NumPy's own functions, wherever its version keeps them.
    "numpy.multiarray._reconstruct": _ARRAY.__reduce__()[0],
    "numpy.multiarray.scalar": _SCALAR.__reduce__()[0],
    "numpy.numeric._frombuffer": _ARRAY.__reduce_ex__(5)[0],
    # Bytes, in protocols 0 to 2.
    "_codecs.encode": _latin1,
    "__builtin__.bytes": bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Callable[..., Any]:
        # NumPy 2 moved numpy.core to numpy._core.
        allowed = _ALLOWED.get(f"{re.sub(r'^numpy[.]_?core', 'numpy', module)}.{name}")
        if allowed is None:
            raise _RefusedError(f"the name {module}.{name}")
        return allowed


def read_pickled_npy(path: Path) -> dict[str, Any]:
    """Read the dictionary that ``numpy.save(path, dictionary)`` wrote, without running code."""
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, _, dtype = header(stream)
            if dtype.kind != "O" or shape not in {(), (1,)}:
                raise ArtifactError(
                    f"{path} holds an array of shape {shape} and type {dtype}, not a pickled "
                    "dictionary."
                )
            found = _Unpickler(stream, encoding="latin1").load()
    except _RefusedError as error:
        raise ArtifactError(
            f"{path} holds {error}, which could run code when it is read; only arrays, "
            "numbers, text and lists, tuples and dictionaries of them are accepted, so it was "
            "not read. If you trust the file, save its 'betasmd' as HDF5 (GLMsingle's option "
            "wanthdf5) or as a plain array for 'mindeye2 prepare table'."
        ) from error
    # A damaged pickle fails in as many ways as it has instructions.
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError,
        AttributeError, MemoryError, OverflowError, RecursionError, ImportError,
    ) as error:  # fmt: skip
        raise ArtifactError(
            f"{path} is truncated or damaged ({error}). Copy it again from where it was made."
        ) from error
    content = found.flat[0] if isinstance(found, np.ndarray) and found.size == 1 else found
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} holds a {type(content).__name__}; a dictionary is needed.")
    return content
