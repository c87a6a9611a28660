"""The shipped photographs: cut-out objects and backgrounds, divided into training and test.

Photographs of one source are all in the training or all in the test part, so that a test scene
shows nothing that any training scene shows.
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

__all__ = ["Background", "Credit", "Cutout", "PhotographLibrary", "load_photographs"]

_SPLITS = ("train", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """Origin, content and licence of one shipped file: a row of ``credits.csv``."""

    file: str
    """Path inside the folder of photographs."""
    kind: str
    """``"cutout"`` or ``"background"``."""
    caption: str
    """Content, as a noun with its article."""
    preposition: str
    """Between object and background in captions, e.g. ``"in front of"``; empty for cutouts."""
    category: str
    """Coarse content, e.g. ``"animal"``."""
    source: str
    """Photographs of one source (a session, an individual, a species) are in one split."""
    split: str
    """``"train"`` or ``"test"``."""
    package: str
    """The package that carried the photograph."""
    path: str
    """Its path in that package; behind a colon, its path in a container."""
    author: str
    """Photographer, where the package names one."""
    licence: str
    """``"public domain"``, ``"CC0-1.0"`` or a version of ``"CC-BY"``."""
    url: str
    """Address that the package gives; may be empty."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cutout:
    """An object cut out of its photograph."""

    credit: Credit
    """Its origin and caption."""
    rgba: UInt8[np.ndarray, "height width channels"]
    """Red, green, blue and opacity, 0 to 255; read-only."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Background:
    """A square photograph."""

    credit: Credit
    """Its origin, caption and preposition."""
    rgb: UInt8[np.ndarray, "height width rgb"]
    """0 to 255; read-only."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhotographLibrary:
    """The photographs of one split."""

    split: str
    """``"train"`` or ``"test"``."""
    cutouts: tuple[Cutout, ...]
    """Objects, in the order of the credits table."""
    backgrounds: tuple[Background, ...]
    """Backgrounds, in the order of the credits table."""


def photographs_folder() -> Traversable:
    """Return the folder with ``cutouts``, ``backgrounds`` and ``credits.csv``."""
    return files("mindeye2") / "assets" / "stimuli"


@functools.cache
def read_credits() -> tuple[Credit, ...]:
    """Read ``credits.csv``, one row per photograph."""
    table = (photographs_folder() / "credits.csv").read_text(encoding="utf-8")
    return tuple(Credit(**row) for row in csv.DictReader(table.splitlines()))


def _read(credit: Credit, mode: str) -> np.ndarray:
    file = photographs_folder().joinpath(*credit.file.split("/"))
    with file.open("rb") as stream, Image.open(stream) as image:
        pixels = np.asarray(image.convert(mode))
    # Shared by all callers through the cache.
    pixels.flags.writeable = False
    return pixels


@functools.cache
def load_photographs(*, split: str) -> PhotographLibrary:
    """Load the photographs of the split ``"train"`` or ``"test"``, once per process."""
    check_choice("split", split, _SPLITS)
    rows = [row for row in read_credits() if row.split == split]
    return PhotographLibrary(
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
