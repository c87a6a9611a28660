"""Gabor energies and population receptive fields of the simulated visual areas V1 to V4.

An image spans `extent` degrees of visual angle, centred on fixation. It is downsampled to 64 x 64
pixels of luminance Y and two opponent colours, R - G and B - (R + G) / 2. The energy maps are
the squared magnitudes of Y filtered with complex Gabors of one octave, six orientations and three
spatial frequencies by default::

    E_m(x, y) = |(Y * gabor_m)(x, y)|^2

averaged to 32 x 32. A population receptive field is a Gaussian (Dumoulin and Wandell 2008) whose
size grows with eccentricity and from area to area::

    size = (intercept + slope * eccentricity) * scatter      degrees, scatter log-normal

Positions follow the cortical magnification of V1: the density of voxels falls with eccentricity e
as 1 / (e + 0.75) (Horton and Hoyt 1991), polar angles are uniform.

References
----------
Dumoulin and Wandell 2008, NeuroImage 39:647-660. Kay et al. 2013, J Neurophysiol 110:481-494.
Wandell and Winawer 2015, Trends Cogn Sci 19:349-357. Horton and Hoyt 1991, Arch Ophthalmol
109:816-824.
"""

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Fields", "low_level_maps", "pool_fields", "sample_fields"]

FIELD_SIZES: dict[str, tuple[float, float]] = {
    "V1": (0.022, 0.169),
    "V2": (0.147, 0.169),
    "V3": (0.342, 0.264),
    "V4": (0.445, 0.530),
}
"""Intercept (degrees) and slope of receptive-field size against eccentricity, by area: the lines
of Wandell and Winawer 2015. Kay et al. 2013 find slopes of .16, .18, .25 and .36."""

PIXELS = 64
"""Side of the filtered images: 7.6 pixels per degree at 8.4 degrees, enough for 2 cycles."""

GRID = 32
"""Side of the energy maps in pixels."""

MAGNIFICATION_OFFSET = 0.75
"""Eccentricity in degrees at which cortical magnification is halved (Horton and Hoyt 1991)."""

BATCH = 64
"""Images filtered at once, which bounds memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Population receptive fields in degrees from fixation."""

    x: Float32[np.ndarray, " voxels"]
    """Centre, rightwards positive."""

    y: Float32[np.ndarray, " voxels"]
    """Centre, upwards positive."""

    size: Float32[np.ndarray, " voxels"]
    """SD of the Gaussian."""


def sample_fields(
    areas: Shaped[np.ndarray, " voxels"],
    rng: np.random.Generator,
    *,
    extent: float,
    scatter: float,
) -> Fields:
    """Sample one receptive field per voxel, centred inside the image's inscribed circle."""
    edge = extent / 2 + MAGNIFICATION_OFFSET
    span = rng.random(len(areas))
    eccentricity = edge**span * MAGNIFICATION_OFFSET ** (1 - span) - MAGNIFICATION_OFFSET
    angle = rng.uniform(0, 2 * np.pi, len(areas))
    line = np.array([FIELD_SIZES[area] for area in areas]).reshape(len(areas), 2)
    size = line[:, 0] + line[:, 1] * eccentricity
    size = size * np.exp(scatter * rng.standard_normal(len(areas)))
    return Fields(
        x=(eccentricity * np.cos(angle)).astype(np.float32),
        y=(eccentricity * np.sin(angle)).astype(np.float32),
        size=size.astype(np.float32),
    )


def _gabors(orientations: int, frequencies: Float[np.ndarray, " maps"]) -> Tensor:
    """Return transfer functions of Gabors on the padded grid; frequencies in cycles per pixel."""
    side = 2 * PIXELS
    fy, fx = torch.meshgrid(torch.fft.fftfreq(side), torch.fft.fftfreq(side), indexing="ij")
    filters = []
    for frequency in frequencies:
        # One octave between the half-amplitude frequencies: they are 2/3 and 4/3 of the centre.
        sd = float(frequency) / 3 / np.sqrt(2 * np.log(2))
        for k in range(orientations):
            angle = np.pi * k / orientations
            distance = (fx - frequency * np.cos(angle)) ** 2 + (
                fy - frequency * np.sin(angle)
            ) ** 2
            filters.append(torch.exp(-distance / (2 * sd**2)))
    bank = torch.stack(filters).float()
    bank[:, 0, 0] = 0  # no response to uniform luminance
    return bank


def low_level_maps(
    images: UInt8[np.ndarray, "images height width rgb"],
    *,
    extent: float,
    orientations: int,
    cycles_per_degree: tuple[float, ...],
) -> tuple[
    Float32[np.ndarray, "images maps 32 32"],
    Float32[np.ndarray, "images 3 32 32"],
]:
    """Return Gabor energies (orientation fastest), and luminance with two opponent colours."""
    gabors = _gabors(orientations, np.array(cycles_per_degree) * extent / PIXELS)
    energies = np.empty((len(images), len(gabors), GRID, GRID), dtype=np.float32)
    colours = np.empty((len(images), 3, GRID, GRID), dtype=np.float32)
    pad = PIXELS // 2
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        rgb = torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2).float() / 255
        red, green, blue = F.adaptive_avg_pool2d(rgb, PIXELS).unbind(dim=1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        planes = torch.stack([grey, red - green, blue - (red + green) / 2], dim=1)
        colours[rows] = F.avg_pool2d(planes, PIXELS // GRID).numpy()
        # Replicated borders, so that neither the frame nor the opposite side is an edge.
        spectrum = torch.fft.fft2(F.pad(grey[:, None], (pad,) * 4, mode="replicate"))
        for m, gabor in enumerate(gabors):
            response = torch.fft.ifft2(spectrum * gabor)[..., pad:-pad, pad:-pad]
            energy = response.real.square() + response.imag.square()
            energies[rows, m] = F.avg_pool2d(energy, PIXELS // GRID)[:, 0].numpy()
    return energies, colours


def pool_fields(
    maps: Float32[np.ndarray, "images maps height width"], fields: Fields, *, extent: float
) -> Float32[np.ndarray, "images maps voxels"]:
    """Average maps under Gaussian receptive fields; the part outside the image does not count."""
    n_images, n_maps, side, _ = maps.shape
    edges = np.linspace(-extent / 2, extent / 2, side + 1)

    def weights(centre: Float32[np.ndarray, " voxels"]) -> Float[np.ndarray, "voxels width"]:
        # Exact mass in each pixel: the foveal fields of V1 are smaller than one.
        z = (edges - centre[:, None].astype(np.float64)) / (np.sqrt(2) * fields.size[:, None])
        mass: Float[np.ndarray, "voxels width"] = np.diff(scipy.special.erf(z), axis=1)
        mass /= mass.sum(axis=1, keepdims=True)
        return mass

    gaussians = weights(-fields.y)[:, :, None] * weights(fields.x)[:, None, :]
    flat = torch.from_numpy(maps.reshape(n_images * n_maps, side * side))
    kernel = torch.from_numpy(gaussians.reshape(len(fields.x), -1).T.astype(np.float32))
    pooled: Float32[np.ndarray, "images maps voxels"]
    pooled = (flat @ kernel).numpy().reshape(n_images, n_maps, len(fields.x))
    return pooled
