"""Trials of a subject, and memory-mapped banks of targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared
from mindeye2.models.closed_form import mean_by_image

__all__ = ["SubjectTrials", "TargetBank", "all_images", "load_targets", "load_trials"]


@dataclass(frozen=True)
class SubjectTrials:
    """Single trials of one subject."""

    betas: Float[Tensor, "trials voxels"]
    """Z-scored, float32."""

    images: Int[Tensor, " trials"]
    """Row of the image in the data set."""

    sessions: Int[Tensor, " trials"]
    """Session of each trial."""

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.images)

    def averaged(self) -> "SubjectTrials":
        """Return one row per image: the mean over its presentations, in the order of images."""
        betas, images = mean_by_image(self.betas, self.images)
        return SubjectTrials(betas=betas, images=images, sessions=torch.zeros_like(images))

    def rows(self, chosen: Int[Tensor, " batch"] | Bool[Tensor, " trials"]) -> "SubjectTrials":
        """Return some of the trials.

        Parameters
        ----------
        chosen
            Row numbers, or a mask.

        Returns
        -------
        SubjectTrials
            Those trials.
        """
        return SubjectTrials(
            betas=self.betas[chosen], images=self.images[chosen], sessions=self.sessions[chosen]
        )


def load_trials(
    prepared: Prepared,
    subject: str,
    splits: Sequence[str],
    *,
    sessions: Sequence[int] | None = None,
    n_trials: int | None = None,
) -> SubjectTrials:
    """Load single trials of one subject.

    Parameters
    ----------
    prepared
        The data set.
    subject
        The subject.
    splits
        Splits to load.
    sessions
        Only these sessions, or None for all.
    n_trials
        Only the first so many of them, or None for all.

    Returns
    -------
    SubjectTrials
        In the order of the data set.

    Raises
    ------
    ArtifactError
        If there is no such trial.
    """
    whole = prepared.trials_of(subject)
    table = prepared.trials_of(subject, sessions=sessions)
    table = table[table["split"].isin(splits)].iloc[:n_trials]
    if not len(table):
        there = {
            split: sorted(int(s) for s in of_split["session"].unique())
            for split, of_split in whole.groupby("split", observed=True)
        }
        asked = "all sessions" if sessions is None else f"the sessions {list(sessions)}"
        raise ArtifactError(
            f"{subject} has no trial of the splits {list(splits)} in {asked}. Its splits have the "
            f"sessions {there}: choose among these with --set sessions=[...] or "
            "--set train_on=[...]."
        )
    betas = np.asarray(prepared.betas(subject)[table.index.to_numpy()], dtype=np.float32)
    return SubjectTrials(
        betas=torch.from_numpy(betas),
        images=torch.from_numpy(table["image"].to_numpy().astype(np.int64)),
        sessions=torch.from_numpy(table["session"].to_numpy().astype(np.int64)),
    )


class TargetBank:
    """Targets of every image as they lie on disk; rows become float32 tensors when they are read.

    Parameters
    ----------
    values
        One row per image, usually a memory map of float16.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one image's targets."""
        return self.values.shape[1:]

    def __getitem__(self, images: Int[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """Read the targets of some images, given by their rows in the data set."""
        return torch.from_numpy(self.values[images.numpy()].astype(np.float32))


def load_targets(prepared: Prepared, encoder: str) -> TargetBank:
    """Open the targets of one encoder without reading them."""
    return TargetBank(prepared.targets(encoder))


def all_images(trials: Mapping[str, SubjectTrials]) -> Int[Tensor, " images"]:
    """Return the distinct images of several subjects' trials, ascending.

    Parameters
    ----------
    trials
        By subject.

    Returns
    -------
    Tensor
        Rows of the data set's images.
    """
    images: Tensor = torch.cat([t.images for t in trials.values()]).unique()
    return images
