"""Matrices in NumPy, HDF5 and MATLAB files, read row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int
from numpy.typing import NDArray

from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.source_dataset import Rows

__all__ = [
    "ARRAY_SUFFIXES",
    "ConcatenatedRows",
    "Hdf5Rows",
    "find_array",
    "is_hdf5",
    "open_matrix",
]

ARRAY_SUFFIXES = (".npy", ".h5", ".hdf5", ".mat")
"""Accepted suffixes of array files."""


def find_array(path: Path) -> Path | None:
    """Return the array file at a path whose suffix may be left out, or None; refuse several."""
    if path.suffix in ARRAY_SUFFIXES:
        return path if path.is_file() else None
    found = [p for s in ARRAY_SUFFIXES if (p := path.with_name(path.name + s)).is_file()]
    if len(found) > 1:
        raise ArtifactError(
            f"{[str(p) for p in found]} could all be meant; keep one of them, or name it in the "
            "settings."
        )
    return found[0] if found else None


@dataclass(frozen=True)
class Hdf5Rows:
    """A matrix in an HDF5 file, opened at each read so that other processes can read it too."""

    path: Path
    """The file."""

    name: str
    """The HDF5 data set."""

    shape: tuple[int, ...]
    """(trials, voxels)."""

    reversed_axes: bool = False
    """The file holds (voxels, trials), as MATLAB writes a matrix of (trials, voxels)."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice | Int[np.ndarray, " trials"]) -> NDArray[Any]:
        """Read some rows, in ascending order."""
        h5py = require("h5py", extra="data", purpose=f"Reading {self.path}")
        with h5py.File(self.path, "r") as file:
            stored = file[self.name]
            values = stored[:, rows].T if self.reversed_axes else stored[rows]
        return np.asarray(values)


@dataclass(frozen=True)
class ConcatenatedRows:
    """Matrices concatenated along the trials, e.g. of sessions or runs, each read on demand."""

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
        """Read some trials, in ascending order, from the parts that hold them."""
        wanted = np.arange(len(self))[rows]
        starts = np.cumsum([0, *(len(part) for part in self.parts)])
        blocks = [np.empty((0, *self.shape[1:]), np.float32)]
        for part, start in zip(self.parts, starts[:-1], strict=True):
            inside = wanted[(wanted >= start) & (wanted < start + len(part))] - start
            if len(inside):
                blocks.append(np.asarray(part[inside], np.float32))
        whole: Float32[np.ndarray, "trials voxels"] = np.concatenate(blocks)
        return whole


def open_matrix(path: Path, *, name: str) -> NDArray[Any] | Hdf5Rows:
    """Open a matrix of two axes without reading its values, where the format allows that.

    `name` is the array in an HDF5 or MATLAB file; if there is none of that name, the only numeric
    matrix is taken. Raises ``ArtifactError`` if the file is damaged or holds no such matrix.
    """
    matrix: NDArray[Any] | Hdf5Rows
    if path.suffix == ".npy":
        matrix = _open_npy(path)
    elif path.suffix == ".mat" and not is_hdf5(path):
        matrix = _open_old_matlab(path, name)
    else:
        matrix = _open_hdf5(path, name)
    if len(matrix.shape) != 2:
        raise ArtifactError(
            f"{path} holds an array of shape {matrix.shape}; a matrix of (trials, voxels) is "
            "needed: one row per trial, in the order of the table."
        )
    return matrix


def _open_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        hint = (
            "It holds Python objects, not numbers, and is not read, because that could run code. "
            "Save the matrix itself; GLMsingle's outputs are read by 'mindeye2 prepare glmsingle'."
            if "allow_pickle" in str(error) or "Python objects" in str(error)
            else f"It is truncated or not a NumPy array ({error}). Write it again."
        )
        raise ArtifactError(f"{path} cannot be read. {hint}") from error
    if array.dtype.kind not in "fiu":
        raise ArtifactError(f"{path} holds values of type {array.dtype}; numbers are needed.")
    return array


def is_hdf5(path: Path) -> bool:
    """Return whether a file has the signature of HDF5, as MATLAB files from version 7.3 on."""
    # MATLAB 7.3 puts 512 bytes of its own before HDF5's signature.
    with path.open("rb") as stream:
        head = stream.read(520)
    return b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:])


def _open_old_matlab(path: Path, name: str) -> NDArray[Any]:
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        kinds = {n: shape for n, shape, kind in whosmat(path) if kind not in {"cell", "struct"}}
        chosen = _choose(path, name, kinds)
        return np.asarray(loadmat(path, variable_names=[chosen])[chosen])
    # SciPy reports a damaged file by whichever of these its parser runs into.
    except (MatReadError, ValueError, TypeError, OSError, KeyError) as error:
        raise ArtifactError(f"{path} is damaged or no MATLAB file ({error}).") from error


def _open_hdf5(path: Path, name: str) -> Hdf5Rows:
    h5py = require("h5py", extra="data", purpose=f"Reading {path}")
    try:
        with h5py.File(path, "r") as file:
            numbers = {
                n: d.shape
                for n, d in file.items()
                if isinstance(d, h5py.Dataset) and d.shape and d.dtype.kind in "fiu"
            }
    except OSError as error:
        raise ArtifactError(f"{path} is damaged or no HDF5 file ({error}).") from error
    chosen = _choose(path, name, numbers)
    matlab = path.suffix == ".mat"
    shape = tuple(numbers[chosen])
    return Hdf5Rows(path, chosen, shape[::-1] if matlab else shape, reversed_axes=matlab)


def _choose(path: Path, name: str, shapes: dict[str, tuple[int, ...]]) -> str:
    if name in shapes:
        return name
    matrices = [n for n, shape in shapes.items() if len(shape) == 2 and min(shape) > 1]
    if len(matrices) != 1:
        raise ArtifactError(
            f"{path} has no array {name!r} and {len(matrices) or 'no'} other matrices to choose "
            f"from; its arrays are {shapes}. Name the one that is meant."
        )
    return matrices[0]
