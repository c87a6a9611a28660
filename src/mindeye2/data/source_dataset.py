"""Trials, responses and stimuli of a source, as an adapter returns them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pandas as pd
from numpy.typing import NDArray

from mindeye2.data.known_images import ImageDesign

__all__ = ["SCALING", "Embedding", "Rows", "SourceDataset", "used_trials"]

SCALING = "scaling"
"""Split of trials that z-scoring of their session is fitted on, and that are not kept: training
trials of sessions of which only test trials are used. Their ``image`` is -1."""


@runtime_checkable
class Rows(Protocol):
    """An array that need not be in memory: NumPy arrays, memory maps, HDF5 data sets, own classes.

    It is read by slices and by ascending arrays of row numbers, some hundred rows at a time, and
    returns NumPy arrays. A class for several processes must survive pickling: store paths, and
    open files when rows are read.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis; rows come first."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:  # noqa: ANN401 - slice or row numbers
        """Return some rows, in ascending order."""
        ...


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Embedding of every image that the source publishes: targets that need no image."""

    values: Rows
    """(images, tokens, features)."""

    key: str
    """Identifies network and file; embeddings with different keys are different."""


@dataclass(frozen=True, kw_only=True)
class SourceDataset:
    """Trials, responses and stimuli of a source, in memory or read while they are prepared.

    The prepare stage checks them against each other, z-scores, estimates reliability, encodes the
    images and seals the folder.
    """

    images: Rows | None
    """Stimuli: (images, height, width, 3) uint8, RGB; None where only `embeddings` of them are
    there."""

    trials: pd.DataFrame
    """Trial table: ``subject, session, run, trial, image, source_image, repeat, split``; the split
    may be `SCALING` too."""

    betas: Mapping[str, Rows]
    """Responses by subject: (trials, voxels), one row per trial of the subject in the order of the
    table, in any unit; read session by session, as float32."""

    voxels: Mapping[str, pd.DataFrame]
    """Per subject one row per voxel: ``i, j, k`` and ROI columns; both optional."""

    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    """Published embeddings by the name of their folder in ``targets/``."""

    captions: Sequence[str] | None = None
    """One caption per image, where the source has them."""

    categories: Sequence[str] | None = None
    """Category of each captioned image, e.g. ``"animal"``, where it is known."""

    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What else is known of each captioned image: ``setting``, ``number``, ``light``."""

    design: ImageDesign = "new_images"
    """Whether test trials show images of the training trials; recorded in the manifest."""

    zscored: bool = False
    """The betas are z-scored already and stay as they are."""

    label: str = ""
    """One line about the data that every report shows."""

    simulated: bool = False
    """The responses were computed, not measured; recorded in the manifest."""

    notes: Sequence[str] = ()
    """Messages shown during preparation and recorded, e.g. terms of use and missing files."""

    facts: Mapping[str, object] = field(default_factory=dict)
    """Further plain values for the manifest."""

    @property
    def n_images(self) -> int:
        """Number of stimuli."""
        known = self.images if self.images is not None else next(iter(self.embeddings.values()))
        return len(known if isinstance(known, Rows) else known.values)


def used_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that are kept: all but those of the split `SCALING`."""
    return trials[trials["split"] != SCALING] if "split" in trials else trials
