"""Many pictures to train on: a folder of image files, tar shards, or a prepared data set.

Any picture can be read by its number, also out of a shard, so that a batch is a function of its
step and a resumed training sees what it would have seen.
"""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import progress
from mindeye2.data.prepared import open_prepared

__all__ = ["Picture", "PictureSource", "open_picture_source", "square"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""What counts as a picture, in folders and in shards; anything else (texts, JSON) is passed by."""


@dataclass(frozen=True)
class _Place:
    """Where the bytes of a picture lie."""

    file: Path
    offset: int
    size: int | None


@dataclass(frozen=True)
class Picture:
    """A square picture and what was cut away to make it."""

    pixels: UInt8[np.ndarray, "height width rgb"]
    """RGB."""

    original_size: tuple[int, int]
    """Height and width in pixels before."""

    crop: tuple[int, int]
    """Top and left in pixels, after resizing, of what was kept."""


def square(image: Image.Image, size: int) -> Picture:
    """Resize the shorter side and keep the middle.

    Parameters
    ----------
    image
        Any mode.
    size
        Side in pixels of the result.

    Returns
    -------
    Picture
        RGB.
    """
    width, height = image.size
    scale = size / min(width, height)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (wide - size) // 2, (high - size) // 2
    resized = image.convert("RGB").resize((wide, high), Image.Resampling.LANCZOS)
    kept = resized.crop((left, top, left + size, top + size))
    return Picture(
        pixels=np.asarray(kept, dtype=np.uint8), original_size=(height, width), crop=(top, left)
    )


class PictureSource:
    """Pictures by number.

    Parameters
    ----------
    places
        Where each lies.
    arrays
        Pictures in memory or memory-mapped, in place of files.
    """

    def __init__(
        self,
        places: Sequence[_Place] = (),
        *,
        arrays: UInt8[np.ndarray, "images height width rgb"] | None = None,
    ) -> None:
        self._places = places
        self._arrays = arrays

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._places) if self._arrays is None else len(self._arrays)

    def read(self, number: int, *, size: int) -> Picture:
        """Read one picture.

        Parameters
        ----------
        number
            From 0.
        size
            Side in pixels of the result.

        Returns
        -------
        Picture
            Square.

        Raises
        ------
        ArtifactError
            If the file is damaged.
        """
        if self._arrays is not None:
            return square(Image.fromarray(np.asarray(self._arrays[number])), size)
        place = self._places[number]
        with place.file.open("rb") as stream:
            stream.seek(place.offset)
            content = stream.read(-1 if place.size is None else place.size)
        try:
            with Image.open(io.BytesIO(content)) as image:
                return square(image, size)
        except (UnidentifiedImageError, OSError) as error:
            raise ArtifactError(
                f"picture {number} in {place.file} (at byte {place.offset}) cannot be read "
                f"({error}). Remove it, and begin again with another --out."
            ) from error


def open_picture_source(path: Path) -> PictureSource:
    """Open pictures to train on.

    Parameters
    ----------
    path
        A prepared data set (its training images), a folder with image files anywhere inside, or a
        tar file or folder of tar files as webdataset writes them (not compressed).

    Returns
    -------
    PictureSource
        In the order of names.

    Raises
    ------
    ArtifactError
        If there is no picture.
    """
    path = Path(path)
    if (path / "manifest.json").exists():
        prepared = open_prepared(path)
        return PictureSource(arrays=prepared.images[prepared.images_of("train")])
    shards = [path] if path.suffix == ".tar" else sorted(path.glob("*.tar"))
    if shards and all(shard.is_file() for shard in shards):
        inside = [p for s in progress(shards, label="shards") for p in _places(s)]
    else:
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        inside = [_Place(file, 0, None) for file in files]
    if not inside:
        raise ArtifactError(
            f"{path} holds no picture: neither files that end in {', '.join(SUFFIXES)}, nor .tar "
            "shards with such files, nor a prepared data set. Give one of these with --source."
        )
    return PictureSource(inside)


def _places(shard: Path) -> list[_Place]:
    try:
        with tarfile.open(shard, "r:") as archive:
            return [
                _Place(shard, member.offset_data, member.size)
                for member in archive
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES
            ]
    except tarfile.TarError as error:
        raise ArtifactError(
            f"{shard} is truncated, compressed or not a tar file ({error}). Get it again, or "
            "unpack it: shards are read in place."
        ) from error
