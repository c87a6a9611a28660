"""The published unCLIP decoder (``unclip6_epoch0_step110000.ckpt``): SDXL fine-tuned on tokens."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mindeye2.core.tensors import without_values
from mindeye2.encoders.sd_vae import build_vae, infer_vae
from mindeye2.generation.sd.ldm_names import (
    UNET_PREFIX,
    VAE_PREFIX,
    attention_as_matrices,
    infer_unet,
    rename_unet,
    rename_vae,
)
from mindeye2.generation.sd.sdxl import Sdxl, SdxlSampling
from mindeye2.generation.sd.unet import build_unet
from mindeye2.released.kinds import published_state
from mindeye2.released.state_dict import entries_under, fill_network

__all__ = ["load_unclip"]

_LEVELS = "denoiser.sigmas"
"""Entry that follows from the architecture and is computed here: noise levels."""


def load_unclip(
    source: Mapping[str, Tensor] | Path | str,
    *,
    head_channels: int = 64,
    dtype: torch.dtype | None = torch.float32,
    sampling: SdxlSampling | None = None,
) -> Sdxl:
    """Load the image decoder of the published unCLIP checkpoint.

    Parameters
    ----------
    source
        The checkpoint's ``state_dict``, its file, or the folder that it was imported into. Entries
        that follow from the architecture (noise levels) may be missing, and those of the image
        encoder are left out. Floating-point entries of `dtype` become the parameters without a
        copy.
    head_channels
        Channels of an attention head, which no shape gives.
    dtype
        Type of floating-point parameters; None keeps each as it is.
    sampling
        Settings of the sampler; as released by default.

    Returns
    -------
    Sdxl
        With the released sampler, in training mode.

    Raises
    ------
    ValueError
        If an entry is unknown, missing or of an unexpected shape. The message names the entries.
    """
    state = published_state(source, kind="unclip")
    unet_state = entries_under(state, UNET_PREFIX)
    vae_state = attention_as_matrices(entries_under(state, VAE_PREFIX))
    unknown = [
        name
        for name in state
        if not name.startswith((UNET_PREFIX, VAE_PREFIX)) and name != _LEVELS
    ]
    if unknown:
        raise ValueError(
            f"this is not a published unCLIP checkpoint: unknown entries {unknown[:8]}. Give its "
            "'state_dict'."
        )
    unet_settings = infer_unet(unet_state, head_channels=head_channels)
    vae_settings = infer_vae(vae_state)
    # Nothing is initialised only to be replaced: at full size that would cost 11 GB and a minute.
    with without_values():
        unet, vae = build_unet(unet_settings), build_vae(vae_settings)
    fill_network(
        unet,
        unet_state,
        rename=lambda name: rename_unet(name, unet_settings),
        what="SDXL's U-Net",
        dtype=dtype,
    )
    fill_network(
        vae,
        vae_state,
        rename=lambda name: rename_vae(name, vae_settings),
        what="SDXL's autoencoder",
        dtype=dtype,
    )
    # Height, width, top and left are embedded one after the other.
    size_width = unet_settings.vector_width // 4
    return Sdxl(unet=unet, vae=vae, sampling=sampling, size_width=size_width)
