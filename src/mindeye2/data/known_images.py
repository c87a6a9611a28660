"""Designs with known images: trials of the same images in train and test.

Most small studies ask "which of these ten images was seen": each image is shown many times, and
the test trials show images that the decoder was trained on. Whole runs are held out where each
run shows every image, because trials of one run share drifts and noise; single trials otherwise.
"""

from typing import Literal

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import numpy_rng

__all__ = [
    "KNOWN_IMAGES",
    "ImageDesign",
    "check_known_images",
    "split_known_images",
]

ImageDesign = Literal["new_images", "known_images"]
"""Whether test trials show images that no training trial shows, or the same ones."""

KNOWN_IMAGES: ImageDesign = "known_images"
"""ImageDesign whose test trials show images of the training trials."""

_RUN = ["subject", "session", "run"]


def held_out_unit(
    trials: pd.DataFrame, by: Literal["run", "trial"] | None
) -> Literal["run", "trial"]:
    """Return what is held out: `by`, or runs if each of three or more shows all its images."""
    if by is not None:
        return by
    for _, own in trials.groupby("subject"):
        in_runs = own.groupby(["session", "run"])["image"].nunique()
        if len(in_runs) < 3 or in_runs.min() < own["image"].nunique():
            return "trial"
    return "run"


def split_known_images(
    trials: pd.DataFrame,
    *,
    test: float,
    validation: float,
    by: Literal["run", "trial"] | None,
    seed: int,
    kind: str,
) -> pd.Series:
    """Assign every trial to a split, so that training trials show all images of the test trials.

    `test` of the runs, or of the trials of each image, become the test split, and `validation` of
    the rest the validation split; at least one each, apart from subject to subject.
    """
    if held_out_unit(trials, by) == "run":
        groups, units = trials.groupby(["subject"]), trials.groupby(_RUN).ngroup()
    else:
        groups, units = trials.groupby(["subject", "image"]), pd.Series(trials.index, trials.index)
    split = pd.Series("train", index=trials.index)
    for key, own in groups:
        distinct = np.unique(units[own.index])
        if len(distinct) < 2:
            raise _too_few(own, kind=kind, by=by)
        order = numpy_rng(seed, "known images", *map(str, key)).permutation(distinct)
        n_test = min(len(distinct) - 1, max(1, round(test * len(distinct))))
        rest = len(distinct) - n_test
        n_validation = min(rest - 1, max(1, round(validation * rest))) if validation else 0
        chosen = units[own.index]
        split[own.index[chosen.isin(order[:n_test])]] = "test"
        split[own.index[chosen.isin(order[n_test : n_test + n_validation])]] = "validation"
    return split


def check_known_images(trials: pd.DataFrame) -> None:
    """Refuse test trials of an image that no training trial of the subject shows."""
    for subject, own in trials.groupby("subject"):
        test = own["split"] == "test"
        known = own.loc[own["split"] == "train", "image"]
        new = own[test & ~own["image"].isin(known)].drop_duplicates("image")
        if len(new):
            names = ", ".join(map(str, new["source_image"][:5]))
            raise ArtifactError(
                f"{subject} has {len(new)} test images that none of the training trials shows "
                f"({names}), but in a design of known images each test image must be known. Split "
                "by trial (--set KIND.splits.by=trial), show each image in more runs, or take "
                "the default design: --set KIND.design=new_images."
            )


def _too_few(own: pd.DataFrame, *, kind: str, by: Literal["run", "trial"] | None) -> ArtifactError:
    if by == "run":
        return ArtifactError(
            f"{own['subject'].iloc[0]} has one run, so no run can be held out. Hold out single "
            f"trials: --set {kind}.splits.by=trial."
        )
    name = own["source_image"].iloc[0] if "source_image" in own else own["image"].iloc[0]
    return ArtifactError(
        f"the image {name!r} is shown to {own['subject'].iloc[0]} once. A known image needs a "
        "training trial and a test trial at least: leave out images that are shown once, or take "
        f"the default design: --set {kind}.design=new_images."
    )
