"""Bank of target embeddings: the output of a frozen encoder for every image, kept on disk."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mindeye2.core.artifacts import write_json
from mindeye2.core.runtime import progress

__all__ = ["ImageEncoder", "fill_bank", "to_float"]


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


def fill_bank(
    folder: Path,
    *,
    images: UInt8[np.ndarray, "images height width rgb"],
    encode: Callable[[Float[Tensor, "batch rgb height width"]], Tensor],
    name: str,
    key: str,
    batch_size: int = 32,
    device: torch.device | None = None,
) -> Path:
    """Encode every image into ``<folder>/<name>/values.npy``, float16; resume a partial bank.

    Parameters
    ----------
    folder
        The ``targets`` folder of a data set.
    images
        The data set's images.
    encode
        Maps a batch of RGB images in [0, 1] to one array per image.
    name
        The encoder's name.
    key
        The encoder's key; a bank of another key or of other images is computed anew.
    batch_size
        Images per forward pass.
    device
        Device of the encoder; the CPU by default.

    Returns
    -------
    Path
        The file of values.
    """
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    values, record = out / "values.npy", out / "encoder.json"
    facts = {"encoder": name, "key": key, "images_sha256": _hash(images)}
    before = json.loads(record.read_text()) if record.exists() and values.exists() else {}
    done = before.get("done", 0) if {k: before.get(k) for k in facts} == facts else 0
    bank = np.lib.format.open_memmap(values, mode="r+") if done else None
    starts = range(done, len(images), batch_size)
    for count, start in enumerate(progress(starts, label=f"targets: {name}")):
        stop = min(start + batch_size, len(images))
        with torch.inference_mode():
            batch = encode(to_float(images[start:stop]).to(device or "cpu"))
        encoded = batch.to("cpu", torch.float16).numpy()
        if bank is None:
            shape = (len(images), *encoded.shape[1:])
            bank = np.lib.format.open_memmap(values, mode="w+", dtype=np.float16, shape=shape)
        bank[start:stop] = encoded
        if count % 20 == 19 or stop == len(images):
            bank.flush()
            write_json(record, {**facts, "done": stop})
    return values


def _hash(images: UInt8[np.ndarray, "images height width rgb"]) -> str:
    digest = hashlib.sha256(str(images.shape).encode())
    for start in range(0, len(images), 256):
        digest.update(np.ascontiguousarray(images[start : start + 256]).data)
    return digest.hexdigest()
