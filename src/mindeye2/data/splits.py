"""Train, validation and test splits of sources that do not define them."""

from collections.abc import Collection
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64
from pydantic import Field

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import numpy_rng
from mindeye2.core.settings import Settings
from mindeye2.data.known_images import KNOWN_IMAGES, ImageDesign, split_known_images
from mindeye2.data.source_dataset import SCALING

__all__ = [
    "SplitSettings",
    "choose_sessions",
    "make_splits",
    "split_chosen",
    "split_held_out",
]


class SplitSettings(Settings):
    """Number of held-out images. A column ``split`` of the trial table takes precedence."""

    test: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fraction of the images in the test split, at least two images, because scores compare
    images; .1 by default. With known images the fraction of runs or trials, .25 by default."""

    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of the other images in the validation split; also taken from the training images
    of a table whose column ``split`` has no validation trials. With known images the fraction of
    the other runs or trials."""

    by: Literal["run", "trial"] | None = None
    """What is held out with known images: whole runs or single trials; by default runs, if there
    are three or more and each shows every image."""

    seed: int = 0
    """Seed of the random choice."""


def make_splits(
    trials: pd.DataFrame,
    *,
    settings: SplitSettings,
    kind: str = "KIND",
    design: ImageDesign = "new_images",
) -> pd.Series:
    """Assign every trial to a split, disjoint in images unless the design is of known images.

    Images shown to more subjects, and then more often, become test images first, because scores
    can be compared between subjects and averaged over repeats; the seed breaks ties.

    Parameters
    ----------
    trials
        Has ``subject`` and ``image``. A column ``split`` is kept; where it has no validation
        trials, validation images are sampled from its training images.
    settings
        Fractions and seed.
    kind
        Kind of source, which begins the names of its settings in messages.
    design
        ``"known_images"`` splits by run or trial instead: see `split_known_images`.

    Returns
    -------
    pandas.Series
        ``"train"``, ``"validation"`` or ``"test"``, one per trial.

    Raises
    ------
    ArtifactError
        If there are too few images.
    """
    if "split" in trials:
        split = trials["split"].copy()
        if design == KNOWN_IMAGES or (split == "validation").any() or settings.validation == 0:
            return split
        training = split == "train"
        train = np.unique(trials.loc[training, "image"])
        chosen = trials["image"].isin(_sample_validation(train, settings, kind))
        # Rows of another split stay, so that an image in two splits is found later.
        return split.mask(training & chosen, "validation")
    if design == KNOWN_IMAGES:
        return split_known_images(
            trials,
            test=settings.test or 0.25,
            validation=settings.validation,
            by=settings.by,
            seed=settings.seed,
            kind=kind,
        )
    by_image = trials.groupby("image")["subject"].agg(["nunique", "size"])
    tie = numpy_rng(settings.seed, "splits", "test").permutation(len(by_image))
    order = by_image.assign(tie=tie).sort_values(
        ["nunique", "size", "tie"], ascending=[False, False, True]
    )
    test = order.index[: max(2, round((settings.test or 0.1) * len(order)))]
    train = np.setdiff1d(by_image.index, test)
    return (
        pd.Series("train", index=trials.index)
        .mask(trials["image"].isin(test), "test")
        .mask(trials["image"].isin(_sample_validation(train, settings, kind)), "validation")
    )


def _sample_validation(
    train: Int64[np.ndarray, " images"], settings: SplitSettings, kind: str
) -> Int64[np.ndarray, " _"]:
    n = max(1, round(settings.validation * len(train))) if settings.validation else 0
    if n >= len(train):
        raise ArtifactError(
            f"{len(train)} images are left to train on, and {n} of them are wanted for "
            f"validation. Give more images, or smaller fractions: {kind}.splits.test and "
            f"{kind}.splits.validation."
        )
    return numpy_rng(settings.seed, "splits", "validation").choice(train, n, replace=False)


def choose_sessions(
    trials: pd.DataFrame,
    *,
    test: Bool[np.ndarray, " trials"],
    train_sessions: Collection[int],
    test_sessions: Collection[int],
) -> pd.DataFrame:
    """Choose sessions of training and of test trials apart; none means all of them.

    Test trials of other sessions are dropped. Training trials of other sessions stay where a
    session is read, to fit its z-scoring: they are marked in the column ``scaling``.
    """
    session = trials["session"]
    train = session.isin(train_sessions) | (not train_sessions)
    tested = session.isin(test_sessions) | (not test_sessions)
    return trials.assign(scaling=~test & ~train)[~test | tested]


def split_held_out(
    trials: pd.DataFrame, *, held_out: str, validation_fraction: float, seed: int
) -> pd.DataFrame:
    """Assign splits where the column `held_out` says which images are the test.

    `validation_fraction` of each subject's other images, at least two unless it is 0, become the
    validation split; the sample of a subject does not depend on which others are prepared. Adds
    ``image`` (in the order of ``source_image``), ``repeat`` (earlier presentations to the subject
    among these trials, which are in order of presentation) and ``split``.
    """
    ids = np.unique(trials["source_image"].to_numpy())
    test = trials[held_out].to_numpy(bool)
    chosen: set[object] = set()
    for subject, own in trials[~test].groupby("subject")["source_image"]:
        images = np.unique(own.to_numpy())
        count = min(len(images) - 1, max(2, round(validation_fraction * len(images))))
        if validation_fraction > 0 and count > 0:
            rng = numpy_rng(seed, "validation images", subject)
            chosen.update(rng.choice(images, count, replace=False).tolist())
    split = np.where(trials["source_image"].isin(chosen), "validation", "train")
    return trials.assign(
        image=np.searchsorted(ids, trials["source_image"].to_numpy()),
        repeat=trials.groupby(["subject", "source_image"]).cumcount(),
        split=np.where(test, "test", split),
    )


def split_chosen(
    trials: pd.DataFrame, *, held_out: str, validation_fraction: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Assign splits to the trials of `choose_sessions`; those for z-scoring get `SCALING`.

    Returns all trials, in their order and without the column ``scaling``, and those that are
    kept.
    """
    used = split_held_out(
        trials[~trials["scaling"]],
        held_out=held_out,
        validation_fraction=validation_fraction,
        seed=seed,
    )
    others = trials[trials["scaling"]].assign(image=-1, repeat=-1, split=SCALING)
    every = pd.concat([used, others]).sort_index().drop(columns="scaling")
    return every, used.drop(columns="scaling")
