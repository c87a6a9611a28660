"""GLMsingle's output files: Python's ``.npy`` and ``.hdf5``, MATLAB's ``.mat`` of any version.

Formats: Python writes a dictionary with ``betasmd`` of (X, Y, Z, trials), or (voxels,
1, 1, trials) for surfaces; MATLAB calls it ``modelmd``, and its HDF5 files have the axes reversed.
``DESIGNINFO`` beside it has the condition of each trial, ``stimorder`` (from 0 in Python, from 1
in MATLAB), and ``numtrialrun``, the trials of each run.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int, Int64
from numpy.typing import NDArray

from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.arrays import is_hdf5
from mindeye2.data.glmsingle.pickled_npy import read_pickled_npy

__all__ = ["RESULTS", "Design", "VolumeBetas", "betas_shape", "find_result", "read_design"]

RESULTS = {
    "B": "TYPEB_FITHRF",
    "C": "TYPEC_FITHRF_GLMDENOISE",
    "D": "TYPED_FITHRF_GLMDENOISE_RR",
}
"""Names of the files with single-trial betas by type; A has none."""

SUFFIXES = (".npy", ".hdf5", ".h5", ".mat")

_NAMES = ("betasmd", "modelmd")

_BLOCK = 2**26
"""Values read at a time from a file of whole volumes: 256 MiB."""


def find_result(folder: Path, kind: Literal["B", "C", "D"]) -> Path | None:
    """Find the file of one type of betas in an output folder."""
    tries = (folder / f"{RESULTS[kind]}{suffix}" for suffix in SUFFIXES)
    return next((path for path in tries if path.is_file()), None)


def _damaged(path: Path, error: object) -> ArtifactError:
    return ArtifactError(
        f"{path} is truncated or damaged ({error}). Copy it again from where GLMsingle wrote it."
    )


def _no_betas(path: Path, names: object) -> ArtifactError:
    return ArtifactError(
        f"{path} has no single-trial betas: neither {_NAMES[0]!r} (Python) nor {_NAMES[1]!r} "
        f"(MATLAB) of (X, Y, Z, trials), only {names}. Give the folder that GLMsingle filled."
    )


@functools.lru_cache(maxsize=1)
def _whole(path: Path, _changed: int) -> NDArray[Any]:
    """Load a file that cannot be read in parts; cached, because sessions are read one by one."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if path.suffix == ".npy":
        found: Mapping[str, Any] = read_pickled_npy(path)
    else:
        try:
            found = loadmat(path, variable_names=list(_NAMES))
        # SciPy raises any of these for a damaged file.
        except (MatReadError, ValueError, TypeError, OSError, KeyError) as error:
            raise _damaged(path, error) from error
    betas = next((found[name] for name in _NAMES if name in found), None)
    if not isinstance(betas, np.ndarray) or betas.dtype.kind != "f" or betas.ndim not in {2, 4}:
        raise _no_betas(path, sorted(found))
    # Surfaces: (vertices, trials) is (vertices, 1, 1, trials).
    return betas if betas.ndim == 4 else betas[:, None, None]


def _load(path: Path) -> NDArray[Any]:
    return _whole(path, path.stat().st_mtime_ns)


def betas_shape(path: Path) -> tuple[int, int, int, int]:
    """Return the shape of a file's betas, (X, Y, Z, trials)."""
    if not is_hdf5(path):
        x, y, z, n = _load(path).shape
        return x, y, z, n
    h5py = require("h5py", extra="data", purpose=f"Reading {path}")
    try:
        with h5py.File(path, "r") as file:
            shapes = {name: file[name].shape for name in _NAMES if name in file}
            names = sorted(file)
    except OSError as error:
        raise _damaged(path, error) from error
    shape = next(iter(shapes.values()), None)
    if shape is None or len(shape) not in {2, 4}:
        raise _no_betas(path, names)
    if path.suffix == ".mat":
        shape = shape[::-1]
    x, y, z, n = shape if len(shape) == 4 else (shape[0], 1, 1, shape[1])
    return x, y, z, n


@dataclass(frozen=True)
class VolumeBetas:
    """Betas of some trials and voxels of an output file, read in parts."""

    path: Path
    """The file."""

    voxels: Int64[np.ndarray, " voxels"]
    """Flat indices into a volume, the last axis running fastest."""

    trials: Int64[np.ndarray, " trials"]
    """Trials of the file, ascending."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels)."""
        return (len(self.trials), len(self.voxels))

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.trials)

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " trials"]
    ) -> Float32[np.ndarray, "trials voxels"]:
        """Read some trials."""
        wanted = self.trials[rows]
        if is_hdf5(self.path):
            return self._read_parts(wanted)
        betas = _load(self.path)
        flat = betas.reshape(-1, betas.shape[3])  # a copy where MATLAB's order is the other
        return np.ascontiguousarray(flat[self.voxels][:, wanted].T, np.float32)

    def _read_parts(self, wanted: Int[np.ndarray, " _"]) -> Float32[np.ndarray, "trials voxels"]:
        h5py = require("h5py", extra="data", purpose=f"Reading {self.path}")
        values = np.empty((len(wanted), len(self.voxels)), np.float32)
        _, height, depth, n_trials = betas_shape(self.path)
        with h5py.File(self.path, "r") as file:
            stored = next(file[name] for name in _NAMES if name in file)
            if self.path.suffix == ".mat":
                for row, trial in enumerate(wanted):
                    volume = stored[trial]
                    values[row] = volume.T.reshape(-1)[self.voxels]
                return values
            plane = height * depth
            step = max(1, _BLOCK // (plane * n_trials))
            for start in range(0, stored.shape[0], step):
                first, last = np.searchsorted(self.voxels, [start * plane, (start + step) * plane])
                if last > first:
                    block = stored[start : start + step].reshape(-1, n_trials)
                    inside = self.voxels[first:last] - start * plane
                    values[:, first:last] = block[inside][:, wanted].T
        return values


@dataclass(frozen=True, kw_only=True)
class Design:
    """Design and options in ``DESIGNINFO``."""

    conditions: Int64[np.ndarray, " trials"]
    """The condition of each trial, from 0."""

    trials_per_run: tuple[int, ...]
    """Number of trials of each run."""

    facts: dict[str, object]
    """Options, and the version where it was recorded."""


def read_design(folder: Path) -> Design | None:
    """Read ``DESIGNINFO`` of an output folder; None where there is none."""
    if (path := folder / "DESIGNINFO.npy").is_file():
        found, base = read_pickled_npy(path), 0
    elif (path := folder / "DESIGNINFO.mat").is_file():
        found, base = _read_matlab_design(path), 1
    else:
        return None
    if "stimorder" not in found or "numtrialrun" not in found:
        raise ArtifactError(
            f"{path} has no 'stimorder' and 'numtrialrun', only {sorted(found)}. Give the file "
            "that GLMsingle wrote, or remove it: then the order of trials is not checked."
        )
    options = found.get("params") if isinstance(found.get("params"), dict) else {}
    recorded = {**(options or {}), **found}
    # No release so far writes its version; a lab may have added one.
    named = ("version", "glmsingle_version", "stimdur", "tr")
    switches = ("wantlibrary", "wantglmdenoise", "wantfracridge", "wantpercentbold", "wantlss")
    facts = {
        name: np.asarray(recorded[name]).item()
        for name in (*named, *switches)
        if name in recorded and np.asarray(recorded[name]).size == 1
    }
    return Design(
        conditions=np.ravel(found["stimorder"]).astype(np.int64) - base,
        trials_per_run=tuple(int(n) for n in np.ravel(found["numtrialrun"])),
        facts={"version": "not recorded by GLMsingle", **facts},
    )


def _read_matlab_design(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    names = ["stimorder", "numtrialrun", "stimdur", "tr", "version"]
    try:
        if not is_hdf5(path):
            found = loadmat(path, variable_names=names)
            return {name: found[name] for name in names if name in found}
        h5py = require("h5py", extra="data", purpose=f"Reading {path}")
        with h5py.File(path, "r") as file:
            return {name: file[name][()] for name in names if name in file}
    except (MatReadError, ValueError, TypeError, OSError, KeyError) as error:
        raise _damaged(path, error) from error
