"""Regions of interest: masks of voxels from the label columns of the voxel table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared

__all__ = ["early_and_higher", "read_regions"]

_EARLY = ("V1", "V2", "V3", "V4")
"""Early visual areas, as the paper groups them."""

_ADD = (
    "'mindeye2 prepare nsd' labels voxels by itself; for your own arrays add a table of voxels "
    "with a column 'roi', one row per voxel in the order of the betas (table.voxels), and prepare "
    "again; 'glmsingle.rois' and 'bids.rois' take maps of regions."
)


def read_regions(
    prepared: Prepared, subject: str, *, columns: Sequence[str], min_voxels: int
) -> dict[str, Bool[np.ndarray, " voxels"]]:
    """Read the regions of a subject, in the order of their names.

    A column of text has a label per voxel, empty outside all regions; a column of true and false
    is one region under its own name. Regions below `min_voxels` are left out. Raises
    ``ArtifactError`` if there is no label at all, ``ValueError`` if a column is unknown.
    """
    table = prepared.voxels(subject)
    known = [name for name in table.columns if _holds_labels(table[name])]
    if not known:
        raise ArtifactError(
            f"the voxels of {subject} in {prepared.folder} have no labels of regions. {_ADD}"
        )
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise ValueError(
            f"the voxel table of {subject} has no labels in {unknown}, only in {known}: choose "
            f"among these with --set 'columns=[{known[0]}]'."
        )
    regions: dict[str, Bool[np.ndarray, " voxels"]] = {}
    for column in columns:
        values = table[column]
        if pd.api.types.is_bool_dtype(values):
            regions[column] = values.to_numpy(bool)
            continue
        labels = values.fillna("").astype(str).to_numpy()
        for label in sorted(set(labels) - {""}):
            name = label if label not in regions else f"{column}: {label}"
            regions[name] = labels == label
    found = {name: mask for name, mask in regions.items() if mask.sum() >= min_voxels}
    if not found:
        sizes = {name: int(mask.sum()) for name, mask in regions.items()}
        raise ValueError(
            f"no region of {subject} has {min_voxels} voxels: {sizes}. Lower min_voxels."
        )
    return found


def _holds_labels(values: pd.Series) -> bool:
    return pd.api.types.is_bool_dtype(values) or (
        not pd.api.types.is_numeric_dtype(values)
        and bool((values.fillna("").astype(str) != "").any())
    )


def early_and_higher(
    regions: dict[str, Bool[np.ndarray, " voxels"]], *, n_voxels: int
) -> dict[str, Bool[np.ndarray, " voxels"]]:
    """Put all voxels before the regions, and the paper's two groups where V1 to V4 are labelled.

    Early visual cortex is V1 to V4; all other voxels are higher visual cortex (facts of the
    published evaluation).
    """
    early = np.zeros(n_voxels, bool)
    for name, mask in regions.items():
        if name.removeprefix("h") in _EARLY:
            early |= mask
    groups = {"all": np.ones(n_voxels, bool)}
    if early.any() and not early.all():
        groups |= {"V1 to V4": early, "higher visual": ~early}
    return groups | regions
