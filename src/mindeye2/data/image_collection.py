"""Images to train an image decoder on: a folder of files, tar shards, or a prepared data set.

Any image is read by its number, also from a shard, so that a batch is a function of its step and
a resumed training continues with the same images.
"""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import progress
from mindeye2.data.image_reading import IMAGE_SUFFIXES, read_image, resize_to_square
from mindeye2.data.prepared import open_prepared

__all__ = ["CroppedImage", "ImageCollection", "open_image_collection"]


@dataclass(frozen=True)
class _Location:
    """The bytes of one image in a file; `size` is None for the whole file."""

    file: Path
    offset: int = 0
    size: int | None = None


@dataclass(frozen=True)
class CroppedImage:
    """A square image, with the sizes that SDXL is conditioned on."""

    pixels: UInt8[np.ndarray, "height width rgb"]
    """RGB."""

    original_size: tuple[int, int]
    """Height and width in pixels before resizing."""

    crop: tuple[int, int]
    """Top and left in pixels, after resizing, of the square."""


def _crop(image: Image.Image, size: int) -> CroppedImage:
    width, height = image.size
    scale = size / min(width, height)
    top, left = ((max(size, round(n * scale)) - size) // 2 for n in (height, width))
    return CroppedImage(
        pixels=resize_to_square(image, size), original_size=(height, width), crop=(top, left)
    )


class ImageCollection:
    """Images by number, from files or from an array.

    Parameters
    ----------
    locations
        Location of each image.
    arrays
        Images in memory or memory-mapped, instead of files.
    """

    def __init__(
        self,
        locations: Sequence[_Location] = (),
        *,
        arrays: UInt8[np.ndarray, "images height width rgb"] | None = None,
    ) -> None:
        self._locations = locations
        self._arrays = arrays

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._locations) if self._arrays is None else len(self._arrays)

    def read(self, number: int, *, size: int) -> CroppedImage:
        """Read image `number`, from 0, as a square of `size` pixels."""
        if self._arrays is not None:
            return _crop(Image.fromarray(np.asarray(self._arrays[number])), size)
        location = self._locations[number]
        with location.file.open("rb") as stream:
            stream.seek(location.offset)
            content = stream.read(-1 if location.size is None else location.size)
        name = f"image {number} in {location.file} (at byte {location.offset})"
        return _crop(read_image(io.BytesIO(content), name=name), size)


def open_image_collection(path: Path) -> ImageCollection:
    """Open the images of a path, in the order of their names.

    The path is a prepared data set (its training images), a folder with image files at any depth,
    or a tar file or folder of tar files as webdataset writes them (not compressed). Raises
    ``ArtifactError`` if there is no image.
    """
    path = Path(path)
    if (path / "manifest.json").exists():
        prepared = open_prepared(path)
        return ImageCollection(arrays=prepared.images[prepared.images_of("train")])
    shards = [path] if path.suffix == ".tar" else sorted(path.glob("*.tar"))
    if shards and all(shard.is_file() for shard in shards):
        locations = [loc for s in progress(shards, label="shards") for loc in _index_shard(s)]
    else:
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        locations = [_Location(file) for file in files]
    if not locations:
        raise ArtifactError(
            f"{path} holds no image: neither files that end in {', '.join(IMAGE_SUFFIXES)}, nor "
            ".tar shards with such files, nor a prepared data set. Give one of these with "
            "--source."
        )
    return ImageCollection(locations)


def _index_shard(shard: Path) -> list[_Location]:
    try:
        with tarfile.open(shard, "r:") as archive:
            return [
                _Location(shard, member.offset_data, member.size)
                for member in archive
                if member.isfile() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES
            ]
    except tarfile.TarError as error:
        raise ArtifactError(
            f"{shard} is truncated, compressed or not a tar file ({error}). Get it again, or "
            "unpack it: shards are not decompressed."
        ) from error
