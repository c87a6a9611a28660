"""Betas of one session, read voxel by voxel (HDF5) or volume by volume (NIfTI)."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16, Int64

from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.nifti_series import open_series, read_series, reporting_damage
from mindeye2.data.nsd.facts import SCALE, TRIALS

__all__ = ["SessionBetas", "check_session"]


@dataclass(frozen=True, kw_only=True)
class SessionBetas:
    """Betas of one session's masked voxels, in percent signal change."""

    path: Path
    """``betas_sessionBB.hdf5`` or ``.nii.gz``."""

    ijk: Int64[np.ndarray, "voxels 3"]
    """Position of each voxel in the volume, on the axes of NIfTI."""

    kept: Int64[np.ndarray, " trials"]
    """Trials of the session that are used, ascending, counted from 0."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels)."""
        return (len(self.kept), len(self.ijk))

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.kept)

    def __getitem__(
        self, rows: slice | Int64[np.ndarray, " batch"]
    ) -> Float32[np.ndarray, "batch voxels"]:
        """Read the session and return some trials."""
        with reporting_damage(self.path):
            if self.path.suffix == ".hdf5":
                stored = _read_hdf5(self.path, self.ijk)
            else:
                stored = read_series(self.path, self.ijk, volumes=np.arange(TRIALS))
        percent: Float32[np.ndarray, "batch voxels"] = stored[self.kept[rows]].astype(np.float32)
        percent /= SCALE
        return percent


def check_session(path: Path, *, shape: tuple[int, ...]) -> None:
    """Check in the header that a file holds one session on the mask's grid (x, y, z)."""
    with reporting_damage(path):
        found, kind = _header_hdf5(path) if path.suffix == ".hdf5" else _header_nifti(path)
    if found[:3] != shape:
        raise ArtifactError(
            f"{path} holds volumes of {found[:3]} voxels, but the region's mask has {shape}: they "
            "belong to different subjects or spaces (func1pt8mm, func1mm). Take both from the "
            "same subject and space of the release."
        )
    if found[3] != TRIALS or kind != np.int16:
        raise ArtifactError(
            f"{path} holds {found[3]} trials of type {kind}; a session of the release has "
            f"{TRIALS} of type int16 (percent signal change x {SCALE}). Take the file as "
            "distributed."
        )


def _header_hdf5(path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    h5py = require("h5py", extra="data", purpose="Reading HDF5 betas")
    with h5py.File(path, "r") as file:
        betas = file["betas"]
        if betas.ndim != 4:
            raise ValueError(f"'betas' has {betas.ndim} axes")
        # Written by MATLAB: the axes of NIfTI, reversed.
        return tuple(betas.shape[::-1]), betas.dtype


def _read_hdf5(
    path: Path, ijk: Int64[np.ndarray, "voxels 3"]
) -> Int16[np.ndarray, "trials voxels"]:
    """Read all trials of each voxel, which are contiguous; adjacent voxels in one call."""
    h5py = require("h5py", extra="data", purpose="Reading HDF5 betas")
    i, j, k = ijk.T
    order = np.lexsort((i, j, k))
    i, j, k = i[order], j[order], k[order]
    breaks = (np.diff(i) != 1) | (np.diff(j) != 0) | (np.diff(k) != 0)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1, [len(order)]])
    with h5py.File(path, "r") as file:
        betas = file["betas"]
        result = np.empty((len(betas), len(order)), np.int16)
        for start, stop in itertools.pairwise(starts.tolist()):
            first = int(i[start])
            row = betas[:, int(k[start]), int(j[start]), first : first + stop - start]
            result[:, order[start:stop]] = row
    return result


def _header_nifti(path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    image = open_series(path)
    slope = image.dataobj.slope
    if slope != 1 or image.dataobj.inter != 0:
        raise ValueError(f"its header scales values by {slope}, which NSD's does not")
    return tuple(image.shape), image.get_data_dtype()
