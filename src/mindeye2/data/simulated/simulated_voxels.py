"""What drives simulated voxels: semantic axes and maps behind receptive fields."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped
from scipy.linalg import eigh

from mindeye2.data.simulated.receptive_fields import Fields, pool_fields

__all__ = [
    "HigherWeights",
    "early_drive",
    "higher_drive",
    "principal_axes",
    "rectify",
    "standardize",
]


def standardize(
    values: Float[np.ndarray, "images ..."], fit: Bool[np.ndarray, " images"]
) -> Float32[np.ndarray, "images ..."]:
    """Give every column mean 0 and variance 1 over the images in `fit`."""
    mean = values[fit].mean(axis=0, dtype=np.float64)
    sd = values[fit].std(axis=0, dtype=np.float64)
    scaled: Float32[np.ndarray, "images ..."]
    scaled = ((values - mean) / np.where(sd > 0, sd, 1)).astype(np.float32)
    return scaled


def rectify(
    values: Float32[np.ndarray, "images voxels"],
    fit: Bool[np.ndarray, " images"],
    *,
    amount: float,
) -> Float32[np.ndarray, "images voxels"]:
    """Bend responses: ``(1 - amount) u + amount |u|``, standardised again."""
    if amount == 0:
        return values
    return standardize((1 - amount) * values + amount * np.abs(values), fit)


def principal_axes(
    features: Float[np.ndarray, "images features"],
    fit: Bool[np.ndarray, " images"],
    *,
    n_axes: int,
) -> tuple[Float32[np.ndarray, "images axes"], Float[np.ndarray, " axes"]]:
    """Return the scores of images on the leading principal axes, and the axes' SDs."""
    centred = features - features[fit].mean(axis=0, dtype=np.float64)
    covariance = centred[fit].T @ centred[fit] / int(fit.sum())
    n_axes = min(n_axes, features.shape[1], int(fit.sum()) - 1)
    last = features.shape[1] - 1
    variances, axes = eigh(covariance, subset_by_index=[last - n_axes + 1, last])
    # Directions without variance would be scaled-up rounding errors.
    keep = np.flatnonzero(variances > 1e-9 * variances[-1])[::-1]
    axes = axes[:, keep]
    # The sign of an eigenvector is the library's choice: the largest entry is made positive.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(keep))])
    return standardize(centred @ axes, fit), np.sqrt(variances[keep])


def early_drive(
    energies: Float32[np.ndarray, "images maps height width"],
    colours: Float32[np.ndarray, "images channels height width"],
    fields: Fields,
    *,
    rng: np.random.Generator,
    fit: Bool[np.ndarray, " images"],
    extent: float,
    exponent: float,
    tuning: float,
    colour_voxels: float,
    colour_share: float,
) -> Float32[np.ndarray, "images voxels"]:
    """Drive voxels of V1 to V4."""
    n = len(fields.x)
    weights = np.exp(tuning * rng.standard_normal((energies.shape[1], n))).astype(np.float32)
    signed = rng.standard_normal((colours.shape[1], n)).astype(np.float32)
    chromatic = rng.random(n) < colour_voxels
    summed = np.empty((len(energies), n), dtype=np.float32)
    step = 256  # images: bounds memory
    for start in range(0, len(energies), step):
        pooled = pool_fields(energies[start : start + step], fields, extent=extent)
        summed[start : start + step] = np.einsum("imv,mv->iv", pooled, weights)
    contrast = standardize(summed**exponent, fit)
    local = standardize(pool_fields(colours, fields, extent=extent), fit)
    colour = standardize(np.einsum("imv,mv->iv", local, signed), fit)
    share = np.where(chromatic, colour_share, 0)
    return standardize(np.sqrt(1 - share) * contrast + np.sqrt(share) * colour, fit)


@dataclass(frozen=True, slots=True, kw_only=True)
class HigherWeights:
    """What drives a person's higher visual voxels."""

    shared: Float32[np.ndarray, "voxels axes"]
    """Weights on the axes that all people share."""

    own: Float32[np.ndarray, "voxels latent"]
    """Weights on the person's own axes."""

    own_axes: Float32[np.ndarray, "features latent"]
    """The own axes as orthonormal combinations of the axes that are not shared."""


def higher_drive(
    shared_axes: Float32[np.ndarray, "images axes"],
    other_axes: Float32[np.ndarray, "images features"],
    *,
    gains: Mapping[str, Float[np.ndarray, " axes"]],
    areas: Shaped[np.ndarray, " voxels"],
    rng: np.random.Generator,
    fit: Bool[np.ndarray, " images"],
    n_own: int,
    own_share: float,
    nonlinearity: float,
) -> tuple[Float32[np.ndarray, "images voxels"], HigherWeights]:
    """Drive higher visual voxels."""
    n_own = min(n_own, other_axes.shape[1])
    mix = rng.standard_normal((other_axes.shape[1], n_own))
    own_axes = np.linalg.qr(mix)[0].astype(np.float32)
    spread = np.array([gains[area] for area in areas]).reshape(len(areas), -1)
    shared = (spread * rng.standard_normal(spread.shape)).astype(np.float32)
    own = rng.standard_normal((len(areas), n_own)).astype(np.float32)
    drive = np.sqrt(1 - own_share) * standardize(shared_axes @ shared.T, fit)
    if n_own:
        drive = drive + np.sqrt(own_share) * standardize(other_axes @ own_axes @ own.T, fit)
    responses = rectify(standardize(drive, fit), fit, amount=nonlinearity)
    return responses, HigherWeights(shared=shared, own=own, own_axes=own_axes)
