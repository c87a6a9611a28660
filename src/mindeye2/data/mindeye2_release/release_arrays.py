"""Betas and stimuli in MindEye2's HDF5 files, read in parts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from mindeye2.core.errors import ArtifactError, require

__all__ = ["PublishedBetas", "PublishedImages", "check_array"]


def check_array(path: Path, name: str, *, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Check the shape of an HDF5 array of floats, and return it; None is any size."""
    h5py = require("h5py", extra="data", purpose="Reading MindEye2's HDF5 files")
    try:
        with h5py.File(path, "r") as file:
            found, kind = tuple(file[name].shape), file[name].dtype
    except (OSError, KeyError) as error:
        raise ArtifactError(
            f"{path} ({path.stat().st_size} bytes) is damaged or was not downloaded to its end: "
            f"{error!r}. Remove it and download it again."
        ) from error
    fits = len(found) == len(shape) and all(
        want in (size, None) for size, want in zip(found, shape, strict=True)
    )
    if not fits or kind.kind != "f":
        raise ArtifactError(
            f"{name!r} of {path} has the shape {found} and type {kind}; it must be "
            f"({', '.join('any' if n is None else str(n) for n in shape)}) of floating-point "
            "numbers. Take the file as published."
        )
    return found


@dataclass(frozen=True, kw_only=True)
class PublishedBetas:
    """Betas of a subject, trial by trial."""

    path: Path
    """``betas_all_subj0X_fp32_renorm.hdf5``."""

    rows: Int64[np.ndarray, " trials"]
    """Rows of the file, ascending."""

    n_voxels: int
    """Columns of the file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels)."""
        return (len(self.rows), self.n_voxels)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.rows)

    def __getitem__(
        self, rows: slice | Int64[np.ndarray, " batch"]
    ) -> Float32[np.ndarray, "batch voxels"]:
        """Read some trials."""
        wanted = self.rows[rows]
        if not len(wanted):
            return np.empty((0, self.n_voxels), np.float32)
        # HDF5 is slow at picking single rows.
        first = int(wanted[0])
        block = _read(self.path, "betas", slice(first, int(wanted[-1]) + 1))
        betas: Float32[np.ndarray, "batch voxels"] = block[wanted - first].astype(np.float32)
        return betas


@dataclass(frozen=True, kw_only=True)
class PublishedImages:
    """Stimuli, as 8-bit RGB."""

    path: Path
    """``coco_images_224_float16.hdf5``."""

    ids: Int64[np.ndarray, " images"]
    """Rows of the file, ascending."""

    size: int
    """Side in pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, height, width, 3)."""
        return (len(self.ids), self.size, self.size, 3)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __getitem__(
        self, rows: slice | Int64[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width rgb"]:
        """Read some images."""
        wanted = self.ids[rows]
        result = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for n, number in enumerate(wanted.tolist()):
            image = _read(self.path, "images", number).astype(np.float32)
            if not (image.min() >= 0 and image.max() <= 1):
                raise ArtifactError(
                    f"image {number} of {self.path} has values from {image.min()} to "
                    f"{image.max()}; published values lie in [0, 1]. Download the file again."
                )
            result[n] = np.rint(image * 255).transpose(1, 2, 0)
        return result


def _read(path: Path, name: str, rows: int | slice) -> Any:  # noqa: ANN401 - an array
    h5py = require("h5py", extra="data", purpose="Reading MindEye2's HDF5 files")
    try:
        with h5py.File(path, "r") as file:
            return file[name][rows]
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error!r}): it is damaged, or was not downloaded to its end. "
            "Remove it and download it again."
        ) from error
