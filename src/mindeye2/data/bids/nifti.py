"""Masks and regions of interest in NIfTI volumes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy.typing import NDArray

from mindeye2.core.errors import ArtifactError, require

__all__ = ["find_above", "load_mask", "voxel_table"]


def find_above(names: tuple[str, ...], *, start: Path, stop: Path) -> Path | None:
    """Find the first of `names` in `start`, else in the nearest folder above it, up to `stop`."""
    for folder in (start, *start.parents):
        for name in names:
            if (folder / name).is_file():
                return folder / name
        if folder == stop:
            break
    return None


def load_volume(path: Path, *, purpose: str) -> NDArray[Any]:
    """Load a NIfTI volume of three axes; a fourth axis of length 1 is dropped."""
    nibabel = require("nibabel", extra="data", purpose=f"Reading {path}")
    if not path.is_file():
        raise ArtifactError(
            f"{purpose} {path} does not exist. Give a NIfTI file, or leave it out."
        )
    try:
        values = np.asarray(nibabel.load(path).dataobj)
    # Nibabel raises any of these for a damaged file.
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"{purpose} {path} is damaged or no NIfTI file ({error}).") from error
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise ArtifactError(
            f"{purpose} {path} has the shape {values.shape}; one volume of three axes is needed."
        )
    return values


def load_mask(path: Path) -> Bool[np.ndarray, "..."]:
    """Load a mask: voxels above 0 are inside; some atlases are below 0 outside their field."""
    inside: NDArray[np.bool_] = load_volume(path, purpose="the mask") > 0
    if not inside.any():
        raise ArtifactError(f"the mask {path} is empty: no value is above 0.")
    return inside


def voxel_table(mask: Bool[np.ndarray, "..."], *, rois: Mapping[str, Path]) -> pd.DataFrame:
    """Tabulate i, j, k and labels of a mask's voxels, in the order of ``volume[mask]``."""
    table = pd.DataFrame(np.argwhere(mask), columns=["i", "j", "k"])
    for name, path in rois.items():
        labels = load_volume(path, purpose=f"the region {name!r}")
        if labels.shape != mask.shape:
            raise ArtifactError(
                f"the region {name!r} in {path} has the shape {labels.shape}, but the mask has "
                f"{mask.shape}. Resample it to the grid of the responses."
            )
        table[name] = np.rint(labels[mask]).astype(np.int32)
    return table
