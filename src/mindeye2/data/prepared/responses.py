"""One subject's responses to one split of images, as arrays."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from mindeye2.data.prepared.reader import open_prepared
from mindeye2.data.subject_names import find_subject

__all__ = ["Responses", "load"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Responses:
    """Betas of one subject, and the images that were shown: row n of each belongs together."""

    betas: Float32[np.ndarray, "images repeats voxels"]
    """Z-scored; NaN where an image was shown fewer times than another."""

    images: UInt8[np.ndarray, "images height width rgb"]
    """Stimuli, RGB, 0 to 255."""

    captions: list[str] | None
    """One per image, or None where the data set has none."""

    image_rows: Int64[np.ndarray, " images"]
    """Row of each image in the data set."""

    subject: str
    """Subject of the betas."""

    split: str
    """Split of the images."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __repr__(self) -> str:
        """Describe shapes instead of printing arrays."""
        captions = "no captions" if self.captions is None else "captions"
        return (
            f"Responses({self.subject}, {self.split}: betas {self.betas.shape}, "
            f"images {self.images.shape}, {captions})"
        )


def load(folder: str | Path, *, subject: str | None = None, split: str = "test") -> Responses:
    """Load one subject's betas and the images that were shown.

    Parameters
    ----------
    folder
        Prepared data set.
    subject
        Subject, e.g. ``"subj01"``; not needed where there is only one.
    split
        ``"train"``, ``"validation"`` or ``"test"``.

    Returns
    -------
    Responses
        Images in the order of the data set, repeats in the order of presentation.

    Raises
    ------
    ArtifactError
        If the folder is missing, unfinished or damaged.
    ValueError
        If the subject or split is unknown, the subject is not given and there are several, or it
        has no trials in the split.
    """
    data = open_prepared(Path(folder))
    if subject is None and len(data.subjects) == 1:
        (subject,) = data.subjects
    if subject is None:
        raise ValueError(f"{folder} has the subjects {data.subjects}: give one as subject=...")
    subject = find_subject(subject, data.subjects)
    trials = data.trials_of(subject, split)
    if not len(trials):
        raise ValueError(f"{subject} has no trials in the split {split!r} of {folder}.")
    rows, image = np.unique(trials["image"].to_numpy(np.int64), return_inverse=True)
    repeat = trials.groupby("image").cumcount().to_numpy()
    single = data.betas(subject)[trials.index.to_numpy()].astype(np.float32)
    betas = np.full((len(rows), repeat.max() + 1, single.shape[1]), np.nan, np.float32)
    betas[image, repeat] = single
    captions = data.captions
    return Responses(
        betas=betas,
        images=np.asarray(data.images[rows]),
        captions=None if captions is None else [captions[i] for i in rows],
        image_rows=rows,
        subject=subject,
        split=split,
    )
