"""Trials and targets as they lie on disk, of which a step reads its own rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import generator
from mindeye2.data.prepared import Prepared
from mindeye2.metrics.noise_ceiling import Halves

__all__ = [
    "BetaRows",
    "SubjectTrials",
    "TargetBank",
    "TargetRows",
    "all_images",
    "average_halves",
    "load_targets",
    "load_trials",
]


class BetaRows:
    """Betas of trials as they lie on disk; rows become float32 tensors when they are read.

    Parameters
    ----------
    stored
        (trials, voxels), usually a memory map of float16.
    members
        Stored trials, row after row; by default each stored trial is a row.
    counts
        Stored trials of each row, over which the row is the mean; by default 1.
    """

    def __init__(
        self,
        stored: Float[np.ndarray, "_ voxels"],
        members: Int[Tensor, " _"] | None = None,
        counts: Int[Tensor, " trials"] | None = None,
    ) -> None:
        self._stored = stored
        self._members = torch.arange(len(stored)) if members is None else members
        self._counts = counts

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._members if self._counts is None else self._counts)

    @property
    def shape(self) -> tuple[int, int]:
        """(trials, voxels)."""
        return len(self), self._stored.shape[1]

    def __getitem__(self, rows: Tensor | slice) -> Float[Tensor, "batch voxels"]:
        """Read some rows, given by number, by a mask or as a slice."""
        chosen = self.select(torch.arange(len(self))[rows])
        stored = self._stored[chosen._members.numpy()]
        values = torch.from_numpy(stored.astype(np.float32, copy=False))
        if chosen._counts is None:
            return values
        row = torch.arange(len(chosen)).repeat_interleave(chosen._counts)
        sums = values.new_zeros(chosen.shape).index_add_(0, row, values)
        return sums / chosen._counts[:, None]

    def split(self, size: int) -> Iterator[Float[Tensor, "_ voxels"]]:
        """Read all rows in chunks of so many."""
        for rows in torch.arange(len(self)).split(size):
            yield self[rows]

    def select(self, rows: Int[Tensor, " batch"]) -> "BetaRows":
        """Return some rows, by number, without reading them."""
        if self._counts is None:
            return BetaRows(self._stored, self._members[rows])
        counts = self._counts[rows]
        # Each row's members are consecutive: its first one, and its count of steps from there.
        first = (self._counts.cumsum(0) - self._counts)[rows]
        steps = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(
            counts
        )
        members = self._members[first.repeat_interleave(counts) + steps]
        return BetaRows(self._stored, members, counts)

    def averaged(self, group: Int[Tensor, " trials"]) -> "BetaRows":
        """Return one row a group, numbered from 0: the mean of its rows, without reading them."""
        ordered = self.select(group.argsort(stable=True))
        counts = torch.ones(len(self), dtype=torch.int64) if self._counts is None else self._counts
        if (counts > 1).any():
            raise ValueError("these betas are averaged already.")
        return BetaRows(self._stored, ordered._members, group.bincount())


@dataclass(frozen=True)
class SubjectTrials:
    """Single trials of one subject."""

    betas: BetaRows
    """Z-scored; float32 when read."""

    images: Int[Tensor, " trials"]
    """Row of the image in the data set."""

    sessions: Int[Tensor, " trials"]
    """Session of each trial."""

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.images)

    def averaged(self) -> "SubjectTrials":
        """Return one row per image: the mean over its presentations, in the order of images."""
        images, group = self.images.unique(return_inverse=True)
        return SubjectTrials(
            betas=self.betas.averaged(group), images=images, sessions=torch.zeros_like(images)
        )

    def rows(self, chosen: Int[Tensor, " batch"] | Bool[Tensor, " trials"]) -> "SubjectTrials":
        """Return some of the trials, given by number or by a mask, without reading them."""
        rows = torch.arange(len(self))[chosen]
        return SubjectTrials(
            betas=self.betas.select(rows), images=self.images[rows], sessions=self.sessions[rows]
        )

    def halves(self) -> tuple["SubjectTrials", "SubjectTrials"] | None:
        """Return every second presentation of each image, from the first on, and the others.

        None where an image was shown once.
        """
        images, index = self.images.unique(return_inverse=True)
        order = index.argsort(stable=True)
        counts = index.bincount()
        number = torch.empty_like(index)
        starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
        number[order] = torch.arange(len(self)) - starts
        if len(images) == 0 or counts.min() < 2:
            return None
        return self.rows(number % 2 == 0), self.rows(number % 2 == 1)

    def at_most(self, n: int, *, seed: int) -> "SubjectTrials":
        """Return at most so many trials, at random, in their order."""
        if len(self) <= n:
            return self
        order = torch.randperm(len(self), generator=generator(seed, "at most"))
        return self.rows(order[:n].sort().values)


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
    rows = torch.from_numpy(table.index.to_numpy().astype(np.int64))
    return SubjectTrials(
        betas=BetaRows(prepared.betas(subject), rows),
        images=torch.from_numpy(table["image"].to_numpy().astype(np.int64)),
        sessions=torch.from_numpy(table["session"].to_numpy().astype(np.int64)),
    )


def average_halves(trials: SubjectTrials, images: Int[Tensor, " images"]) -> Halves | None:
    """Average the betas of either half of the presentations of some images, in their order.

    None where one of them was shown once, or never.
    """
    halves = trials.rows(torch.isin(trials.images, images)).halves()
    if halves is None or not torch.isin(images, halves[0].images).all():
        return None
    means = [half.averaged() for half in halves]
    rows = torch.searchsorted(means[0].images, images)
    counts = [half.images.unique(return_counts=True)[1][rows] for half in halves]
    return Halves(*(mean.betas[rows] for mean in means), *counts)


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

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all targets."""
        return self.values.shape

    @property
    def flat(self) -> "TargetBank":
        """The same targets, one axis an image."""
        return TargetBank(self.values.reshape(len(self), -1))

    def __getitem__(
        self, images: Int[Tensor, " batch"] | tuple[Int[Tensor, " batch"], slice]
    ) -> Float[Tensor, "batch ..."]:
        """Read the targets of some images, given by their rows in the data set.

        A slice of the next axis can be given too.
        """
        rows, columns = images if isinstance(images, tuple) else (images, slice(None))
        found = self.values[rows.numpy(), columns]
        return torch.from_numpy(found.astype(np.float32, copy=False))


@dataclass(frozen=True)
class TargetRows:
    """Targets of trials, one row a trial, read when they are indexed."""

    bank: TargetBank
    """Targets of every image."""

    images: Int[Tensor, " trials"]
    """Image of each trial."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, ...)."""
        return (len(self.images), *self.bank.row_shape)

    def __getitem__(self, trials: Int[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """Read the targets of some trials."""
        return self.bank[self.images[trials]]


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
