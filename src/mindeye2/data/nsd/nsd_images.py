"""Stimuli of the Natural Scenes Dataset, downsampled as they are read, and their COCO captions."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8
from PIL import Image

from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.image_reading import resize_to_square

__all__ = ["NsdImages", "check_stimuli", "read_captions"]


@dataclass(frozen=True, kw_only=True)
class NsdImages:
    """Stimuli of the trials: some rows of ``imgBrick``, which is 39.6 GB."""

    path: Path
    """``nsd_stimuli.hdf5``."""

    ids: Int64[np.ndarray, " images"]
    """Rows, ascending, counted from 0."""

    size: int
    """Side in pixels; reduced with a bicubic filter that averages (Pillow)."""

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
        """Read and downsample some images."""
        h5py = require("h5py", extra="data", purpose="Reading HDF5 images")
        wanted = self.ids[rows]
        result = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        with h5py.File(self.path, "r") as file:
            brick = file["imgBrick"]
            for n, number in enumerate(wanted.tolist()):
                result[n] = resize_to_square(Image.fromarray(brick[number]), self.size)
        return result


def check_stimuli(path: Path, ids: Int64[np.ndarray, " images"]) -> None:
    """Check that ``nsd_stimuli.hdf5`` holds the rows `ids`, in the layout of the release."""
    h5py = require("h5py", extra="data", purpose="Reading HDF5 images")
    try:
        with h5py.File(path, "r") as file:
            brick = file["imgBrick"]
            shape, kind = tuple(brick.shape), brick.dtype
    except (OSError, KeyError) as error:
        raise ArtifactError(
            f"{path} ({path.stat().st_size} bytes, 39.6 GB in the release) is damaged or was not "
            f"downloaded to its end: {error!r}. Download it again."
        ) from error
    if len(shape) != 4 or shape[3] != 3 or kind != np.uint8 or shape[0] <= ids.max():
        raise ArtifactError(
            f"imgBrick of {path} has the shape {shape} and type {kind}; it must be "
            f"(73000, 425, 425, 3) and uint8, and the trials show row {ids.max()}. Take the file "
            "as distributed."
        )


def read_captions(
    folder: Path, info: pd.DataFrame, ids: Int64[np.ndarray, " images"]
) -> list[str]:
    """Read COCO's first caption of each image in `ids`; an empty one where there is none."""
    wanted = info.loc[ids, ["cocoId", "cocoSplit"]]
    found: dict[tuple[str, int], str] = {}
    for split in sorted(wanted["cocoSplit"].unique()):
        path = folder / f"captions_{split}.json"
        if not path.exists():
            raise ArtifactError(
                f"{path} does not exist. COCO's captions are not part of the Natural Scenes "
                "Dataset: unpack annotations_trainval2017.zip from https://cocodataset.org "
                "(CC BY 4.0) there, or set nsd.captions to its folder."
            )
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["annotations"]
            for entry in sorted(entries, key=lambda e: e["id"]):
                found.setdefault((split, entry["image_id"]), " ".join(entry["caption"].split()))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{path} is not a file of COCO captions ({error!r}). Unpack it again."
            ) from error
    keys = zip(wanted["cocoSplit"], wanted["cocoId"], strict=True)
    return [found.get((split, int(number)), "") for split, number in keys]
