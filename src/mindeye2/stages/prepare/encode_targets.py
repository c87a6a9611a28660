"""Targets: the outputs of frozen encoders for every image of a data set."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from mindeye2.core.artifacts import hash_file
from mindeye2.encoders import registry
from mindeye2.encoders.bank import Bank
from mindeye2.generation.decoders import load_autoencoder, shipped_decoder
from mindeye2.training.distributed import current_shard, run_on_rank0, wait_for_all

__all__ = ["ENCODERS", "Target", "fill_targets"]


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
