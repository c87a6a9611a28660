"""Stimuli in a folder of image files, resized to squares as they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from pydantic import Field

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings
from mindeye2.data.image_reading import IMAGE_SUFFIXES, Fit, read_image, resize_to_square

__all__ = ["ImageFiles", "ImageSettings", "find_images"]


_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "F"})


class ImageSettings(Settings):
    """Size and cropping of the stimuli."""

    size: Annotated[int, Field(ge=32)] = 224
    """Side in pixels."""

    fit: Fit = "crop"
    """How images that are not square become square: keep the middle (``"crop"``), add grey
    (``"pad"``) or distort (``"stretch"``)."""


def find_images(folder: Path, names: Sequence[str], *, setting: str | None = None) -> list[Path]:
    """Return the image file of each name in a trial table; suffixes may be left out.

    `setting` is the setting that chooses the folder, for messages. Raises ``ArtifactError`` if the
    folder or a file is missing.
    """
    if not folder.is_dir():
        raise ArtifactError(
            f"the folder of images {folder} does not exist. Put the images that the subjects saw "
            "there, under the names that the trial table gives them"
            f"{f', or name their folder with --set {setting}=FOLDER' if setting else ''}."
        )
    found = [_find(folder, name) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        n_files = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*"))
        raise ArtifactError(
            f"{len(missing)} of {len(names)} images that the trial table lists are missing in "
            f"{folder} (first: {missing[:5]}); {n_files} image files are there."
            f"{_other_suffix(folder, missing[0])} Add them, or leave their trials out of the "
            "table and of the betas."
        )
    return [path for path in found if path is not None]


def _other_suffix(folder: Path, name: str) -> str:
    """Return a hint that an image exists with another suffix."""
    path = folder / name
    there = [p.name for s in IMAGE_SUFFIXES if (p := path.with_suffix(s)).is_file()]
    return f" {there[0]} is there: correct the table, or leave suffixes out." if there else ""


def _find(folder: Path, name: str) -> Path | None:
    path = folder / name
    if path.is_file():
        return path
    # A dot may be part of the name, so the suffix is added, not replaced.
    candidates = (path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES)
    return next((p for p in candidates if p.is_file()), None)


@dataclass(frozen=True)
class ImageFiles:
    """Image files read on demand: `mindeye2.data.source_dataset.Rows` of files."""

    paths: Sequence[Path]
    """One file per image."""

    settings: ImageSettings
    """Size and cropping."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, height, width, 3)."""
        return (len(self.paths), self.settings.size, self.settings.size, 3)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def conversions(self, *, setting: str) -> dict[str, object]:
        """Count the files that are changed when they are read, from their headers.

        `setting` names the settings of size and cropping.
        """
        counts = {"not_square": 0, "gray": 0, "transparent": 0}
        for path in self.paths:
            try:
                with Image.open(path) as image:
                    counts["not_square"] += image.width != image.height
                    counts["gray"] += image.mode in _GRAY_MODES
                    counts["transparent"] += image.has_transparency_data
            except (Image.DecompressionBombError, OSError, ValueError):
                continue  # refused with its name when it is read
        return {**counts, "files": len(self), "fit": self.settings.fit, "setting": setting}

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " images"]
    ) -> UInt8[np.ndarray, "images height width rgb"]:
        """Read some images."""
        chosen = np.arange(len(self))[rows]
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for image, row in zip(images, chosen, strict=True):
            path = self.paths[row]
            whole = read_image(path, name=path)
            image[:] = resize_to_square(whole, self.settings.size, fit=self.settings.fit)
        return images
