"""Targets: what frozen encoders give for every picture of a data set, by the encoder's name."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from mindeye2.core.artifacts import hash_file
from mindeye2.encoders.bank import fill_bank
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.generation.decoders import load_autoencoder, shipped_decoder

__all__ = ["ENCODERS", "Target", "fill_targets"]


class Target(NamedTuple):
    """A frozen encoder that is ready to be used."""

    key: str
    """Changes whenever its output would."""

    encode: Callable[[Tensor], Any]
    """Turns pictures in [0, 1], (batch, rgb, height, width), into one array a picture."""


def _lite0(device: torch.device) -> Target:
    encoder = Lite0Tokens().to(device)
    return Target(encoder.key, encoder)


def _lowlevel(device: torch.device) -> Target:
    """Load what the demo's low-level head predicts: the shipped autoencoder's latents."""
    autoencoder = load_autoencoder(shipped_decoder()).to(device)

    def encode(pictures: Float[Tensor, "batch rgb height width"]) -> Tensor:
        side = (autoencoder.size, autoencoder.size)
        return autoencoder.encode(F.interpolate(pictures, side, mode="area"))

    return Target(hash_file(shipped_decoder() / "autoencoder.safetensors"), encode)


ENCODERS: dict[str, Callable[[torch.device], Target]] = {
    "lite0": _lite0,
    "lowlevel": _lowlevel,
}
"""Encoders by the name of their folder in ``targets/``."""


def fill_targets(
    folder: Path,
    images: UInt8[ndarray, "images height width rgb"],
    *,
    encoders: Sequence[str],
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
        Keys of `ENCODERS`.
    device
        Where to compute.
    """
    for name in encoders:
        target = ENCODERS[name](device)
        fill_bank(
            folder, images=images, encode=target.encode, name=name, key=target.key, device=device
        )
