"""NIfTI files with one volume per trial, read one volume at a time: a session is gigabytes."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from mindeye2.core.errors import ArtifactError, require

__all__ = ["open_series", "read_series", "reporting_damage"]


def damaged_download(path: Path, error: Exception) -> ArtifactError:
    """Return the error for a file that cannot be read to its end."""
    size = path.stat().st_size if path.exists() else 0
    return ArtifactError(
        f"{path} ({size} bytes) is damaged or was not downloaded to its end: {error!r}. "
        "Remove it and download it again."
    )


@contextmanager
def reporting_damage(path: Path) -> Iterator[None]:
    """Turn what libraries raise for a damaged file into an error that names it."""
    try:
        yield
    except (OSError, EOFError, KeyError, zlib.error, ValueError) as error:
        raise damaged_download(path, error) from error


def open_series(path: Path) -> Any:  # noqa: ANN401 - nibabel's image
    """Open a NIfTI file of four axes; ``ValueError`` if it has others."""
    nibabel = require("nibabel", extra="data", purpose="Reading NIfTI files")
    try:
        image = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise ValueError(str(error)) from error
    if len(image.shape) != 4:
        raise ValueError(f"it has {len(image.shape)} axes")
    return image


def read_series(
    path: Path, ijk: Int64[np.ndarray, "voxels 3"], *, volumes: Int64[np.ndarray, " _"]
) -> NDArray[Any]:
    """Read some voxels (i, j, k) of some volumes, ascending, as stored: without scaling.

    Decompresses one volume at a time and stops after the last one that is wanted. Raises
    ``EOFError`` where the file ends before.
    """
    image = open_series(path)
    kind, shape = image.get_data_dtype(), image.shape[:3]
    offsets = np.ravel_multi_index(tuple(ijk.T), shape, order="F")
    n_bytes = int(np.prod(shape)) * kind.itemsize
    result = np.empty((len(volumes), len(ijk)), kind)
    row_of = {int(volume): row for row, volume in enumerate(volumes)}
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        file.seek(image.dataobj.offset)
        for volume in range(int(volumes[-1]) + 1 if len(volumes) else 0):
            stored = file.read(n_bytes)
            if len(stored) < n_bytes:
                raise EOFError(f"it ends in volume {volume} of {image.shape[3]}")
            if volume in row_of:
                result[row_of[volume]] = np.frombuffer(stored, kind)[offsets]
    return result
