"""Location of NaN and infinite values, for messages."""

import numpy as np
from jaxtyping import Bool, Int64

__all__ = ["describe_nonfinite"]


def describe_nonfinite(
    bad: Bool[np.ndarray, "trials voxels"], *, rows: Int64[np.ndarray, " trials"] | None = None
) -> str:
    """Describe which betas are NaN or infinite, e.g. ``"3 NaN or infinite values in ..."``.

    Parameters
    ----------
    bad
        True where a value is not finite; at least one is.
    rows
        Number of each trial in the message; 0, 1, ... by default.

    Returns
    -------
    str
        Counts, and the first value's row and voxel, counted from 0.
    """
    trial, voxel = np.argwhere(bad)[0]
    return (
        f"{int(bad.sum())} NaN or infinite values in {int(bad.any(axis=1).sum())} of {len(bad)} "
        f"trials and {int(bad.any(axis=0).sum())} of {bad.shape[1]} voxels, the first in trial "
        f"row {trial if rows is None else rows[trial]}, voxel {voxel} (counted from 0)"
    )
