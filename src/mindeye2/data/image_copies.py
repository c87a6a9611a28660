"""Copies among images: the same, nearly the same or mirrored, found without a network.

The perceptual hash of an image has a bit for each of the 63 lowest frequencies of its cosine
transform. Images whose hashes differ in few bits are compared as thumbnails; mirrored copies
count too.
"""

from dataclasses import dataclass

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8

from mindeye2.core.runtime import progress

__all__ = ["Thumbnails", "find_copies", "shrink_images"]

SIDE = 32
"""Side of a thumbnail in pixels."""

N_FREQUENCIES = 8
"""Rows and columns of the cosine transform that make the hash."""

MAX_BITS = 10
"""Hashes that differ in more of the 63 bits are of different images."""

NEARLY = 0.9
"""Correlation of thumbnails above which two images with similar hashes are copies."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Small copies of images."""

    rows: Int64[np.ndarray, " images"]
    """Rows of the data set's images, ascending."""

    values: UInt8[np.ndarray, "images height width rgb"]
    """`SIDE` x `SIDE` pixels each."""


def shrink_images(
    images: UInt8[np.ndarray, "images height width rgb"], rows: Int64[np.ndarray, " images2"]
) -> Thumbnails:
    """Make thumbnails of some images, reading a few at a time."""
    # Every other pixel of a large image is enough, and reads a quarter.
    step = max(1, min(images.shape[1:3]) // (3 * SIDE))
    small = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    for start in progress(range(0, len(rows), 64), label="thumbnails"):
        stored = images[rows[start : start + 64], ::step, ::step]
        pixels = torch.from_numpy(np.ascontiguousarray(stored)).permute(0, 3, 1, 2).float()
        shrunk = F.adaptive_avg_pool2d(pixels, SIDE).permute(0, 2, 3, 1)
        small[start : start + 64] = shrunk.round().to(torch.uint8).numpy()
    return Thumbnails(rows=rows, values=small)


def perceptual_hash(
    thumbnails: UInt8[np.ndarray, "images height width rgb"],
) -> Float32[np.ndarray, "images features"]:
    """Hash images to one value of -1 or 1 per frequency; similar images differ in few."""
    bits = np.empty((len(thumbnails), N_FREQUENCIES**2 - 1), np.float32)
    for start in range(0, len(thumbnails), 4096):
        grey = thumbnails[start : start + 4096].mean(axis=3, dtype=np.float32)
        spectrum = scipy.fft.dctn(grey, axes=(1, 2), norm="ortho")[
            :, :N_FREQUENCIES, :N_FREQUENCIES
        ]
        low = spectrum.reshape(len(grey), -1)[:, 1:]
        above = low > np.median(low, axis=1, keepdims=True)
        bits[start : start + 4096] = np.where(above, 1, -1)
    return bits


def find_copies(
    images: UInt8[np.ndarray, "images height width rgb"], first: Thumbnails, second: Thumbnails
) -> dict[tuple[int, int], str]:
    """Find pairs of copies (row in the first set, row in the second), and how each is a copy."""
    hashes = perceptual_hash(second.values)
    pairs: dict[tuple[int, int], str] = {}
    mirrored = first.values[:, :, ::-1]
    for copies, how in ((first.values, "nearly the same"), (mirrored, "mirrored")):
        bits = perceptual_hash(copies)
        for start in range(0, len(copies), 256):
            n_different = (bits.shape[1] - bits[start : start + 256] @ hashes.T) / 2
            for i, j in np.argwhere(n_different <= MAX_BITS):
                if _correlation(copies[start + i], second.values[j]) > NEARLY:
                    pair = (int(first.rows[start + i]), int(second.rows[j]))
                    pairs.setdefault(pair, how)
    return {
        (a, b): "exactly the same" if np.array_equal(images[a], images[b]) else how
        for (a, b), how in pairs.items()
    }


def _correlation(
    one: UInt8[np.ndarray, "height width rgb"], other: UInt8[np.ndarray, "height width rgb"]
) -> float:
    # Each channel is centred, or images of one tint would correlate whatever they show.
    a, b = (x - x.mean(axis=(0, 1), dtype=np.float64) for x in (one, other))
    a, b = a.ravel(), b.ravel()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-12))
