"""Regions of the published brain correlation (``brain_region_masks.hdf5``)."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from mindeye2.core.errors import ArtifactError, require

__all__ = ["read_region_masks"]

_NAMES = ("nsd_general", "V1", "V2", "V3", "V4", "higher_vis")


def read_region_masks(
    path: Path, *, subject: str, n_voxels: int
) -> dict[str, Bool[np.ndarray, " voxels"]]:
    """Read a subject's region masks by their published names, in the order of the betas' columns.

    Raises ``ArtifactError`` if the file cannot be read, lacks the subject, or has not `n_voxels`.
    """
    h5py = require("h5py", extra="data", purpose=f"Reading {path.name}")
    try:
        with h5py.File(path) as file:
            if subject not in file:
                raise ArtifactError(f"{path} has masks of {sorted(file)}, not of {subject}.")
            masks = {name: np.asarray(file[subject][name]).astype(bool) for name in _NAMES}
    except (OSError, KeyError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Download it again.") from error
    sizes = sorted({mask.shape for mask in masks.values()})
    if sizes != [(n_voxels,)]:
        raise ArtifactError(
            f"{path} has masks of the shapes {sizes} for {subject}, the data set {n_voxels} "
            "voxels. Prepare all voxels of nsdgeneral at 1.8 mm."
        )
    return masks
