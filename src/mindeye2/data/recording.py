"""What an adapter returns: one source's trials, responses and pictures, before any fitting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt8

__all__ = ["Recording"]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A source in memory. An adapter is a function that returns one of these.

    The prepare stage does the rest: it checks the parts against each other, z-scores, estimates
    reliability, encodes the pictures and seals the folder.
    """

    images: UInt8[np.ndarray, "images height width rgb"]
    """The stimuli, RGB."""

    trials: pd.DataFrame
    """The trial table: ``subject, session, run, trial, image, source_image, repeat, split``."""

    betas: Mapping[str, Float32[np.ndarray, "trials voxels"]]
    """Responses by subject, one row per trial of the subject in the table's order, any unit."""

    voxels: Mapping[str, pd.DataFrame]
    """Per subject one row per voxel: ``i, j, k`` and ROI columns; may have no other columns."""

    captions: Sequence[str] | None = None
    """One caption per image, where the source has them."""

    categories: Sequence[str] | None = None
    """The kind of thing that each captioned image shows, e.g. ``"animal"``, where it is known."""

    zscored: bool = False
    """The betas are already in the unit that models take: leave them as they are."""

    label: str = ""
    """One line that every report shows, e.g. that the people are simulated."""

    facts: Mapping[str, object] = field(default_factory=dict)
    """Further plain values for the manifest."""
