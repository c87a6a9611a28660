"""Voxels of a region of interest: positions, atlas labels, noise ceiling SNR."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy.typing import NDArray

from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.nsd.tree import Tree

__all__ = ["read_mask", "read_voxels"]


def read_mask(tree: Tree, subject: str) -> tuple[Int64[np.ndarray, "voxels 3"], tuple[int, ...]]:
    """Read the voxels of the chosen region, i changing slowest, and the shape of the volume."""
    name = tree.settings.roi
    path = tree.roi(subject, name)
    labels = _labels(path)
    # -1 is outside the field of view, 0 is no region.
    chosen = labels > 0
    if tree.settings.roi_labels:
        names = read_labels(tree, subject, name)
        wanted = [_number(label, names, path) for label in tree.settings.roi_labels]
        chosen = np.isin(labels, wanted)
    ijk = np.argwhere(chosen).astype(np.int64)
    if len(ijk) == 0:
        raise ArtifactError(
            f"{path} has no voxel of {list(tree.settings.roi_labels) or 'any label'}; it holds "
            f"the values {np.unique(labels).tolist()[:20]}. Choose other nsd.roi_labels, or "
            "another nsd.roi."
        )
    return ijk, labels.shape


def read_voxels(
    tree: Tree, subject: str, ijk: Int64[np.ndarray, "voxels 3"], *, shape: tuple[int, ...]
) -> pd.DataFrame:
    """Read the voxel table: i, j, k, ``roi``, one column of labels per atlas, ``ncsnr``.

    ``roi`` is the visual area of the population-receptive-field maps, else the name of the region.
    ``ncsnr`` is the release's own, computed with the test images.
    """
    table = pd.DataFrame(ijk, columns=["i", "j", "k"])
    table["roi"] = tree.settings.roi
    index = tuple(ijk.T)
    for atlas in tree.settings.atlases:
        path = tree.roi(subject, atlas)
        if not path.exists():
            continue
        labels = _labels(path)
        _check_shape(path, labels.shape, shape)
        names = read_labels(tree, subject, atlas)
        named = [names.get(n, str(n)) if n > 0 else "" for n in labels[index].tolist()]
        table[atlas] = named
        if atlas == "prf-visualrois":
            # Dorsal and ventral halves are one area: V1v and V1d are V1.
            areas = [re.sub(r"(?<=\d)[vd]$", "", name) for name in named]
            table["roi"] = [a or tree.settings.roi for a in areas]
    path = tree.betas(subject) / "ncsnr.nii.gz"
    if path.exists():
        ratios = _volume(path)
        _check_shape(path, ratios.shape, shape)
        table["ncsnr"] = ratios[index].astype(np.float32)
    return table


def read_labels(tree: Tree, subject: str, atlas: str) -> Mapping[int, str]:
    """Read the names of an atlas' labels by number; none where no file names them."""
    for path in tree.labels(subject, atlas):
        if path.exists():
            # Some of these files have tabs and spaces at line ends, and colours behind names.
            lines = [line.split() for line in path.read_text().splitlines()]
            return {int(x[0]): x[1] for x in lines if len(x) > 1 and x[0].isdigit()}
    return {}


def _number(label: str | int, names: Mapping[int, str], path: Path) -> int:
    if isinstance(label, int):
        return label
    numbers = {name: number for number, name in names.items()}
    if label not in numbers:
        known = sorted(numbers) or "no names: its .mgz.ctab file is not in nsddata/freesurfer"
        raise ArtifactError(
            f"the region {path} has no label {label!r}, but {known}. Set nsd.roi_labels to names "
            "or numbers of its labels."
        )
    return numbers[label]


def _labels(path: Path) -> NDArray[np.int64]:
    values = _volume(path)
    rounded = np.rint(values)
    if not np.isfinite(values).all() or np.abs(values - rounded).max() > 1e-3:
        raise ArtifactError(
            f"{path} holds values that are not whole numbers, so it is no map of labels. Take the "
            "file as distributed: resampled maps have lost their labels."
        )
    whole: NDArray[np.int64] = rounded.astype(np.int64)
    return whole


def _volume(path: Path) -> NDArray[np.float64]:
    nibabel = require("nibabel", extra="data", purpose="Reading NIfTI files")
    try:
        values: NDArray[np.float64] = np.asarray(nibabel.load(path).dataobj, np.float64)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise ArtifactError(
            f"{path} is damaged or was not downloaded to its end: {error!r}. Download it again."
        ) from error
    if values.ndim != 3:
        raise ArtifactError(
            f"{path} has {values.ndim} axes {values.shape}; a map of a region has three. Take the "
            "file as distributed."
        )
    return values


def _check_shape(path: Path, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise ArtifactError(
            f"{path} has the shape {found}, but the region's mask has {wanted}: they belong to "
            "different subjects or spaces. Take both from the same folder of the release."
        )
