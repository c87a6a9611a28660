"""Single-trial responses of THINGS-fMRI in an HDF5 file that pandas wrote.

The file has one group, a pandas table whose columns are ``voxel_id`` and the trials. Pandas keeps
the columns of each type in a block of their own, rows first: the block of floats holds the trials
in their order. The names of the columns are pickled in it and are not read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Int64

from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.nifti_series import reporting_damage

__all__ = ["TableBetas", "find_block"]

_BLOCK = 2**26
"""Values read at a time: at most 512 MiB."""


def find_block(path: Path, *, shape: tuple[int, int]) -> str:
    """Find the HDF5 data set of responses, (voxels, trials), and check its shape."""
    h5py = require("h5py", extra="data", purpose=f"Reading {path}")
    shapes: dict[str, tuple[int, ...]] = {}
    with reporting_damage(path), h5py.File(path, "r") as file:
        for group, table in file.items():
            for name, stored in table.items():
                if name.endswith("_values") and stored.dtype.kind == "f":
                    shapes[f"{group}/{name}"] = tuple(stored.shape)
    found = [name for name, size in shapes.items() if size == shape]
    if len(found) != 1:
        raise ArtifactError(
            f"{path} has blocks of responses of the shapes {shapes}, but the metadata beside it "
            f"have {shape[0]} voxels and {shape[1]} trials. Download the three files of the "
            "subject again."
        )
    return found[0]


@dataclass(frozen=True, kw_only=True)
class TableBetas:
    """Responses of some voxels, read in blocks of voxels."""

    path: Path
    """``sub-01_ResponseData.h5``."""

    block: str
    """Data set of responses, (voxels, trials)."""

    voxels: Int64[np.ndarray, " voxels"]
    """Rows of the data set, ascending."""

    n_trials: int
    """Columns of the data set."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels)."""
        return (self.n_trials, len(self.voxels))

    def __len__(self) -> int:
        """Return the number of trials."""
        return self.n_trials

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " trials"]
    ) -> Float32[np.ndarray, "trials voxels"]:
        """Read some trials: the columns from the first to the last of them."""
        h5py = require("h5py", extra="data", purpose=f"Reading {self.path}")
        trials = np.arange(self.n_trials)[rows]
        values = np.empty((len(trials), len(self.voxels)), np.float32)
        if not len(trials):
            return values
        span = slice(int(trials[0]), int(trials[-1]) + 1)
        with reporting_damage(self.path), h5py.File(self.path, "r") as file:
            stored = file[self.block]
            step = max(1, _BLOCK // (span.stop - span.start))
            for start in range(0, len(stored), step):
                first, last = np.searchsorted(self.voxels, [start, start + step])
                if last > first:
                    block = stored[start : start + step, span]
                    inside = block[self.voxels[first:last] - start]
                    values[:, first:last] = inside[:, trials - trials[0]].T
        return values
