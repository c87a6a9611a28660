"""Arrays that come from outside: bytes of ``.npy`` files, checked before anything is allocated."""

import io
import math
import tokenize

import numpy as np
from jaxtyping import Float32, UInt8

__all__ = ["betas_from_upload", "gallery_from_upload", "parse_npy"]

LARGEST_BETA = 1000.0
"""Z-scored betas stay below 10 or so; what lies above this overflows in no network."""

_SIDES = (8, 1024)
"""Accepted sides of gallery images in pixels."""

_MANGLED = (
    ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, OverflowError,
    tokenize.TokenError,
)  # fmt: skip
"""What a header that is no header raises in NumPy."""


def parse_npy(content: bytes, *, what: str) -> np.ndarray:
    """Read the bytes of a ``.npy`` file of numbers, without running or allocating what it claims.

    Parameters
    ----------
    content
        The whole file.
    what
        Name of the array in messages.

    Returns
    -------
    ndarray
        Whole or floating numbers, as stored.

    Raises
    ------
    ValueError
        If the bytes are no ``.npy`` file, hold objects or text, or are cut off.
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
    except _MANGLED as error:
        raise ValueError(
            f"{what} must be the bytes of a .npy file, as numpy.save writes it; these "
            f"{len(content)} bytes have no such header."
        ) from error
    if dtype.kind not in "fiu":
        raise ValueError(f"{what} must hold numbers, got {dtype}. Save a plain array of floats.")
    expected, found = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if expected != found or min(shape, default=0) < 0:
        raise ValueError(
            f"{what} is {_shape(shape)} of {dtype}, which takes {expected} bytes, but {found} "
            "follow the header. The file is cut off or damaged: send it whole."
        )
    try:
        array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    except _MANGLED as error:
        raise ValueError(f"{what} has a shape that NumPy cannot hold: {_shape(shape)}.") from error
    return array


def betas_from_upload(
    array: np.ndarray, *, subject: str, n_voxels: int, max_images: int
) -> Float32[np.ndarray, "images *repeats voxels"]:
    """Check betas of one subject and return them as float32.

    Parameters
    ----------
    array
        (images, voxels), or (images, repeats, voxels) with NaN for missing repeats.
    subject
        Subject of the betas.
    n_voxels
        Voxels that the model was trained on.
    max_images
        Images that are accepted at once.

    Returns
    -------
    ndarray
        Float32, of the same shape.

    Raises
    ------
    ValueError
        If shape, number of images or values are not accepted.
    """
    accepted = f"(images, {n_voxels}) or (images, repeats, {n_voxels}) for {subject}"
    if array.ndim not in {2, 3} or array.shape[-1] != n_voxels or 0 in array.shape:
        raise ValueError(f"betas must be {accepted}, got {_shape(array.shape)}.")
    if len(array) > max_images:
        raise ValueError(
            f"betas hold {len(array)} images; at most {max_images} are decoded at once. "
            "Split them."
        )
    with np.errstate(over="ignore"):
        betas = np.asarray(array, dtype=np.float32)
    largest = float(np.max(np.abs(betas), initial=0, where=~np.isnan(betas)))
    if largest > LARGEST_BETA:
        raise ValueError(
            f"betas reach {largest:.3g} in absolute value; z-scored ones stay below 10 or so. "
            "Z-score each voxel in each session."
        )
    return betas


def gallery_from_upload(
    array: np.ndarray, *, max_images: int
) -> UInt8[np.ndarray, "gallery height width rgb"]:
    """Check gallery images and return them as 8-bit RGB.

    Parameters
    ----------
    array
        (images, height, width, 3), whole numbers from 0 to 255.
    max_images
        Images that are accepted at once.

    Returns
    -------
    ndarray
        The same images, uint8.

    Raises
    ------
    ValueError
        If shape, number or values are not accepted.
    """
    low, high = _SIDES
    if array.ndim != 4 or array.shape[-1] != 3 or not len(array):
        raise ValueError(
            f"gallery must be (images, height, width, 3), RGB, got {_shape(array.shape)}."
        )
    if not all(low <= side <= high for side in array.shape[1:3]):
        raise ValueError(
            f"gallery images must have sides of {low} to {high} pixels, got "
            f"{array.shape[1]} x {array.shape[2]}."
        )
    if len(array) > max_images:
        raise ValueError(f"gallery holds {len(array)} images; at most {max_images} are accepted.")
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise ValueError(
            f"gallery must be whole numbers from 0 to 255, got {array.dtype} from "
            f"{array.min():.4g} to {array.max():.4g}."
        )
    return array.astype(np.uint8)


def _shape(shape: tuple[int, ...]) -> str:
    text = str(tuple(shape))
    return text if len(text) <= 80 else f"{text[:80]}... ({len(shape)} axes)"
