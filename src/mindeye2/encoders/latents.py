"""Latents of Stable Diffusion's autoencoder, what the published low-level head predicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.errors import require
from mindeye2.encoders.torchvision import load_torchvision
from mindeye2.encoders.weights import WeightsFile

__all__ = ["SdLatents", "build_sd_vae", "infer_sd_vae", "load_sd_latents"]

_SCALE = 0.18215
"""Stable Diffusion's latents times this have about unit variance."""

_SIDE = 224


class SdLatents(nn.Module):
    """Most likely latents of pictures of 224 pixels, an `ImageEncoder` of maps.

    Parameters
    ----------
    vae
        diffusers' ``AutoencoderKL``, e.g. of `mindeye2.released.load_lowlevel_vae`.
    weights_key
        What tells these weights from others.

    Attributes
    ----------
    name
        ``"sd-latents"``.
    key
        Weights and preprocessing.
    """

    name = "sd-latents"

    def __init__(self, vae: nn.Module, *, weights_key: str = "published") -> None:
        super().__init__()
        self.vae: Any = vae
        self.key = f"sd-vae-{_SIDE}-{weights_key}"

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch channels height8 width8"]:
        """Encode pictures.

        Parameters
        ----------
        images
            RGB in [0, 1]; other sizes than 224 are resized.

        Returns
        -------
        Tensor
            (4, 28, 28) as published.
        """
        if images.shape[-2:] != (_SIDE, _SIDE):
            images = F.interpolate(images, (_SIDE, _SIDE), mode="bicubic", antialias=True)
        latents: Tensor = self.vae.encode(images.clamp(0, 1) * 2 - 1).latent_dist.mode() * _SCALE
        return latents

    def decode(
        self, latents: Float[Tensor, "batch channels height8 width8"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode latents, as `forward` gives them.

        Parameters
        ----------
        latents
            True or predicted latents.

        Returns
        -------
        Tensor
            RGB in [0, 1].
        """
        pictures: Tensor = self.vae.decode(latents / _SCALE).sample / 2 + 0.5
        return pictures.clamp(0, 1)


def build_sd_vae(
    *, widths: Sequence[int], n_layers: int, latent_channels: int, groups: int = 32
) -> nn.Module:
    """Build Stable Diffusion's autoencoder from diffusers' class.

    Parameters
    ----------
    widths
        Channels of each resolution, fine to coarse; 128, 256, 512, 512 as published.
    n_layers
        Residual blocks at each resolution of the encoder; 2 as published.
    latent_channels
        Channels of the latents; 4 as published.
    groups
        Groups of the normalisations, which shapes cannot tell.

    Returns
    -------
    nn.Module
        ``diffusers.AutoencoderKL``.
    """
    load_torchvision(
        purpose="Stable Diffusion's autoencoder", extra="sdxl"
    )  # diffusers asks for it
    diffusers: Any = require("diffusers", extra="sdxl", purpose="Stable Diffusion's autoencoder")
    vae: nn.Module = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=tuple(widths),
        layers_per_block=n_layers,
        latent_channels=latent_channels,
        norm_num_groups=groups,
        sample_size=256,
        scaling_factor=_SCALE,
    )
    return vae


def infer_sd_vae(shapes: dict[str, Tensor]) -> dict[str, Any]:
    """Read an autoencoder's sizes from the shapes of its weights, under diffusers' names.

    Parameters
    ----------
    shapes
        Its state dict.

    Returns
    -------
    dict
        Arguments of `build_sd_vae`.

    Raises
    ------
    ValueError
        If the entries that give the sizes are missing.
    """
    try:
        first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
        n_levels = len(
            [
                n
                for n in shapes
                if n.startswith("encoder.down_blocks.") and n.endswith("resnets.0.conv1.weight")
            ]
        )
        return {
            "widths": tuple(shapes[first.format(i)].shape[0] for i in range(n_levels)),
            "n_layers": len(
                [
                    n
                    for n in shapes
                    if n.startswith("encoder.down_blocks.0.resnets.")
                    and n.endswith("conv1.weight")
                ]
            ),
            "latent_channels": shapes["post_quant_conv.weight"].shape[0],
        }
    except KeyError as error:
        raise ValueError(
            f"this is not an autoencoder of Stable Diffusion under diffusers' names: {error} is "
            "missing."
        ) from error


def load_sd_latents(weights: Path) -> SdLatents:
    """Load the published low-level autoencoder.

    Parameters
    ----------
    weights
        Folder or file that ``mindeye2 import`` wrote of ``sd_image_var_autoenc.pth``.

    Returns
    -------
    SdLatents
        In evaluation mode, frozen, on the CPU.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or holds something else.
    """
    file = WeightsFile(weights, kind="lowlevel_vae")
    with torch.device("meta"):
        vae = build_sd_vae(**infer_sd_vae(file.read()))
    file.fill(vae)
    vae.float().eval().requires_grad_(requires_grad=False)
    return SdLatents(vae, weights_key=file.key).eval()
