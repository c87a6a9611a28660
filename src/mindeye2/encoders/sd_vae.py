"""Stable Diffusion's VAE: sizes, construction, and its latents as an image encoder.

The low-level head of the published model predicts latents of the VAE of Stable Diffusion 1; SDXL
samples latents of a VAE of the same architecture with other weights and another scale.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.errors import require
from mindeye2.core.settings import Settings
from mindeye2.core.tensors import without_values
from mindeye2.encoders.weights import WeightsFile

__all__ = [
    "SDXL_SCALE",
    "SD_SCALE",
    "SdLatents",
    "VaeSettings",
    "build_vae",
    "infer_vae",
    "load_sd_latents",
]

SD_SCALE = 0.18215
"""Latents of Stable Diffusion 1 times this have about unit variance."""

SDXL_SCALE = 0.13025
"""Latents of SDXL times this have about unit variance; its U-Net works on those."""

_SIDE = 224
# Level and block of a residual block of the encoder, named by Stable Diffusion or by diffusers.
_RESNET = re.compile(r"encoder\.down(?:_blocks)?\.(\d+)\.(?:block|resnets)\.(\d+)\.conv1\.weight")


class VaeSettings(Settings):
    """Sizes of Stable Diffusion's VAE; the defaults are those of SDXL."""

    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Channels of each resolution, fine to coarse."""

    n_layers: int = 2
    """Residual blocks at each resolution of the encoder; the decoder has one more."""

    latent_channels: int = 4
    """Channels of the latents."""

    groups: int = 32
    """Groups of the normalisations; shapes do not give it."""

    scale: float = SDXL_SCALE
    """Factor to unit variance that diffusers stores with the network."""


def build_vae(settings: VaeSettings) -> nn.Module:
    """Build a freshly initialised ``diffusers.AutoencoderKL`` on the default device."""
    diffusers = require("diffusers", extra="sdxl", purpose="Stable Diffusion's VAE")
    levels = len(settings.widths)
    vae: nn.Module = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=settings.widths,
        layers_per_block=settings.n_layers,
        latent_channels=settings.latent_channels,
        norm_num_groups=settings.groups,
        scaling_factor=settings.scale,
    )
    return vae


def infer_vae(
    state: Mapping[str, Tensor], *, groups: int = 32, scale: float = SDXL_SCALE
) -> VaeSettings:
    """Infer the sizes of a VAE from its weights, named by Stable Diffusion or by diffusers."""
    found = {(int(m[1]), int(m[2])): n for n in state if (m := _RESNET.fullmatch(n))}
    missing = [n for n in ("post_quant_conv.weight",) if n not in state]
    missing += [] if found else ["encoder.down.0.block.0.conv1.weight"]
    if missing:
        raise ValueError(f"this is not a VAE of Stable Diffusion: {missing} are missing.")
    return VaeSettings(
        widths=tuple(state[n].shape[0] for (_, i), n in sorted(found.items()) if i == 0),
        n_layers=sum(level == 0 for level, _ in found),
        latent_channels=state["post_quant_conv.weight"].shape[0],
        groups=groups,
        scale=scale,
    )


class SdLatents(nn.Module):
    """Latents of Stable Diffusion's VAE, an `ImageEncoder` of maps.

    Parameters
    ----------
    vae
        diffusers' ``AutoencoderKL``, e.g. of `mindeye2.released.load_lowlevel_vae`.
    weights_key
        Identifies the weights.

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
        """Encode RGB images in [0, 1] to the mode of their latents, (4, 28, 28) as published.

        Other sizes than 224 x 224 are resized (bicubic, antialiased).
        """
        if images.shape[-2:] != (_SIDE, _SIDE):
            images = F.interpolate(images, (_SIDE, _SIDE), mode="bicubic", antialias=True)
        latents: Tensor = self.vae.encode(images.clamp(0, 1) * 2 - 1).latent_dist.mode()
        return latents * SD_SCALE

    def decode(
        self, latents: Float[Tensor, "batch channels height8 width8"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode true or predicted latents to RGB images in [0, 1]."""
        images: Tensor = self.vae.decode(latents / SD_SCALE).sample / 2 + 0.5
        return images.clamp(0, 1)


def load_sd_latents(weights: Path) -> SdLatents:
    """Load the low-level VAE that ``mindeye2 import`` wrote of ``sd_image_var_autoenc.pth``."""
    file = WeightsFile(weights, kind="lowlevel_vae")
    with without_values():
        vae = build_vae(infer_vae(file.read(), scale=SD_SCALE))
    file.fill(vae)
    vae.float().eval().requires_grad_(requires_grad=False)
    return SdLatents(vae, weights_key=file.key).eval()
