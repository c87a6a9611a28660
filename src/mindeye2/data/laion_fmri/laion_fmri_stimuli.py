"""Images of LAION-fMRI, their captions, and their published embeddings."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float16, Int, Int64, UInt8

from mindeye2.core.artifacts import hash_file
from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.image_reading import read_image, resize_to_square
from mindeye2.data.laion_fmri.laion_fmri_facts import EMBEDDINGS
from mindeye2.data.nifti_series import reporting_damage
from mindeye2.data.source_dataset import Embedding

__all__ = ["LaionImages", "open_embedding", "open_images", "read_laion_captions", "read_names"]


def read_names(path: Path) -> list[str]:
    """Read the names of all images, in the order of the file of images."""
    table = _read_csv(path, columns=("image_name",))
    return table["image_name"].astype(str).tolist()


def read_laion_captions(path: Path, names: list[str]) -> list[str]:
    """Read the best human caption of each image; an empty one where there is none."""
    table = _read_csv(path, columns=("image_name", "caption_idx", "source", "caption"))
    human = table[table["source"] == "human"].sort_values("caption_idx", kind="stable")
    best = human.drop_duplicates("image_name").set_index("image_name")["caption"]
    return [" ".join(str(text).split()) for text in best.reindex(names).fillna("")]


def _read_csv(path: Path, *, columns: tuple[str, ...]) -> pd.DataFrame:
    with reporting_damage(path):
        table = pd.read_csv(path)
    lacking = [c for c in columns if c not in table]
    if lacking:
        raise ArtifactError(
            f"{path} has no column {lacking}; it has {list(table.columns)[:12]}. Take the file as "
            "distributed."
        )
    return table


@dataclass(frozen=True, kw_only=True)
class LaionImages:
    """Images of the trials, stored as JPEG or PNG files in one HDF5 file."""

    path: Path
    """``task-images_stimuli.h5``."""

    rows: Int64[np.ndarray, " images"]
    """Row of each image in the file, from 0."""

    size: int
    """Side in pixels; reduced with Pillow's antialiased bicubic filter."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, height, width, 3)."""
        return (len(self.rows), self.size, self.size, 3)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width rgb"]:
        """Read and downsample some images."""
        h5py = require("h5py", extra="data", purpose="Reading HDF5 images")
        wanted = self.rows[rows]
        result = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        with h5py.File(self.path, "r") as file:
            for n, row in enumerate(wanted.tolist()):
                content = BytesIO(np.asarray(file["images"][row], np.uint8).tobytes())
                image = read_image(content, name=f"image {row} in {self.path}")
                result[n] = resize_to_square(image, self.size)
        return result


def open_images(path: Path, *, rows: Int64[np.ndarray, " _"], n: int, size: int) -> LaionImages:
    """Open the file of images, which must have the `n` rows of the table of images."""
    h5py = require("h5py", extra="data", purpose="Reading HDF5 images")
    with reporting_damage(path), h5py.File(path, "r") as file:
        found = len(file["images"])
    if found != n:
        raise ArtifactError(
            f"{path} has {found} images, but task-images_metadata.csv beside it lists {n}: row by "
            "row they are the same images. Download both again."
        )
    return LaionImages(path=path, rows=rows, size=size)


@dataclass(frozen=True, kw_only=True)
class _EmbeddingRows:
    """Embeddings of the trials' images, (images, 1, features)."""

    path: Path
    rows: Int64[np.ndarray, " images"]
    n_features: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), 1, self.n_features)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " batch"]
    ) -> Float16[np.ndarray, "batch tokens features"]:
        h5py = require("h5py", extra="data", purpose="Reading HDF5 embeddings")
        wanted = self.rows[rows]
        # HDF5 reads rows in ascending order only.
        order = np.argsort(wanted)
        values = np.empty((len(wanted), 1, self.n_features), np.float16)
        with h5py.File(self.path, "r") as file:
            values[order, 0] = file["embedding"][wanted[order]]
        return values


def open_embedding(path: Path, *, name: str, images: list[str]) -> Embedding:
    """Open a published embedding of some images; refuse a file that lacks one of them."""
    h5py = require("h5py", extra="data", purpose="Reading HDF5 embeddings")
    with reporting_damage(path), h5py.File(path, "r") as file:
        shape = tuple(file["embedding"].shape)
        names = [n.decode() if isinstance(n, bytes) else str(n) for n in file["image_ids"][:]]
        valid = file["valid"][:].astype(bool)
    if len(shape) != 2 or shape[1] != EMBEDDINGS[name] or len(names) != shape[0]:
        raise ArtifactError(
            f"{path} has embeddings of the shape {shape} and {len(names)} names; those of {name} "
            f"are (images, {EMBEDDINGS[name]}). Take the file as distributed."
        )
    row_of = {n: row for row, n in enumerate(names) if valid[row]}
    lacking = [image for image in images if image not in row_of]
    if lacking:
        raise ArtifactError(
            f"{path} has no valid embedding of {len(lacking)} images that trials show, the first "
            f"is {lacking[0]!r}. Download it again, or leave {name} out of laion_fmri.embeddings."
        )
    rows = np.array([row_of[image] for image in images], np.int64)
    return Embedding(
        values=_EmbeddingRows(path=path, rows=rows, n_features=shape[1]),
        key=f"LAION-fMRI {name} {hash_file(path)[:16]}",
    )
