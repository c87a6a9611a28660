"""What an adapter returns: one source's trials, responses and pictures, before any fitting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pandas as pd
from numpy.typing import NDArray

__all__ = ["Rows", "SourceDataset"]


@runtime_checkable
class Rows(Protocol):
    """An array that need not be in memory: NumPy arrays, memory maps, HDF5 data sets, own classes.

    It is read by slices and by ascending arrays of row numbers, some hundred rows at a time, and
    gives NumPy arrays. A class that is handed to several processes must survive being pickled: let
    it keep paths, and open files when it is read.
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
class SourceDataset:
    """A source, in memory or read while it is prepared. An adapter returns one of these.

    The prepare stage does the rest: it checks the parts against each other, z-scores, estimates
    reliability, encodes the pictures and seals the folder.
    """

    images: Rows
    """The stimuli: (images, height, width, 3) uint8, RGB."""

    trials: pd.DataFrame
    """The trial table: ``subject, session, run, trial, image, source_image, repeat, split``."""

    betas: Mapping[str, Rows]
    """Responses by subject: (trials, voxels), one row per trial of the subject in the order of the
    table, any unit; read session by session, as float32."""

    voxels: Mapping[str, pd.DataFrame]
    """Per subject one row per voxel: ``i, j, k`` and ROI columns; may have no other columns."""

    captions: Sequence[str] | None = None
    """One caption per image, where the source has them."""

    categories: Sequence[str] | None = None
    """The kind of thing that each captioned image shows, e.g. ``"animal"``, where it is known."""

    zscored: bool = False
    """The betas are already in the unit that models take: leave them as they are."""

    label: str = ""
    """One line that every report shows, e.g. that the subjects are simulated."""

    simulated: bool = False
    """The responses were computed, not measured; recorded in the manifest."""

    notes: Sequence[str] = ()
    """What the user should see while it is prepared, e.g. terms of use and what is not there."""

    facts: Mapping[str, object] = field(default_factory=dict)
    """Further plain values for the manifest."""
