"""Splits of studies whose test images are the ones that all people were meant to see."""

import numpy as np
import pandas as pd

from mindeye2.core.runtime import numpy_rng

__all__ = ["split_by_sharing"]


def split_by_sharing(trials: pd.DataFrame, *, validation_share: float, seed: int) -> pd.DataFrame:
    """Give every trial its split, and number images and repeats.

    Parameters
    ----------
    trials
        In the order of presentation, with ``subject``, ``source_image`` and ``shared1000``.
    validation_share
        Share of each subject's other images in the validation split; at least two of them unless
        it is 0.
    seed
        Seeds the choice, of each subject by itself: it does not depend on who else is prepared.

    Returns
    -------
    pandas.DataFrame
        `trials` with ``image`` (in the order of ``source_image``), ``repeat`` (earlier
        presentations to the subject among these trials) and ``split``: shared images are test
        images.
    """
    ids = np.unique(trials["source_image"].to_numpy())
    shared = trials["shared1000"].to_numpy(bool)
    chosen: set[int] = set()
    for subject, own in trials[~shared].groupby("subject")["source_image"]:
        images = np.unique(own.to_numpy())
        count = min(len(images) - 1, max(2, round(validation_share * len(images))))
        if validation_share > 0 and count > 0:
            rng = numpy_rng(seed, "validation images", subject)
            chosen.update(rng.choice(images, count, replace=False).tolist())
    split = np.where(trials["source_image"].isin(chosen), "validation", "train")
    return trials.assign(
        image=np.searchsorted(ids, trials["source_image"].to_numpy()),
        repeat=trials.groupby(["subject", "source_image"]).cumcount(),
        split=np.where(shared, "test", split),
    )
