"""Targets: the outputs of frozen encoders for every image of a data set."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from mindeye2.core.artifacts import hash_file, write_json
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import progress
from mindeye2.data.prepared.writer import write_rows
from mindeye2.data.source_dataset import Embedding
from mindeye2.encoders import registry
from mindeye2.encoders.bank import Bank
from mindeye2.generation.decoders import load_autoencoder, shipped_decoder
from mindeye2.training.distributed import current_shard, run_on_rank0, wait_for_all

__all__ = ["ENCODERS", "Target", "fill_targets", "write_embedding"]


_BLOCK = 1024
"""Embeddings in memory at a time."""


class Target(NamedTuple):
    """A frozen encoder on its device."""

    key: str
    """Hash that changes whenever the output would."""

    encode: Callable[[Tensor], Any]
    """Encode images in [0, 1], (batch, rgb, height, width), to one array per image."""


def _lowlevel(device: torch.device) -> Target:
    """Load the shipped autoencoder, whose latents the laptop-size low-level head predicts."""
    autoencoder = load_autoencoder(shipped_decoder()).to(device)

    def encode(images: Float[Tensor, "batch rgb height width"]) -> Tensor:
        side = (autoencoder.size, autoencoder.size)
        return autoencoder.encode(F.interpolate(images, side, mode="area"))

    return Target(hash_file(shipped_decoder() / "autoencoder.safetensors"), encode)


ENCODERS = ("lowlevel", *registry.ENCODERS)
"""Encoders by the name of their folder in ``targets/``: latents of the shipped autoencoder,
and all of `mindeye2.encoders.registry`."""


def load_target(name: str, *, weights: Path | None, device: torch.device) -> Target:
    """Load one of `ENCODERS`, from a folder that ``mindeye2 import`` filled where it needs one."""
    if name == "lowlevel":
        return _lowlevel(device)
    encoder = registry.load_encoder(name, weights=weights)
    if isinstance(encoder, nn.Module):
        encoder.to(device)
    return Target(encoder.key, encoder)


def fill_targets(
    folder: Path,
    images: UInt8[ndarray, "images height width rgb"],
    *,
    encoders: Sequence[str],
    weights: Mapping[str, Path],
    device: torch.device,
) -> None:
    """Encode all images with each encoder into the ``targets`` folder, unless already done.

    `weights` maps encoder names to folders that ``mindeye2 import`` filled. Every process encodes
    its own batches.
    """
    shard = current_shard()
    for name in encoders:
        target = load_target(name, weights=weights.get(name), device=device)
        bank = Bank(folder, images=images, name=name, key=target.key)
        run_on_rank0(bank.begin)
        bank.fill(target.encode, device=device, rank=shard.rank, world_size=shard.world_size)
        wait_for_all()
        run_on_rank0(bank.seal)


def write_embedding(folder: Path, embedding: Embedding, *, name: str) -> None:
    """Write a published embedding of every image as the targets `name`, unless already done.

    Each is scaled to the length of the square root of its number of features, so that features
    have a mean square of 1 like those of encoders; cosines stay as they are.
    """
    values, target = embedding.values, folder / name
    facts = {"encoder": name, "key": embedding.key, "done": len(values)}
    record = target / "encoder.json"
    if record.exists() and json.loads(record.read_text()) == facts:
        return
    target.mkdir(parents=True, exist_ok=True)

    def blocks() -> Iterator[tuple[slice, ndarray]]:
        for start in progress(range(0, len(values), _BLOCK), label=f"targets: {name}"):
            block = np.asarray(values[start : start + _BLOCK], np.float32)
            norms = np.linalg.norm(block, axis=-1, keepdims=True)
            if not (np.isfinite(norms) & (norms > 0)).all():
                raise ArtifactError(
                    f"the published embedding {name!r} ({embedding.key}) has rows of zeros, NaN "
                    "or infinite values. Download its file again, or leave it out."
                )
            yield slice(start, start + _BLOCK), block / norms * np.sqrt(block.shape[-1])

    write_rows(target / "values.npy", blocks(), shape=tuple(values.shape), dtype=np.float16)
    write_json(record, facts)
