"""DINOv2-giant's features, a space for retrieval that no decoder of this package is trained on.

The space of neuroai's retrieval benchmark (NeuralBench, track 1 of the Biosignal challenge 2026):
``facebook/dinov2-giant``, the hidden state at two thirds of the depth, averaged over all tokens.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.errors import ArtifactError, require
from mindeye2.encoders.evaluation_weights import HubModel

__all__ = ["Dinov2Features", "load_dinov2"]

GIANT = HubModel("facebook/dinov2-giant", 4546, "Apache-2.0")

DEPTH = 2 / 3
"""Relative depth of the hidden state; 0 are the embeddings."""

_RESIZED, _SIDE = 256, 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dinov2Features(nn.Module):
    """Mean token of a hidden layer of DINOv2, an `ImageEncoder` with one token.

    Parameters
    ----------
    network
        ``transformers.Dinov2Model``; its blocks behind the layer are dropped.
    weights_key
        Identifies the weights.

    Attributes
    ----------
    name
        ``"dinov2-giant"``.
    key
        Layer and weights.
    """

    name = "dinov2-giant"
    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, *, weights_key: str) -> None:  # noqa: ANN401 - no useful type
        super().__init__()
        blocks = network.encoder.layer
        layer = int(DEPTH * len(blocks))
        network.encoder.layer = blocks[:layer]
        # Hidden states are those before the final norm.
        network.layernorm = nn.Identity()
        self.network = network.eval().requires_grad_(requires_grad=False)
        self.key = f"dinov2-{_SIDE}-layer{layer}-{weights_key}"
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode RGB images in [0, 1]: resized to 256 pixels, centre 224, normalised."""
        rows, columns = images.shape[-2:]
        shorter = min(rows, columns)
        shape = [_RESIZED * rows // shorter, _RESIZED * columns // shorter]
        if (rows, columns) != tuple(shape):
            images = F.interpolate(images, shape, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = ((side - _SIDE) // 2 for side in shape)
        images = images[..., top : top + _SIDE, left : left + _SIDE]
        hidden: Tensor = self.network((images - self.mean) / self.std).last_hidden_state
        return hidden.float().mean(dim=1, keepdim=True)


def load_dinov2(weights: Path | None = None) -> Dinov2Features:
    """Load DINOv2-giant.

    Parameters
    ----------
    weights
        Folder of ``config.json`` and ``model.safetensors`` from the hub. By default the hub's
        cache is read, and filled by a download of 4.5 GB after its address, size and licence were
        written to stderr.

    Returns
    -------
    Dinov2Features
        In evaluation mode, frozen, on the CPU.

    Raises
    ------
    MissingExtraError
        If transformers is not installed.
    ArtifactError
        If the folder does not hold the network.
    """
    transformers: Any = require("transformers", extra="evaluation", purpose="DINOv2")
    name = str(weights) if weights is not None else GIANT.find(None) or GIANT.fetch()
    try:
        network = transformers.Dinov2Model.from_pretrained(name)
    except OSError as error:
        raise ArtifactError(
            f"DINOv2 cannot be read from {name} ({str(error).splitlines()[0]}). Give the folder "
            f"of {GIANT.terms} with --set encoder_weights.dinov2-giant=FOLDER."
        ) from error
    return Dinov2Features(network, weights_key=Path(name).name).eval()
