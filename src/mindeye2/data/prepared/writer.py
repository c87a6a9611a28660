"""Writing of a prepared data set: arrays, stimuli, tables and the manifest."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from mindeye2.core.artifacts import write_json, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import progress
from mindeye2.data.prepared.zscore import Scaler
from mindeye2.data.source_dataset import Rows

__all__ = [
    "digest_images",
    "digest_table",
    "seal_prepared",
    "write_images",
    "write_rows",
    "write_subject_tables",
]

_IMAGES_PER_BLOCK = 256


def write_rows(
    path: Path,
    blocks: Iterable[tuple[Sequence[int] | slice | NDArray[np.int64], NDArray[Any]]],
    *,
    shape: tuple[int, ...],
    dtype: DTypeLike,
) -> Path:
    """Write a ``.npy`` array block by block through a memory map, and rename it when complete.

    `blocks` are row numbers and their values, cast to `dtype`; together all rows. Returns `path`.
    """
    partial = path.with_name(f".{path.name}")
    np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
    for rows, values in blocks:
        # Opened for each block: pages written through one map would all count as this process's.
        array = np.lib.format.open_memmap(partial, mode="r+")
        array[rows] = values
        array.flush()
    return partial.replace(path)


def digest_table(table: pd.DataFrame) -> str:
    """Return the SHA-256 of a table's rows as CSV, without its index."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def digest_images(trials: pd.DataFrame) -> str:
    """Return the SHA-256 of the source's name of each image that trials show."""
    return digest_table(trials.reindex(columns=["image", "source_image"]).drop_duplicates())


def write_images(path: Path, images: Rows, *, trials: pd.DataFrame) -> NDArray[np.uint8]:
    """Write the stimuli to `path`, unless the same ones exist, and return them memory-mapped.

    Images are the same if shape and the ``source_image`` ids of `trials` are. Raises
    ``ArtifactError`` if the images are not (images, height, width, 3) uint8.
    """
    shape, record = tuple(images.shape), path.parent / "state" / "images.json"
    first = images[0:1]
    if len(shape) != 4 or shape[3] != 3 or first.dtype != np.uint8:
        raise ArtifactError(
            f"the source gives images of shape {shape} and type {first.dtype}; they must be "
            "(images, height, width, 3) and uint8: RGB from 0 to 255."
        )
    key = {"shape": list(shape), "images": digest_images(trials)}
    if not path.exists() or not record.exists() or json.loads(record.read_text()) != key:
        starts = range(0, len(images), _IMAGES_PER_BLOCK)
        blocks = (
            (slice(s, s + _IMAGES_PER_BLOCK), images[s : s + _IMAGES_PER_BLOCK])
            for s in progress(starts, label="images")
        )
        write_rows(path, blocks, shape=shape, dtype=np.uint8)
        record.parent.mkdir(exist_ok=True)
        write_json(record, key)
    written: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return written


def write_subject_tables(
    folder: Path, subject: str, *, voxels: pd.DataFrame, scaler: Scaler
) -> None:
    """Write a subject's voxel table and the scaler of its betas."""
    for name in ("scaler", "voxels"):
        (folder / name).mkdir(exist_ok=True)
    voxels.to_parquet(folder / "voxels" / f"{subject}.parquet", index=False)
    np.savez(
        folder / "scaler" / f"{subject}.npz",
        sessions=scaler.sessions,
        mean=scaler.mean,
        std=scaler.std,
        fitted_on=scaler.fitted_on,
    )


def seal_prepared(
    folder: Path,
    *,
    trials: pd.DataFrame,
    captions: Sequence[str] | None,
    categories: Sequence[str] | None = None,
    kinds: Mapping[str, Sequence[str]] | None = None,
    subjects: Mapping[str, int],
    config: Mapping[str, Any],
    **facts: Any,  # noqa: ANN401 - plain values of the manifest
) -> Path:
    """Write trial table, captions and manifest of a data set whose other files are complete.

    Parameters
    ----------
    folder
        The data set.
    trials
        Every trial; those of a subject in the order of its betas.
    captions
        One per image, or None.
    categories
        One per captioned image, e.g. ``"animal"``, or None.
    kinds
        What else is known of each captioned image, by column: ``setting`` (kind of the background,
        e.g. ``"mountain"``), ``number`` of objects, ``light``.
    subjects
        Voxel count of each subject.
    config
        Settings of the preparation.
    **facts
        Further entries of the manifest.

    Returns
    -------
    Path
        The manifest.
    """
    trials.to_parquet(folder / "trials.parquet", index=False)
    if captions is not None:
        table = pd.DataFrame({"image": np.arange(len(captions)), "caption": list(captions)})
        if categories is not None:
            table["category"] = list(categories)
        for part, values in (kinds or {}).items():
            table[part] = list(values)
        table.to_parquet(folder / "captions.parquet", index=False)
    return write_manifest(folder, stage="prepare", config=config, subjects=dict(subjects), **facts)
