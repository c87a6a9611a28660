"""Masks and regions of interest in NIfTI volumes -> one row per voxel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy.typing import NDArray

from mindeye2.core.errors import ArtifactError, require

__all__ = ["find_above", "load_mask", "load_volume", "voxel_table"]


def find_above(names: tuple[str, ...], *, start: Path, stop: Path) -> Path | None:
    """Find a file in a folder or in one of those above it.

    Parameters
    ----------
    names
        Names to look for, the first one first.
    start
        Where to begin.
    stop
        The last folder that is looked into.

    Returns
    -------
    Path or None
        The nearest file.
    """
    for folder in (start, *start.parents):
        for name in names:
            if (folder / name).is_file():
                return folder / name
        if folder == stop:
            break
    return None


def load_volume(path: Path, *, purpose: str) -> NDArray[Any]:
    """Load a NIfTI volume with three axes.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file; a fourth axis of length 1 is dropped.
    purpose
        What it is, for messages.

    Returns
    -------
    numpy.ndarray
        Values in the file's unit.

    Raises
    ------
    ArtifactError
        If it is missing, damaged or of another shape.
    """
    nibabel = require("nibabel", extra="data", purpose=f"Reading {path}")
    if not path.is_file():
        raise ArtifactError(
            f"{purpose} {path} does not exist. Give a NIfTI file, or leave it out."
        )
    try:
        values = np.asarray(nibabel.load(path).dataobj)
    # Nibabel reports a damaged file by whichever of these it runs into.
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
    """Load a mask: every voxel above 0 is inside.

    Parameters
    ----------
    path
        A NIfTI file.

    Returns
    -------
    numpy.ndarray
        True inside. Values below 0, which some atlases have outside their field, are outside.

    Raises
    ------
    ArtifactError
        If it cannot be read, or nothing is inside.
    """
    inside: NDArray[np.bool_] = load_volume(path, purpose="the mask") > 0
    if not inside.any():
        raise ArtifactError(f"the mask {path} is empty: no value is above 0.")
    return inside


def voxel_table(mask: Bool[np.ndarray, "..."], *, rois: Mapping[str, Path]) -> pd.DataFrame:
    """Describe the voxels of a mask.

    Parameters
    ----------
    mask
        True inside.
    rois
        NIfTI file of labels for each region or atlas; labels are whole numbers, 0 is none.

    Returns
    -------
    pandas.DataFrame
        ``i``, ``j``, ``k`` and a column of labels per region, one row per voxel, the last index
        running fastest: the order of ``volume[mask]``.

    Raises
    ------
    ArtifactError
        If a file cannot be read or has another shape than the mask.
    """
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
