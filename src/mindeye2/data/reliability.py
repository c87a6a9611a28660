"""Voxel reliability: signal-to-noise ratio and noise ceiling from repeated images.

The estimators of the Natural Scenes Dataset. With z-scored betas, the noise variance of a voxel is
the variance between presentations of the same image, averaged over images, and the signal
variance is the rest of the total::

    noise variance   = sum over images and presentations of (beta - image mean)^2
                       / (presentations - images)
    signal variance  = max(0, total variance - noise variance)
    ncsnr            = sqrt(signal variance / noise variance)
    noise ceiling    = 100 * ncsnr^2 / (ncsnr^2 + 1 / n)

where the ceiling is the percentage of the variance of an average of n presentations that comes
from the image. With the same number of presentations for every image, the noise variance is the
mean of the images' variances (ddof 1), as NSD computes it; else images with more presentations
weigh more, and images shown once count in the total variance only.

References
----------
Allen et al. 2022, Nature Neuroscience 25:116-126, Methods, "Noise ceiling estimation".
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32, Int

__all__ = ["ncsnr", "ncsnr_by_columns", "noise_ceiling"]

_BLOCK = 2**24
"""Values per block of voxels: float64 copies of 128 MiB for data of any size."""


def ncsnr(
    betas: Float[np.ndarray, "trials voxels"], images: Int[np.ndarray, " _"]
) -> Float32[np.ndarray, " voxels"]:
    """Estimate each voxel's noise-ceiling signal-to-noise ratio from repeated images.

    Parameters
    ----------
    betas
        Betas of one subject, z-scored within session, so that differences between sessions are
        not taken for signal. Give training trials only where voxels are selected by the result, or
        the selection depends on the test images.
    images
        The image of each trial.

    Returns
    -------
    numpy.ndarray
        SD of the signal over SD of the noise of one trial, at least 0; infinite without noise, NaN
        for a voxel that is constant or not finite.

    Raises
    ------
    ValueError
        If `images` is not as long as `betas`, or no image is shown twice.
    """
    if len(images) != len(betas):
        raise ValueError(
            f"betas has {len(betas)} trials and images has {len(images)}. "
            "Give one image number for each trial."
        )
    return ncsnr_by_columns(lambda columns: betas[:, columns], images, n_voxels=betas.shape[1])


def ncsnr_by_columns(
    read: Callable[[slice], Float[np.ndarray, "trials voxels"]],
    images: Int[np.ndarray, " _"],
    *,
    n_voxels: int,
) -> Float32[np.ndarray, " voxels"]:
    """Estimate `ncsnr` block by block: `read` returns all trials of a slice of voxels."""
    _, image, counts = np.unique(images, return_inverse=True, return_counts=True)
    if len(counts) == len(images):
        raise ValueError(
            f"none of the {len(counts)} images is shown twice, so noise cannot be separated from "
            "signal. Give trials with repeated images, or leave the noise ceiling out."
        )
    order = np.argsort(image, kind="stable")
    starts = np.cumsum(counts) - counts
    result = np.empty(n_voxels, dtype=np.float32)
    step = max(1, _BLOCK // len(images))
    for start in range(0, n_voxels, step):
        block = read(slice(start, start + step))[order].astype(np.float64)
        means = np.add.reduceat(block, starts, axis=0) / counts[:, None]
        total = block.var(axis=0)
        block -= np.repeat(means, counts, axis=0)
        noise = np.square(block).sum(axis=0) / (len(images) - len(counts))
        with np.errstate(divide="ignore", invalid="ignore"):
            result[start : start + step] = np.sqrt(np.maximum(total - noise, 0) / noise)
    return result


def noise_ceiling(
    ncsnr: Float[np.ndarray, " voxels"], n_repeats: float
) -> Float32[np.ndarray, " voxels"]:
    """Convert signal-to-noise ratios to noise ceilings.

    Parameters
    ----------
    ncsnr
        SD of the signal over SD of the noise of one trial.
    n_repeats
        Presentations that are averaged; above 0.

    Returns
    -------
    numpy.ndarray
        Percentage of the variance that comes from the image, in [0, 100]; NaN where `ncsnr` is.

    Raises
    ------
    ValueError
        If `n_repeats` is not above 0.
    """
    if not n_repeats > 0:
        raise ValueError(
            f"n_repeats is the number of presentations averaged and must be above 0, "
            f"got {n_repeats!r}."
        )
    with np.errstate(divide="ignore"):
        percent = 100 / (1 + 1 / (n_repeats * np.square(ncsnr, dtype=np.float64)))
    ceiling: Float32[np.ndarray, " voxels"] = percent.astype(np.float32)
    return ceiling
