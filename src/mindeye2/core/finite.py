"""Location of NaN and infinite values, for messages."""

import numpy as np
from jaxtyping import Bool, Int64

__all__ = ["describe_nonfinite"]


def describe_nonfinite(
    bad: Bool[np.ndarray, "trials voxels"], *, rows: Int64[np.ndarray, " trials"] | None = None
) -> str:
    """Describe where betas are NaN or infinite: counts, and row and voxel of the first.

    `bad` is True at one of them at least; `rows` numbers the trials, 0, 1, ... by default.
    """
    trial, voxel = np.argwhere(bad)[0]
    return (
        f"{int(bad.sum())} NaN or infinite values in {int(bad.any(axis=1).sum())} of {len(bad)} "
        f"trials and {int(bad.any(axis=0).sum())} of {bad.shape[1]} voxels, the first in trial "
        f"row {trial if rows is None else rows[trial]}, voxel {voxel} (counted from 0)"
    )
