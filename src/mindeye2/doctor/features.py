"""A few numbers for each picture: from a bank of target tokens, or else from its pixels."""

import numpy as np
from jaxtyping import Float32, Shaped

from mindeye2.doctor.pictures import Thumbnails
from mindeye2.doctor.study import Study

__all__ = ["image_features"]

N_FEATURES = 256
"""Features that a picture is reduced to, by random projection."""

MAX_READ = 8192
"""Values read per picture from a bank of large tokens: tokens are left out evenly."""

LAST = ("lowlevel",)
"""Banks that are taken only where there is no other: they say where colours are, not what is."""


def image_features(
    study: Study, thumbnails: Thumbnails
) -> tuple[Float32[np.ndarray, "images features"], str]:
    """Describe every picture that a trial shows.

    Parameters
    ----------
    study
        The open data set.
    thumbnails
        Its pictures, made small; used where there is no bank.

    Returns
    -------
    tuple
        Centred features of unit length, one row per image of the data set (zeros for pictures
        that no trial shows), and where they come from.
    """
    assert study.images is not None
    n_images = len(study.images)
    names = sorted((p.name for p in (study.folder / "targets").glob("*")), key=_preference)
    for name in names:
        path = study.folder / "targets" / name / "values.npy"
        try:
            bank = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue  # said among the files
        if len(bank) == n_images:
            step = -(-int(np.prod(bank.shape[1:])) // MAX_READ)
            thin = bank[:, ::step] if bank.ndim > 2 else bank
            return _projected(thin, thumbnails, n_images=n_images), f"targets/{name}"
    coarse = np.zeros((n_images, *thumbnails.values[0, ::2, ::2].shape), np.uint8)
    coarse[thumbnails.rows] = thumbnails.values[:, ::2, ::2]
    return _projected(coarse, thumbnails, n_images=n_images), "pixels"


def _preference(name: str) -> tuple[bool, str]:
    return name in LAST, name


def _projected(
    values: Shaped[np.ndarray, "images ..."], thumbnails: Thumbnails, *, n_images: int
) -> Float32[np.ndarray, "images features"]:
    n_values = int(np.prod(values.shape[1:]))
    axes = np.random.default_rng(0).standard_normal((n_values, N_FEATURES)).astype(np.float32)
    shown = np.empty((len(thumbnails.rows), N_FEATURES), np.float32)
    for start in range(0, len(shown), 512):
        rows = thumbnails.rows[start : start + 512]
        shown[start : start + 512] = values[rows].astype(np.float32).reshape(-1, n_values) @ axes
    shown -= shown.mean(axis=0)
    shown /= np.maximum(np.linalg.norm(shown, axis=1, keepdims=True), 1e-6)
    result = np.zeros((n_images, N_FEATURES), np.float32)
    result[thumbnails.rows] = shown
    return result
