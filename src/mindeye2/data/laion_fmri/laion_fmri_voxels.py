"""Voxels of LAION-fMRI: regions of interest, noise ceilings, and NaN at the edge of the brain."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids.nifti import load_volume
from mindeye2.data.laion_fmri.laion_fmri_tree import LaionTree
from mindeye2.data.nifti_series import read_series, reporting_damage

__all__ = ["choose_voxels", "drop_nan_voxels"]

_RETINOTOPY = "retinotopy"
"""Category of the visual areas."""


def choose_voxels(tree: LaionTree, subject: str, *, shape: tuple[int, ...]) -> pd.DataFrame:
    """Return the voxel table of the chosen voxels, i changing slowest.

    Columns: ``i, j, k``; ``roi``, the visual area, else the names of the chosen regions; one
    column of labels per category of regions; ``nc_4rep`` and so on in percent.
    """
    settings = tree.settings
    chosen = np.ones(shape, bool)
    paths = tree.rois(subject)
    if settings.roi:
        names = [_find_roi(name, paths, tree=tree, subject=subject) for name in settings.roi]
        chosen &= np.logical_or.reduce([_load(paths[n], shape=shape) > 0 for n in names])
    elif settings.min_noise_ceiling is None:
        raise ArtifactError(
            "all voxels of the brain and around it are chosen: set laion_fmri.roi to regions, or "
            "laion_fmri.min_noise_ceiling to percent of variance, e.g. 10."
        )
    ceilings = {
        name: _load(path, shape=shape)
        for name in ("4rep", "12rep", "Allrep")
        if (path := tree.noise_ceiling(subject, name)).exists()
    }
    if settings.min_noise_ceiling is not None:
        # NaN is below every threshold.
        chosen &= ceilings[settings.noise_ceiling] >= settings.min_noise_ceiling
    ijk = np.argwhere(chosen)
    if not len(ijk):
        raise ArtifactError(
            f"no voxel of {subject} is in {list(settings.roi) or 'the brain'} with a noise "
            f"ceiling of at least {settings.min_noise_ceiling} % ({settings.noise_ceiling}). "
            "Lower laion_fmri.min_noise_ceiling, or choose other regions."
        )
    table = pd.DataFrame(ijk, columns=["i", "j", "k"])
    table["roi"] = "+".join(settings.roi) or "brain"
    for category, labels in _categories(paths, ijk, shape=shape).items():
        table[category] = labels
        if category == _RETINOTOPY:
            # Dorsal and ventral halves are one area: V1v and V1d are V1.
            areas = [re.sub(r"(?<=\d)[vd]$", "", name) for name in labels]
            table["roi"] = [a or r for a, r in zip(areas, table["roi"], strict=True)]
    for name, values in ceilings.items():
        table[f"nc_{name.lower()}"] = values[tuple(ijk.T)].astype(np.float32)
    return table


def drop_nan_voxels(
    voxels: pd.DataFrame, paths: Mapping[int, Path]
) -> tuple[pd.DataFrame, dict[int, int]]:
    """Drop voxels that are NaN in a session's first volume; count them by session.

    A voxel that was not fitted is NaN in all trials of the session, so one volume shows it.
    """
    ijk = voxels[["i", "j", "k"]].to_numpy(np.int64)
    bad, counts = np.zeros(len(voxels), bool), {}
    for session, path in paths.items():
        with reporting_damage(path):
            first = read_series(path, ijk, volumes=np.zeros(1, np.int64))[0]
        found = ~np.isfinite(first)
        if found.any():
            counts[session] = int(found.sum())
        bad |= found
    if bad.all():
        raise ArtifactError(
            f"every chosen voxel is NaN in some session of {sorted(counts)}. Leave out the "
            "session with the most, or choose other voxels with laion_fmri.roi."
        )
    return voxels[~bad].reset_index(drop=True), counts


def _find_roi(name: str, paths: Mapping[str, Path], *, tree: LaionTree, subject: str) -> str:
    """Find a region; the release's package removes hyphens from names as it downloads them."""
    plain = {re.sub(r"-", "", known).lower(): known for known in paths}
    found = plain.get(name.replace("-", "").lower())
    if found is not None:
        return found
    folder = tree.roi_folder(subject)
    if not paths:
        raise tree.missing([folder / f"*/{subject}_space-T1w_res-1pt8_label-{name}_mask.nii.gz"])
    raise ArtifactError(
        f"{folder} has no region {name!r}; it has {sorted(paths)}. Set laion_fmri.roi to some of "
        f"these, or download the others: {tree.command(folder / 'all')}"
    )


def _categories(
    paths: Mapping[str, Path], ijk: Int64[np.ndarray, "voxels 3"], *, shape: tuple[int, ...]
) -> dict[str, list[str]]:
    """Return each voxel's region by category; of overlapping ones the smaller."""
    inside: dict[str, dict[str, Bool[np.ndarray, " voxels"]]] = {}
    sizes = {}
    for name, path in paths.items():
        mask = _load(path, shape=shape) > 0
        sizes[name] = mask.sum()
        inside.setdefault(path.parent.name, {})[name] = mask[tuple(ijk.T)]
    labels = {}
    for category, masks in inside.items():
        names = np.full(len(ijk), "", object)
        for name in sorted(masks, key=lambda n: -sizes[n]):
            names[masks[name]] = name
        labels[category] = names.tolist()
    return labels


def _load(path: Path, *, shape: tuple[int, ...]) -> np.ndarray:
    values = load_volume(path, purpose="the map")
    if values.shape != shape:
        raise ArtifactError(
            f"{path} has the shape {values.shape}, but the betas have {shape}: they belong to "
            "different subjects or resolutions. Take both from the same subject of the release."
        )
    return values
