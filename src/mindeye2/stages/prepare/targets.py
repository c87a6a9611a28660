"""Targets: what frozen encoders give for every picture of a data set, by the encoder's name."""

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
from mindeye2.encoders.bank import fill_bank
from mindeye2.generation.decoders import load_autoencoder, shipped_decoder

__all__ = ["ENCODERS", "Target", "fill_targets", "load_target"]


class Target(NamedTuple):
    """A frozen encoder that is ready to be used."""

    key: str
    """Changes whenever its output would."""

    encode: Callable[[Tensor], Any]
    """Turns pictures in [0, 1], (batch, rgb, height, width), into one array a picture."""


def _lowlevel(device: torch.device) -> Target:
    """Load what the demo's low-level head predicts: the shipped autoencoder's latents."""
    autoencoder = load_autoencoder(shipped_decoder()).to(device)

    def encode(pictures: Float[Tensor, "batch rgb height width"]) -> Tensor:
        side = (autoencoder.size, autoencoder.size)
        return autoencoder.encode(F.interpolate(pictures, side, mode="area"))

    return Target(hash_file(shipped_decoder() / "autoencoder.safetensors"), encode)


ENCODERS = ("lowlevel", *registry.ENCODERS)
"""Encoders by the name of their folder in ``targets/``: what the demo's low-level head predicts,
and all of `mindeye2.encoders.registry`."""


def load_target(name: str, *, weights: Path | None, device: torch.device) -> Target:
    """Load a frozen encoder.

    Parameters
    ----------
    name
        One of `ENCODERS`.
    weights
        Folder that ``mindeye2 import`` filled, where the encoder needs one.
    device
        Where to compute.

    Returns
    -------
    Target
        Ready to be used.

    Raises
    ------
    ArtifactError
        If it needs weights and got none.
    """
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
    """Encode all pictures with each encoder, once.

    Parameters
    ----------
    folder
        The ``targets`` folder of a data set.
    images
        The data set's pictures.
    encoders
        Some of `ENCODERS`.
    weights
        Folders of imported weights by encoder.
    device
        Where to compute.
    """
    for name in encoders:
        target = load_target(name, weights=weights.get(name), device=device)
        fill_bank(
            folder, images=images, encode=target.encode, name=name, key=target.key, device=device
        )
