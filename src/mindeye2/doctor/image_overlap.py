"""Images that train and test share, exactly or nearly, and images of one colour."""

import numpy as np
from jaxtyping import Int64

from mindeye2.data.image_copies import Thumbnails, find_copies, shrink_images
from mindeye2.doctor.dataset_view import DatasetView
from mindeye2.doctor.finding import Finding, first_few

__all__ = ["check_images", "make_thumbnails", "shown_images"]

CHECK = "images"

BLANK = 1.0
"""Standard deviation over a thumbnail (of 255) below which an image is of one colour."""


def shown_images(view: DatasetView) -> Int64[np.ndarray, " _"]:
    """Return the rows of the images that a trial shows, ascending."""
    assert view.n_images is not None
    assert view.trials is not None
    shown = np.unique(view.trials["image"].to_numpy()).astype(np.int64)
    return shown[(shown >= 0) & (shown < view.n_images)]


def make_thumbnails(view: DatasetView) -> Thumbnails:
    """Downsample every image that a trial shows."""
    assert view.images is not None
    return shrink_images(view.images, shown_images(view))


def check_images(view: DatasetView, thumbnails: Thumbnails | None) -> list[Finding]:
    """Search for images that train and test share, and for images of one colour.

    Without `thumbnails`, of a data set without images, only their names are compared.
    """
    assert view.trials is not None
    findings = [] if thumbnails is None else _blank(view, thumbnails)
    if view.prepared.known_images:
        n = len(view.prepared.images_of("test"))
        found = f"the {n} test images are training images too, as the design of known images says"
        return [*findings, Finding("note", CHECK, where="train and test", found=found)]
    split = view.trials.drop_duplicates("image").set_index("image")["split"]
    is_test = split.reindex(shown_images(view)).to_numpy() == "test"
    test, rest = np.flatnonzero(is_test), np.flatnonzero(~is_test)
    shared, how = _same_source(view), "by name (there are no images to compare)"
    if thumbnails is not None:
        shared, how = (
            [*shared, *_copies(view, thumbnails, test=test, rest=rest)],
            "exactly or nearly",
        )
    where = "train and test"
    if not shared:
        found = f"none of {len(test)} test images is among {len(rest)} others, {how}"
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
    sets = (Thumbnails(rows=thumbnails.rows[r], values=thumbnails.values[r]) for r in (test, rest))
    groups: dict[str, list[str]] = {}
    for (a, b), how in find_copies(view.images, *sets).items():
        groups.setdefault(how, []).append(f"{a} and {b}")
    return [
        f"{len(rows)} pairs of a test image and one of another split are {how} "
        f"(rows {first_few(rows)})"
        for how, rows in groups.items()
    ]
