"""Bank of target embeddings: the output of a frozen encoder for every image, kept on disk."""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mindeye2.core.artifacts import write_json
from mindeye2.core.partial_arrays import PartialArrays
from mindeye2.core.runtime import each_on_one_thread, progress

__all__ = ["Bank", "ImageEncoder", "to_float"]


@runtime_checkable
class ImageEncoder(Protocol):
    """Interface of image encoders."""

    name: str
    """Short name, e.g. ``"lite0"``; names the folder in ``targets/``."""

    key: str
    """Identifies weights and preprocessing; encoders with different keys give different tokens."""

    def __call__(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode RGB images in [0, 1] to image tokens."""
        ...


def to_float(
    images: UInt8[np.ndarray, "batch height width rgb"],
) -> Float[Tensor, "batch rgb height width"]:
    """Convert 8-bit RGB images to floats in [0, 1], channels first."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255


class Bank:
    """Outputs of one encoder for every image, float16, in ``<folder>/<name>/values.npy``.

    One process calls `begin`, then all call `fill`, then, when all have finished, one calls
    `seal`. A bank that is sealed is not computed again, a partial one is continued.

    Parameters
    ----------
    folder
        The ``targets`` folder of a data set.
    images
        The data set's images.
    name
        The encoder's name.
    key
        The encoder's key; a bank of another key or of other images is computed anew.
    batch_size
        Images per forward pass.
    """

    def __init__(
        self,
        folder: Path,
        *,
        images: UInt8[np.ndarray, "images height width rgb"],
        name: str,
        key: str,
        batch_size: int = 32,
    ) -> None:
        self._folder = folder / name
        self._images = images
        self._name = name
        self._key = key
        self._batch_size = batch_size
        self._record = self._folder / "encoder.json"
        self._arrays = PartialArrays(self._folder, n_rows=len(images), batch_size=batch_size)

    @cached_property
    def _facts(self) -> dict[str, object]:
        facts = {"encoder": self._name, "key": self._key, "images_sha256": _hash(self._images)}
        return {**facts, "done": len(self._images)}

    def begin(self) -> None:
        """Forget a bank of another encoder or of other images."""
        self._folder.mkdir(parents=True, exist_ok=True)
        record = json.loads(self._record.read_text()) if self._record.exists() else {}
        if record == self._facts and (self._folder / "values.npy").exists():
            return
        self._record.unlink(missing_ok=True)
        self._arrays.begin({**self._facts, "batch_size": self._batch_size})

    def fill(
        self,
        encode: Callable[[Float[Tensor, "batch rgb height width"]], Tensor],
        *,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Encode the images of this process that are missing.

        `encode` maps a batch of RGB images in [0, 1] on `device` to one array per image; on a CPU
        it is called from several threads.
        """
        if self._record.exists():
            return

        def write(rows: slice) -> None:
            with torch.inference_mode():
                encoded = encode(to_float(self._images[rows]).to(device))
            self._arrays.write(rows, {"values": encoded.to("cpu", torch.float16).numpy()})

        missing = self._arrays.missing(rank=rank, world_size=world_size)
        written = each_on_one_thread(write, missing, device=device)
        for _ in progress(written, label=f"targets: {self._name}", total=len(missing)):
            pass

    def seal(self) -> None:
        """Record that every image is encoded."""
        write_json(self._record, self._facts)
        self._arrays.remove_state()


def _hash(images: UInt8[np.ndarray, "images height width rgb"]) -> str:
    digest = hashlib.sha256(str(images.shape).encode())
    for start in range(0, len(images), 256):
        digest.update(np.ascontiguousarray(images[start : start + 256]).data)
    return digest.hexdigest()
