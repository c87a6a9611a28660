"""Pictures: train and test that share one, exactly or nearly, and pictures that show nothing.

A picture's perceptual hash has a bit for each of the 63 lowest frequencies of its cosine
transform. Pictures whose hashes differ in few bits are compared as thumbnails; mirrored copies
count too.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8
from scipy.fft import dctn

from mindeye2.core.runtime import progress
from mindeye2.doctor.finding import Finding, first_few, remake
from mindeye2.doctor.study import Study

__all__ = ["Thumbnails", "check_pictures", "make_thumbnails", "perceptual_bits"]

CHECK = "pictures"

SIDE = 32
"""Side of a thumbnail in pixels."""

N_FREQUENCIES = 8
"""Rows and columns of the cosine transform that make the hash."""

MAX_BITS = 10
"""Hashes that differ in more of the 63 bits are of different pictures."""

NEARLY = 0.9
"""Correlation of thumbnails above which two pictures with near hashes are one."""

BLANK = 1.0
"""Standard deviation over a thumbnail (of 255) below which a picture shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Small copies of the pictures that trials show."""

    rows: Int64[np.ndarray, " images"]
    """Rows of the data set's images, ascending."""

    values: UInt8[np.ndarray, "images height width rgb"]
    """`SIDE` x `SIDE` pixels each."""


def make_thumbnails(study: Study) -> Thumbnails:
    """Shrink every picture that a trial shows.

    Parameters
    ----------
    study
        The open data set, with images and trials.

    Returns
    -------
    Thumbnails
        One per shown picture.
    """
    assert study.images is not None
    assert study.trials is not None
    shown = np.unique(study.trials["image"].to_numpy()).astype(np.int64)
    rows = shown[(shown >= 0) & (shown < len(study.images))]
    # Every other pixel of a large picture is enough, and reads a quarter.
    step = max(1, min(study.images.shape[1:3]) // (3 * SIDE))
    small = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    for start in progress(range(0, len(rows), 64), label="thumbnails"):
        chosen = study.images[rows[start : start + 64], ::step, ::step]
        pixels = torch.from_numpy(np.ascontiguousarray(chosen)).permute(0, 3, 1, 2).float()
        shrunk = F.adaptive_avg_pool2d(pixels, SIDE).permute(0, 2, 3, 1)
        small[start : start + 64] = shrunk.round().to(torch.uint8).numpy()
    return Thumbnails(rows=rows, values=small)


def perceptual_bits(
    thumbnails: UInt8[np.ndarray, "images height width rgb"],
) -> Float32[np.ndarray, "images features"]:
    """Hash pictures so that pictures which look alike differ in few bits.

    Parameters
    ----------
    thumbnails
        Square pictures of one size.

    Returns
    -------
    numpy.ndarray
        One bit per frequency as -1 or 1, so that a product counts agreement.
    """
    bits = np.empty((len(thumbnails), N_FREQUENCIES**2 - 1), np.float32)
    for start in range(0, len(thumbnails), 4096):
        grey = thumbnails[start : start + 4096].mean(axis=3, dtype=np.float32)
        spectrum = dctn(grey, axes=(1, 2), norm="ortho")[:, :N_FREQUENCIES, :N_FREQUENCIES]
        low = spectrum.reshape(len(grey), -1)[:, 1:]
        above = low > np.median(low, axis=1, keepdims=True)
        bits[start : start + 4096] = np.where(above, 1, -1)
    return bits


def check_pictures(study: Study, thumbnails: Thumbnails) -> list[Finding]:
    """Look for pictures that train and test share, and for blank ones.

    Parameters
    ----------
    study
        The open data set, with images and trials.
    thumbnails
        Its pictures, made small.

    Returns
    -------
    list of Finding
        What is shared or blank, or that nothing is.
    """
    assert study.trials is not None
    findings = _blank(study, thumbnails)
    split = study.trials.drop_duplicates("image").set_index("image")["split"]
    of = split.reindex(thumbnails.rows).to_numpy()
    test, rest = np.flatnonzero(of == "test"), np.flatnonzero(of != "test")
    leaks = [*_same_source(study), *_alike(study, thumbnails, test=test, rest=rest)]
    findings += leaks
    if not leaks:
        found = f"none of {len(test)} test pictures is among {len(rest)} others, exactly or nearly"
        where = "train and test"
        findings.append(Finding(level="ok", check=CHECK, where=where, found=found))
    return findings


def _blank(study: Study, thumbnails: Thumbnails) -> list[Finding]:
    spread = thumbnails.values.reshape(len(thumbnails.rows), -1, 3).std(axis=1).max(axis=1)
    blank = thumbnails.rows[spread < BLANK]
    if not len(blank):
        return []
    found = f"{len(blank)} pictures that trials show are of one colour (rows {first_few(blank)})"
    mend = f"give the true pictures, or drop their trials, then: {remake(study.manifest)}"
    return [Finding(level="error", check=CHECK, where="images.npy", found=found, mend=mend)]


def _same_source(study: Study) -> list[Finding]:
    assert study.trials is not None
    is_test = study.trials["split"] == "test"
    both = np.intersect1d(
        study.trials.loc[is_test, "source_image"], study.trials.loc[~is_test, "source_image"]
    )
    if not len(both):
        return []
    found = f"{len(both)} images of the source are in test and elsewhere (ids {first_few(both)})"
    return [_leak(study, found)]


def _alike(
    study: Study,
    thumbnails: Thumbnails,
    *,
    test: Int64[np.ndarray, " _"],
    rest: Int64[np.ndarray, " _"],
) -> list[Finding]:
    values = thumbnails.values
    known = perceptual_bits(values[rest])
    pairs: dict[tuple[int, int], str] = {}
    for copies, how in ((values[test], "nearly the same"), (values[test][:, :, ::-1], "mirrored")):
        bits = perceptual_bits(copies)
        for start in range(0, len(test), 256):
            differ = (bits.shape[1] - bits[start : start + 256] @ known.T) / 2
            for i, j in np.argwhere(differ <= MAX_BITS):
                if _correlation(copies[start + i], values[rest[j]]) > NEARLY:
                    pair = (int(thumbnails.rows[test[start + i]]), int(thumbnails.rows[rest[j]]))
                    pairs.setdefault(pair, how)
    assert study.images is not None
    same = [p for p in pairs if np.array_equal(study.images[p[0]], study.images[p[1]])]
    groups = {"exactly the same": same}
    for pair, how in pairs.items():
        if pair not in same:
            groups.setdefault(how, []).append(pair)
    return [
        _leak(
            study,
            f"{len(found)} pairs of a test picture and one of another split are {how} "
            f"(rows {first_few(f'{a} and {b}' for a, b in found)})",
        )
        for how, found in groups.items()
        if found
    ]


def _correlation(
    one: UInt8[np.ndarray, "height width rgb"], other: UInt8[np.ndarray, "height width rgb"]
) -> float:
    # Each colour by itself, or pictures of one tint would be alike whatever they show.
    a, b = (x - x.mean(axis=(0, 1), dtype=np.float64) for x in (one, other))
    a, b = a.ravel(), b.ravel()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-12))


def _leak(study: Study, found: str) -> Finding:
    mend = f"give both pictures of each pair one split, then: {remake(study.manifest)}"
    return Finding(level="error", check=CHECK, where="train and test", found=found, mend=mend)
