"""Which images are held out, where a source does not say so itself."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import numpy_rng
from mindeye2.core.settings import Settings

__all__ = ["SplitSettings", "make_splits"]


class SplitSettings(Settings):
    """How many images are held out. A column ``split`` of the trial table goes before this."""

    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the images in the test split, at least one image."""

    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the other images in the validation split; also taken from the training images of a
    table that names none."""

    seed: int = 0
    """Seeds the choice."""


def make_splits(trials: pd.DataFrame, *, settings: SplitSettings) -> pd.Series:
    """Give every trial its split, disjoint in images.

    Images that more people saw, and saw more often, are taken for the test first, because they can
    be compared between people and averaged; the seed decides between equals.

    Parameters
    ----------
    trials
        Has ``subject`` and ``image``. Where it has ``split`` too, that stays; without validation
        trials there, validation images are drawn from the training images.
    settings
        Shares and seed.

    Returns
    -------
    pandas.Series
        ``"train"``, ``"validation"`` or ``"test"``, one per trial.

    Raises
    ------
    ArtifactError
        If there are too few images for the shares.
    """
    if "split" in trials:
        split = trials["split"].copy()
        if (split == "validation").any() or settings.validation == 0:
            return split
        free = np.unique(trials.loc[split == "train", "image"])
        taken = _validation(free, settings)
        return split.mask(trials["image"].isin(taken), "validation")
    by_image = trials.groupby("image")["subject"].agg(["nunique", "size"])
    tie = numpy_rng(settings.seed, "splits", "test").permutation(len(by_image))
    order = by_image.assign(tie=tie).sort_values(
        ["nunique", "size", "tie"], ascending=[False, False, True]
    )
    test = order.index[: max(1, round(settings.test * len(order)))]
    free = np.setdiff1d(by_image.index, test)
    validation = _validation(free, settings)
    return (
        pd.Series("train", index=trials.index)
        .mask(trials["image"].isin(test), "test")
        .mask(trials["image"].isin(validation), "validation")
    )


def _validation(free: np.ndarray, settings: SplitSettings) -> np.ndarray:
    n = max(1, round(settings.validation * len(free))) if settings.validation else 0
    if n >= len(free):
        raise ArtifactError(
            f"{len(free)} images are left to train on, and {n} of them are wanted for validation. "
            "Give more images, or smaller shares in the settings 'splits'."
        )
    return numpy_rng(settings.seed, "splits", "validation").choice(free, n, replace=False)
