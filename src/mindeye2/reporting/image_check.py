"""Whether test images were seen in training: what a page may say about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mindeye2.data.image_copies import find_copies, shrink_images
from mindeye2.data.prepared import Prepared

__all__ = ["ImageCheck", "check_test_images"]

MOST_IMAGES = 20_000
"""Images that are searched for copies when a page is made; 1 ms each."""


@dataclass(frozen=True, kw_only=True)
class ImageCheck:
    """Finding of the search for test images among the training images."""

    clause: str
    """Relative clause about the test images, with a comma in front; empty where nothing is
    known."""
    warning: str = ""
    """Sentence for the top of the page."""


def check_test_images(prepared: Prepared, images: Sequence[int]) -> ImageCheck:
    """Search test images among the images of training and validation trials of all subjects.

    Parameters
    ----------
    prepared
        Data set.
    images
        Rows of the images that were reconstructed.

    Returns
    -------
    ImageCheck
        What was found; no claim about copies where there are too many images to search here.
    """
    if prepared.known_images:
        return ImageCheck(
            clause=", which other trials showed in training: the question is which of them was "
            "seen"
        )
    test = np.unique(np.asarray(images, np.int64))
    trained = np.union1d(prepared.images_of("train"), prepared.images_of("validation"))
    shared = np.intersect1d(test, trained)
    if len(shared):
        return _shared(
            f"{len(shared)} of them were shown in training trials too", images=shared.tolist()
        )
    if not len(trained):
        return ImageCheck(clause="")
    if not prepared.has_images:
        return ImageCheck(
            clause=", none of which was shown in a training trial by its name (without images, "
            "copies under another name cannot be searched)"
        )
    if len(test) + len(trained) > MOST_IMAGES:
        return ImageCheck(
            clause=", none of which was shown in a training trial (copies under another name: "
            "'mindeye2 doctor' searches for them)"
        )
    pairs = find_copies(
        prepared.images,
        shrink_images(prepared.images, test),
        shrink_images(prepared.images, trained),
    )
    if pairs:
        copied = sorted({a for a, _ in pairs})
        return _shared(
            f"{len(copied)} of them are copies of training images, exactly or nearly",
            images=copied,
        )
    return ImageCheck(clause=", none of which was shown in a training trial, exactly or nearly")


def _shared(finding: str, *, images: list[int]) -> ImageCheck:
    listed = ", ".join(map(str, images[:10])) + (", ..." if len(images) > 10 else "")
    return ImageCheck(
        clause=f"; {finding}",
        warning=f"Train and test share images: of the test images, {finding} (rows {listed}). "
        "Scores are inflated by that. 'mindeye2 doctor' on the data set lists the pairs.",
    )
