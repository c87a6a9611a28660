"""Images that train and test share, exactly or nearly, and images of one colour.

The perceptual hash of an image has a bit for each of the 63 lowest frequencies of its cosine
transform. Images whose hashes differ in few bits are compared as thumbnails; mirrored copies
count too.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8
from scipy.fft import dctn

from mindeye2.core.runtime import progress
from mindeye2.doctor.dataset_view import DatasetView
from mindeye2.doctor.finding import Finding, first_few

__all__ = ["Thumbnails", "check_images", "make_thumbnails"]

CHECK = "images"

SIDE = 32
"""Side of a thumbnail in pixels."""

N_FREQUENCIES = 8
"""Rows and columns of the cosine transform that make the hash."""

MAX_BITS = 10
"""Hashes that differ in more of the 63 bits are of different images."""

NEARLY = 0.9
"""Correlation of thumbnails above which two images with similar hashes are copies."""

BLANK = 1.0
"""Standard deviation over a thumbnail (of 255) below which an image is of one colour."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Small copies of the stimulus images that trials show."""

    rows: Int64[np.ndarray, " images"]
    """Rows of the data set's images, ascending."""

    values: UInt8[np.ndarray, "images height width rgb"]
    """`SIDE` x `SIDE` pixels each."""


def make_thumbnails(view: DatasetView) -> Thumbnails:
    """Downsample every image that a trial shows."""
    assert view.images is not None
    assert view.trials is not None
    shown = np.unique(view.trials["image"].to_numpy()).astype(np.int64)
    rows = shown[(shown >= 0) & (shown < len(view.images))]
    # Every other pixel of a large image is enough, and reads a quarter.
    step = max(1, min(view.images.shape[1:3]) // (3 * SIDE))
    small = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    for start in progress(range(0, len(rows), 64), label="thumbnails"):
        images = view.images[rows[start : start + 64], ::step, ::step]
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
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
        spectrum = dctn(grey, axes=(1, 2), norm="ortho")[:, :N_FREQUENCIES, :N_FREQUENCIES]
        low = spectrum.reshape(len(grey), -1)[:, 1:]
        above = low > np.median(low, axis=1, keepdims=True)
        bits[start : start + 4096] = np.where(above, 1, -1)
    return bits


def check_images(view: DatasetView, thumbnails: Thumbnails) -> list[Finding]:
    """Search for images that train and test share, and for images of one colour."""
    assert view.trials is not None
    findings = _blank(view, thumbnails)
    split = view.trials.drop_duplicates("image").set_index("image")["split"]
    is_test = split.reindex(thumbnails.rows).to_numpy() == "test"
    test, rest = np.flatnonzero(is_test), np.flatnonzero(~is_test)
    shared = [*_same_source(view), *_copies(view, thumbnails, test=test, rest=rest)]
    where = "train and test"
    if not shared:
        found = f"none of {len(test)} test images is among {len(rest)} others, exactly or nearly"
        return [*findings, Finding("ok", CHECK, where=where, found=found)]
    fix = view.prepare_again(first="give both images of each pair one split")
    return findings + [Finding("error", CHECK, where=where, found=t, fix=fix) for t in shared]


def _blank(view: DatasetView, thumbnails: Thumbnails) -> list[Finding]:
    std = thumbnails.values.reshape(len(thumbnails.rows), -1, 3).std(axis=1).max(axis=1)
    blank = thumbnails.rows[std < BLANK]
    if not len(blank):
        return []
    found = f"{len(blank)} images that trials show are of one colour (rows {first_few(blank)})"
    fix = view.prepare_again(first="give the correct images, or drop their trials")
    return [Finding("error", CHECK, where="images.npy", found=found, fix=fix)]


def _same_source(view: DatasetView) -> list[str]:
    """Describe images of the source that are in the test split and in another."""
    assert view.trials is not None
    is_test = view.trials["split"] == "test"
    both = np.intersect1d(
        view.trials.loc[is_test, "source_image"], view.trials.loc[~is_test, "source_image"]
    )
    if not len(both):
        return []
    return [f"{len(both)} images of the source are in test and elsewhere (ids {first_few(both)})"]


def _copies(
    view: DatasetView,
    thumbnails: Thumbnails,
    *,
    test: Int64[np.ndarray, " _"],
    rest: Int64[np.ndarray, " _"],
) -> list[str]:
    """Describe pairs of a test image and another that are the same, similar or mirrored."""
    assert view.images is not None
    values = thumbnails.values
    hashes = perceptual_hash(values[rest])
    pairs: dict[tuple[int, int], str] = {}
    for copies, how in ((values[test], "nearly the same"), (values[test][:, :, ::-1], "mirrored")):
        bits = perceptual_hash(copies)
        for start in range(0, len(test), 256):
            n_different = (bits.shape[1] - bits[start : start + 256] @ hashes.T) / 2
            for i, j in np.argwhere(n_different <= MAX_BITS):
                if _correlation(copies[start + i], values[rest[j]]) > NEARLY:
                    pair = (int(thumbnails.rows[test[start + i]]), int(thumbnails.rows[rest[j]]))
                    pairs.setdefault(pair, how)
    groups: dict[str, list[str]] = {}
    for (a, b), how in pairs.items():
        same = np.array_equal(view.images[a], view.images[b])
        groups.setdefault("exactly the same" if same else how, []).append(f"{a} and {b}")
    return [
        f"{len(rows)} pairs of a test image and one of another split are {how} "
        f"(rows {first_few(rows)})"
        for how, rows in groups.items()
    ]


def _correlation(
    one: UInt8[np.ndarray, "height width rgb"], other: UInt8[np.ndarray, "height width rgb"]
) -> float:
    # Each channel is centred, or images of one tint would correlate whatever they show.
    a, b = (x - x.mean(axis=(0, 1), dtype=np.float64) for x in (one, other))
    a, b = a.ravel(), b.ravel()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-12))
