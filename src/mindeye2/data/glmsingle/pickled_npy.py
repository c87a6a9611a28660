"""Reading ``.npy`` files that hold a pickled dictionary, without running anything.

A pickle is a program: it may name any function and call it. This reader knows the few names
that NumPy writes for arrays and single numbers, and even these do not reach NumPy: each stands for
a small class of this module, which keeps what the file says until it has been checked. Whatever
else a file names is refused before it is looked up.
"""

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from mindeye2.core.errors import ArtifactError

__all__ = ["read_pickled_npy"]


class _Refused(pickle.UnpicklingError):
    """The file names or does what arrays and plain containers never need."""


class _Dtype:
    """A type of numbers or text, from its code: ``f4``."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.order: Literal["<", ">", "=", "|"] = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # (version, byte order, subtype, names, fields, size, alignment, flags)
        if state[2] is not None or state[3] is not None or state[4] is not None:
            raise _Refused("a structured array")
        if state[1] not in {"<", ">", "=", "|"}:
            raise _Refused("an array of unknown byte order")
        self.order = state[1]

    def real(self) -> np.dtype[Any]:
        kind = np.dtype(self.code)
        if kind.kind not in "biufcSUO":
            raise _Refused(f"an array of type {self.code!r}")
        return kind.newbyteorder(self.order)


class _Array:
    """An array, empty until the file says what is in it."""

    def __init__(self, *_: object) -> None:
        self.values: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, columns_first, stored = state
        if not isinstance(kind, _Dtype) or not all(
            isinstance(n, int) and n >= 0 for n in tuple(shape)
        ):
            raise _Refused("an array without type or shape")
        dtype = kind.real()
        if dtype.kind == "O":
            if not isinstance(stored, list) or len(stored) != math.prod(shape):
                raise _Refused("an array of objects that are not listed")
            flat = np.empty(len(stored), object)
            flat[:] = stored
        else:
            if isinstance(stored, str):  # Python 2 and protocol 2 write bytes as text
                stored = stored.encode("latin1")
            if len(stored) != math.prod(shape) * dtype.itemsize:
                raise _Refused("an array whose bytes do not fit its shape")
            flat = np.frombuffer(stored, dtype)
        self.values = flat.reshape(shape, order="F" if columns_first else "C")


def _scalar(kind: _Dtype, stored: bytes | bytearray | str) -> object:
    if isinstance(stored, str):
        stored = stored.encode("latin1")
    dtype = kind.real()
    if dtype.kind == "O" or len(stored) != dtype.itemsize:
        raise _Refused("a number whose bytes do not fit its type")
    return np.frombuffer(stored, dtype)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise _Refused(f"bytes written as {encoding!r}")
    return text.encode("latin1")


def _from_buffer(stored: bytes | bytearray, kind: _Dtype, *layout: Any) -> _Array:  # noqa: ANN401
    shape, order = layout
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", stored))
    return array


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    # No bytes at all, in the words of the oldest protocols.
    ("__builtin__", "bytes"): lambda: b"",
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
"""What a file may name, and what stands for it here."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Callable[..., Any]:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _Refused(f"the name {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401 - as in the base class
        raise _Refused(f"a reference to something outside the file ({pid!r})")


def read_pickled_npy(path: Path) -> dict[str, Any]:
    """Read the dictionary that ``numpy.save(path, dictionary)`` wrote.

    Parameters
    ----------
    path
        A ``.npy`` file with one pickled dictionary of arrays, numbers, text and plain containers.

    Returns
    -------
    dict
        Arrays, which may not be written to, and plain values.

    Raises
    ------
    ArtifactError
        If the file is damaged, is no such dictionary, or names anything that could run code.
    """
    with path.open("rb") as stream:
        _skip_header(path, stream)
        try:
            found = _Unpickler(stream, encoding="latin1").load()
            plain = _plain(found)
        except _Refused as error:
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
    if not isinstance(plain, dict):
        raise ArtifactError(f"{path} holds a {type(plain).__name__}; a dictionary is needed.")
    return plain


def _skip_header(path: Path, stream: BinaryIO) -> None:
    try:
        version = np.lib.format.read_magic(stream)
        reader = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = reader(stream)
    except (ValueError, EOFError) as error:
        raise ArtifactError(f"{path} is truncated or no NumPy file ({error}).") from error
    if dtype.kind != "O" or shape not in {(), (1,)}:
        raise ArtifactError(
            f"{path} holds an array of shape {shape} and type {dtype}, not a pickled dictionary."
        )


def _plain(found: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    """Put real arrays in the place of those that stood for them."""
    if isinstance(found, _Array):
        values = found.values
        if values.dtype.kind != "O":
            return values
        if values.shape in {(), (1,)} and isinstance(values.flat[0], dict):
            return _plain(values.flat[0])
        return _plain(values.tolist())
    if isinstance(found, dict):
        return {_plain(key): _plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple | set | frozenset):
        return [_plain(value) for value in found]
    if isinstance(found, _Dtype):
        return str(found.real())
    return found
