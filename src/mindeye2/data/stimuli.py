"""The shipped photographs: objects cut out of theirs, and backgrounds, in two separate halves.

No photograph, and no other photograph of the same source, is in both the training and the test
half, so that a test scene shows nothing that any training scene shows.
"""

import csv
import functools
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mindeye2.core.errors import check_choice

__all__ = [
    "SPLITS",
    "Background",
    "Credit",
    "Cutout",
    "StimulusLibrary",
    "load_library",
    "read_credits",
    "stimuli_folder",
]

SPLITS = ("train", "test")
"""The two halves of the library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """Where one shipped file comes from: one row of ``credits.csv``."""

    file: str
    """Path inside the folder of stimuli."""
    kind: str
    """``"cutout"`` or ``"background"``."""
    caption: str
    """What it shows, as a noun with its article."""
    preposition: str
    """How an object stands to a background, e.g. ``"in front of"``; empty for cutouts."""
    category: str
    """Coarse kind of content, e.g. ``"animal"``."""
    source: str
    """Photographs of one source (a session, an individual, a species) share a half."""
    split: str
    """``"train"`` or ``"test"``."""
    package: str
    """The package that carried the photograph."""
    path: str
    """Its path in that package; behind a colon, its path in a container."""
    author: str
    """Who took it, as far as the package says."""
    licence: str
    """``"public domain"``, ``"CC0-1.0"`` or a version of ``"CC-BY"``."""
    url: str
    """Where the package says it is from; empty if it does not say."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cutout:
    """An object without its surroundings."""

    credit: Credit
    """Its origin and caption."""
    rgba: UInt8[np.ndarray, "height width channels"]
    """Red, green, blue and opacity, 0 to 255; read-only."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Background:
    """A square photograph to put objects on."""

    credit: Credit
    """Its origin, caption and preposition."""
    rgb: UInt8[np.ndarray, "height width rgb"]
    """0 to 255; read-only."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StimulusLibrary:
    """The photographs of one half."""

    split: str
    """``"train"`` or ``"test"``."""
    cutouts: tuple[Cutout, ...]
    """Objects, in the order of the credits table."""
    backgrounds: tuple[Background, ...]
    """Backgrounds, in the order of the credits table."""


def stimuli_folder() -> Traversable:
    """Return the folder of the shipped photographs.

    Returns
    -------
    Traversable
        Holds ``cutouts``, ``backgrounds`` and ``credits.csv``.
    """
    return files("mindeye2") / "assets" / "stimuli"


@functools.cache
def read_credits() -> tuple[Credit, ...]:
    """Read the table that names source, author and licence of every shipped photograph.

    Returns
    -------
    tuple of Credit
        One row per file.
    """
    table = (stimuli_folder() / "credits.csv").read_text(encoding="utf-8")
    return tuple(Credit(**row) for row in csv.DictReader(table.splitlines()))


def _read(credit: Credit, mode: str) -> np.ndarray:
    file = stimuli_folder().joinpath(*credit.file.split("/"))
    with file.open("rb") as stream, Image.open(stream) as picture:
        pixels = np.asarray(picture.convert(mode))
    # Shared by every caller of the cache: nobody may write into it.
    pixels.flags.writeable = False
    return pixels


@functools.cache
def load_library(*, split: str) -> StimulusLibrary:
    """Load one half of the shipped photographs; decoded once per process.

    Parameters
    ----------
    split
        ``"train"`` or ``"test"``.

    Returns
    -------
    StimulusLibrary
        Its cutouts and backgrounds.
    """
    check_choice("split", split, SPLITS)
    rows = [row for row in read_credits() if row.split == split]
    return StimulusLibrary(
        split=split,
        cutouts=tuple(
            Cutout(credit=row, rgba=_read(row, "RGBA")) for row in rows if row.kind == "cutout"
        ),
        backgrounds=tuple(
            Background(credit=row, rgb=_read(row, "RGB"))
            for row in rows
            if row.kind == "background"
        ),
    )
