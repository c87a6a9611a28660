"""Features of each stimulus image: from a bank of target tokens, or else from its pixels."""

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from mindeye2.data.image_copies import Thumbnails
from mindeye2.doctor.dataset_view import DatasetView
from mindeye2.doctor.image_overlap import shown_images

__all__ = ["image_features"]

N_FEATURES = 256
"""Features per image after random projection."""

MAX_READ = 8192
"""Values read per image from a bank of large tokens: evenly spaced tokens are read."""

LAST = ("lowlevel",)
"""Banks used only if there is no other: they hold colours and layout, not content."""


def image_features(
    view: DatasetView, thumbnails: Thumbnails | None
) -> tuple[Float32[np.ndarray, "images features"] | None, str]:
    """Return centred unit-length features of every image, and their source.

    Images that no trial shows have zeros. None where neither a bank nor `thumbnails` are there.
    """
    n_images, shown = view.n_images, shown_images(view)
    assert n_images is not None
    folders = sorted((view.folder / "targets").glob("*"), key=lambda p: (p.name in LAST, p.name))
    for folder in folders:
        try:
            bank = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue  # `check_files` reports damaged files
        if len(bank) == n_images:
            step = -(-int(np.prod(bank.shape[1:])) // MAX_READ)
            thinned = bank[:, ::step] if bank.ndim > 2 else bank
            return _project(thinned, shown, n_images=n_images), f"targets/{folder.name}"
    if thumbnails is None:
        return None, ""
    pixels = np.zeros((n_images, *thumbnails.values[0, ::2, ::2].shape), np.uint8)
    pixels[thumbnails.rows] = thumbnails.values[:, ::2, ::2]
    return _project(pixels, shown, n_images=n_images), "pixels"


def _project(
    values: Shaped[np.ndarray, "images ..."], rows: Int64[np.ndarray, " images2"], *, n_images: int
) -> Float32[np.ndarray, "images features"]:
    """Project the values of shown images at random, centre and normalise them."""
    n_values = int(np.prod(values.shape[1:]))
    weights = np.random.default_rng(0).standard_normal((n_values, N_FEATURES)).astype(np.float32)
    shown = np.empty((len(rows), N_FEATURES), np.float32)
    for start in range(0, len(shown), 512):
        flat = values[rows[start : start + 512]].astype(np.float32).reshape(-1, n_values)
        shown[start : start + 512] = flat @ weights
    shown -= shown.mean(axis=0)
    shown /= np.maximum(np.linalg.norm(shown, axis=1, keepdims=True), 1e-6)
    features = np.zeros((n_images, N_FEATURES), np.float32)
    features[rows] = shown
    return features
