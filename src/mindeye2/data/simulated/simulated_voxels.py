"""Noiseless responses of simulated voxels, from semantic components and Gabor energies."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Bool, Float, Float32, Shaped

from mindeye2.data.simulated.receptive_fields import Fields, pool_fields

__all__ = [
    "HigherWeights",
    "early_drive",
    "higher_drive",
    "pca_scores",
    "rectify",
]


def standardize(
    values: Float[np.ndarray, "images ..."], fit: Bool[np.ndarray, " images"]
) -> Float32[np.ndarray, "images ..."]:
    """Scale each column to mean 0 and variance 1 over the images in `fit`; constants become 0."""
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
    """Rectify responses u: ``(1 - amount) u + amount |u|``, standardised; 0.5 is half-wave."""
    if amount == 0:
        return values
    return standardize((1 - amount) * values + amount * np.abs(values), fit)


def pca_scores(
    features: Float[np.ndarray, "images features"],
    fit: Bool[np.ndarray, " images"],
    *,
    n_components: int,
) -> tuple[Float32[np.ndarray, "images components"], Float[np.ndarray, " components"]]:
    """Return standardised scores on the leading PCA components, and the components' SDs."""
    centred = features - features[fit].mean(axis=0, dtype=np.float64)
    covariance = centred[fit].T @ centred[fit] / int(fit.sum())
    n_components = min(n_components, features.shape[1], int(fit.sum()) - 1)
    last = features.shape[1] - 1
    variances, components = scipy.linalg.eigh(
        covariance, subset_by_index=[last - n_components + 1, last]
    )
    # Components without variance would be scaled-up rounding errors.
    keep = np.flatnonzero(variances > 1e-9 * variances[-1])[::-1]
    components = components[:, keep]
    # Eigenvectors have no sign of their own: make the largest entry positive.
    components *= np.sign(components[np.abs(components).argmax(axis=0), np.arange(len(keep))])
    return standardize(centred @ components, fit), np.sqrt(variances[keep])


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
    colour_fraction: float,
) -> Float32[np.ndarray, "images voxels"]:
    """Compute responses of V1 to V4: compressed Gabor energies, luminance and colour."""
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
    fraction = np.where(chromatic, colour_fraction, 0)
    return standardize(np.sqrt(1 - fraction) * contrast + np.sqrt(fraction) * colour, fit)


@dataclass(frozen=True, slots=True, kw_only=True)
class HigherWeights:
    """Semantic weights of a subject's higher visual voxels."""

    shared: Float32[np.ndarray, "voxels components"]
    """Weights on the components that all subjects share."""

    own: Float32[np.ndarray, "voxels latent"]
    """Weights on the subject's own components."""

    own_components: Float32[np.ndarray, "features latent"]
    """The own components as orthonormal combinations of those that are not shared."""


def higher_drive(
    shared_components: Float32[np.ndarray, "images components"],
    other_components: Float32[np.ndarray, "images features"],
    *,
    gains: Mapping[str, Float[np.ndarray, " components"]],
    areas: Shaped[np.ndarray, " voxels"],
    rng: np.random.Generator,
    fit: Bool[np.ndarray, " images"],
    n_own: int,
    own_fraction: float,
    nonlinearity: float,
) -> tuple[Float32[np.ndarray, "images voxels"], HigherWeights]:
    """Compute responses of higher visual voxels from shared and own semantic components."""
    n_own = min(n_own, other_components.shape[1])
    mix = rng.standard_normal((other_components.shape[1], n_own))
    own_components = np.linalg.qr(mix)[0].astype(np.float32)
    spread = np.array([gains[area] for area in areas]).reshape(len(areas), -1)
    shared = (spread * rng.standard_normal(spread.shape)).astype(np.float32)
    own = rng.standard_normal((len(areas), n_own)).astype(np.float32)
    drive = np.sqrt(1 - own_fraction) * standardize(shared_components @ shared.T, fit)
    if n_own:
        drive = drive + np.sqrt(own_fraction) * standardize(
            other_components @ own_components @ own.T, fit
        )
    responses = rectify(standardize(drive, fit), fit, amount=nonlinearity)
    return responses, HigherWeights(shared=shared, own=own, own_components=own_components)
