"""Checks of a trial table, and of the parts of a data set against each other."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.data.known_images import KNOWN_IMAGES, ImageDesign, check_known_images
from mindeye2.data.source_dataset import used_trials

__all__ = ["COLUMNS", "SPLITS", "check_parts", "check_trials"]

SPLITS = ("train", "validation", "test")
"""Names of the splits, which are disjoint in images unless the design is of known images."""

COLUMNS = ("subject", "session", "run", "trial", "image", "source_image", "repeat", "split")
"""Required columns of ``trials.parquet``."""


def check_trials(
    trials: pd.DataFrame, *, n_images: int, design: ImageDesign = "new_images"
) -> None:
    """Check columns, image numbers and splits of a trial table.

    Parameters
    ----------
    trials
        The trial table.
    n_images
        Number of images of the data set.
    design
        With known images, test trials show images of the training trials.

    Raises
    ------
    ArtifactError
        If a column or an image is missing, train or test have no trials, an image is in two
        splits, or with known images a test image is in no training trial.
    ValueError
        If a split is unknown.
    """
    missing = [c for c in COLUMNS if c not in trials]
    if missing:
        raise ArtifactError(
            f"the trial table has no column {missing}; it has {list(trials.columns)}. "
            f"Needed: {COLUMNS}."
        )
    outside = trials.loc[(trials["image"] < 0) | (trials["image"] >= n_images)]
    if len(outside):
        row = outside.iloc[0]
        raise ArtifactError(
            f"{len(outside)} trials show images that are missing: the first is image "
            f"{row['image']} ({row['subject']}, session {row['session']}, trial {row['trial']}), "
            f"but there are {n_images} images, 0 to {n_images - 1}. Add the images, or drop the "
            "trials."
        )
    for split in trials["split"].unique():
        check_choice("split in the trial table", split, SPLITS)
    for split in ("train", "test"):
        if not (trials["split"] == split).any():
            raise ArtifactError(
                f"no trial is in the split {split!r}. Train and test must each have trials; "
                "the column 'split' decides."
            )
    if design == KNOWN_IMAGES:
        check_known_images(trials)
        return
    shared = trials.groupby("image").agg(n=("split", "nunique"), name=("source_image", "first"))
    twice = shared.loc[shared["n"] > 1, "name"].tolist()
    if twice:
        raise ArtifactError(
            f"{len(twice)} images are in more than one split: {', '.join(map(str, twice[:50]))}"
            f"{', ...' if len(twice) > 50 else ''}. Splits must be disjoint in images, or scores "
            "are inflated: give all trials of an image one split. If your question is which of "
            "some known images was seen: --set KIND.design=known_images, KIND being table, "
            "glmsingle or bids."
        )


def check_parts(
    trials: pd.DataFrame,
    *,
    n_images: int,
    shapes: Mapping[str, tuple[int, ...]],
    voxels: Mapping[str, pd.DataFrame],
    captions: Sequence[str] | None,
    design: ImageDesign = "new_images",
) -> None:
    """Check trials, images, betas (by their `shapes`), voxel tables and captions of a data set.

    Raises ``ArtifactError`` where their numbers of trials, voxels or images differ.
    """
    if len(trials):
        check_trials(used_trials(trials), n_images=n_images, design=design)
    for subject, shape in shapes.items():
        rows = int((trials["subject"] == subject).sum())
        if rows != shape[0]:
            raise ArtifactError(
                f"{subject} has {shape[0]} rows of betas but {rows} trials in the table; "
                "they must be one to one, in the same order."
            )
        if len(voxels[subject]) != shape[1]:
            raise ArtifactError(
                f"{subject} has betas of {shape[1]} voxels but a voxel table of "
                f"{len(voxels[subject])} rows; they must be one to one, in the same order."
            )
    if captions is not None and len(captions) != n_images:
        raise ArtifactError(
            f"there are {len(captions)} captions for {n_images} images. "
            "Give one for each image, '' where there is none."
        )
