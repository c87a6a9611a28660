"""A folder of image files -> pictures of the same size, read when they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings

__all__ = ["PictureFiles", "PictureSettings", "find_pictures", "read_picture"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""What an image may end in; tried in this order where a table names it without."""

_GREY = (127, 127, 127)


class PictureSettings(Settings):
    """How image files become pictures of one size."""

    size: Annotated[int, Field(ge=32)] = 224
    """Side in pixels."""

    fit: Literal["crop", "pad", "stretch"] = "crop"
    """What happens to pictures that are not square: the middle is kept, grey is added, or the
    picture is distorted."""


def find_pictures(folder: Path, names: Sequence[str]) -> list[Path]:
    """Find the files that a trial table names.

    Parameters
    ----------
    folder
        Where they lie.
    names
        Paths inside the folder; a suffix may be left out.

    Returns
    -------
    list of Path
        One file per name.

    Raises
    ------
    ArtifactError
        If the folder or a file is missing.
    """
    if not folder.is_dir():
        raise ArtifactError(
            f"the folder of images {folder} does not exist. Put the pictures that the people saw "
            "there, under the names that the trial table gives them."
        )
    found = [_find(folder, name) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        there = sum(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))
        raise ArtifactError(
            f"{len(missing)} of {len(names)} images that the trial table lists are missing in "
            f"{folder} (first: {missing[:5]}); {there} image files are there. Add them, or leave "
            "their trials out of the table and of the betas."
        )
    return [path for path in found if path is not None]


def _find(folder: Path, name: str) -> Path | None:
    path = folder / name
    if path.is_file():
        return path
    # Behind a dot may be a part of the name, so the suffix is added, not replaced.
    tries = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    return next((p for p in tries if p.is_file()), None)


def read_picture(path: Path, settings: PictureSettings) -> UInt8[np.ndarray, "height width rgb"]:
    """Read one image file.

    Parameters
    ----------
    path
        Any format that Pillow reads; transparency is laid on grey.
    settings
        Size and fit.

    Returns
    -------
    numpy.ndarray
        RGB, square.

    Raises
    ------
    ArtifactError
        If the file is damaged or no picture.
    """
    side = (settings.size, settings.size)
    try:
        with Image.open(path) as opened:
            # Cameras store how they were held; what people saw was upright.
            upright = ImageOps.exif_transpose(opened)
            rgba = upright.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read as a picture ({error}). Give a whole file of one of the kinds "
            f"{', '.join(SUFFIXES)}."
        ) from error
    ground = Image.new("RGBA", rgba.size, (*_GREY, 255))
    picture = Image.alpha_composite(ground, rgba).convert("RGB")
    if settings.fit == "crop":
        picture = ImageOps.fit(picture, side, Image.Resampling.BICUBIC)
    elif settings.fit == "pad":
        picture = ImageOps.pad(picture, side, Image.Resampling.BICUBIC, color=_GREY)
    else:
        picture = picture.resize(side, Image.Resampling.BICUBIC)
    return np.asarray(picture)


@dataclass(frozen=True)
class PictureFiles:
    """Pictures that are read when they are asked for: `source_dataset.Rows` of files."""

    paths: Sequence[Path]
    """One file per picture."""

    settings: PictureSettings
    """Size and fit."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, height, width, 3)."""
        return (len(self.paths), self.settings.size, self.settings.size, 3)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.paths)

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " images"]
    ) -> UInt8[np.ndarray, "images height width rgb"]:
        """Read some pictures."""
        chosen = np.arange(len(self))[rows]
        pictures = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for picture, row in zip(pictures, chosen, strict=True):
            picture[:] = read_picture(self.paths[row], self.settings)
        return pictures
