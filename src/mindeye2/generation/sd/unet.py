"""SDXL's U-Net in any size, from diffusers' class."""

from typing import Any

from torch import nn

from mindeye2.core.errors import require
from mindeye2.core.settings import Settings

__all__ = ["UnetSettings", "build_unet", "take_vector"]


class UnetSettings(Settings):
    """Sizes of an SDXL U-Net; the defaults are the published unCLIP's."""

    widths: tuple[int, ...] = (320, 640, 1280)
    """Channels of each resolution, fine to coarse."""

    n_layers: int = 2
    """Residual blocks at each resolution."""

    depths: tuple[int, ...] = (0, 2, 10)
    """Transformer blocks after each residual block; 0 is no attention at that resolution."""

    head_channels: int = 64
    """Channels of an attention head; shapes do not give it."""

    n_features: int = 1664
    """Width of the tokens of the cross-attention."""

    vector_width: int = 1024
    """Width of the vector that is added to the time embedding: sizes, in SDXL base also text."""

    latent_channels: int = 4
    """Channels of the latents."""


def build_unet(settings: UnetSettings) -> nn.Module:
    """Build a freshly initialised ``UNet2DConditionModel`` on the default device.

    It takes the embedded size vector as ``class_labels``: diffusers' interface for SDXL takes
    pooled text and sizes separately, and unCLIP has no text.
    """
    diffusers = require("diffusers", extra="sdxl", purpose="SDXL")
    plain = [depth == 0 for depth in settings.depths]
    unet: nn.Module = diffusers.UNet2DConditionModel(
        in_channels=settings.latent_channels,
        out_channels=settings.latent_channels,
        down_block_types=["DownBlock2D" if p else "CrossAttnDownBlock2D" for p in plain],
        up_block_types=["UpBlock2D" if p else "CrossAttnUpBlock2D" for p in plain[::-1]],
        block_out_channels=settings.widths,
        layers_per_block=settings.n_layers,
        transformer_layers_per_block=[max(1, depth) for depth in settings.depths],
        # diffusers calls the number of heads attention_head_dim.
        attention_head_dim=[w // settings.head_channels for w in settings.widths],
        cross_attention_dim=settings.n_features,
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=settings.vector_width,
    )
    return unet


def take_vector(unet: nn.Module) -> nn.Module:
    """Change SDXL's U-Net in place to take the embedded vector, as those of `build_unet` do."""
    changed: Any = unet
    if changed.config.class_embed_type == "projection":
        return unet
    if changed.config.addition_embed_type != "text_time":
        raise ValueError(
            "this U-Net is not SDXL's: its addition_embed_type is "
            f"{changed.config.addition_embed_type!r}, not 'text_time'. Give an SDXL base model."
        )
    changed.class_embedding, changed.add_embedding = changed.add_embedding, None
    changed.register_to_config(class_embed_type="projection", addition_embed_type=None)
    return unet
