"""SDXL's networks on disk: base models, and image decoders that were fine-tuned from them."""

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mindeye2.core.errors import ArtifactError, require
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
from mindeye2.generation.sd.unet import build_unet, take_vector

__all__ = ["attend_to", "load_base", "load_sdxl", "save_sdxl"]


def load_base(name: str) -> tuple[nn.Module, nn.Module]:
    """Load U-Net (with embedded size vector) and VAE of an SDXL base model, float32.

    `name` is a name on the hub, a folder in diffusers' layout, or one ``.safetensors`` file.
    Raises ``ArtifactError`` if it is none of these.
    """
    diffusers = require("diffusers", extra="sdxl", purpose="SDXL")
    try:
        if Path(name).is_file():
            return _from_file(Path(name))
        with warnings.catch_warnings():
            # Versions of diffusers and of the hub's client warn about each other's arguments.
            warnings.simplefilter("ignore")
            unet = diffusers.UNet2DConditionModel.from_pretrained(name, subfolder="unet")
            vae = diffusers.AutoencoderKL.from_pretrained(name, subfolder="vae")
        return take_vector(unet), vae
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"{name!r} cannot be loaded as SDXL: {error} Give a folder with 'unet' and 'vae' in "
            "diffusers' layout, one .safetensors file, or a name on the hub."
        ) from error


def _from_file(path: Path) -> tuple[nn.Module, nn.Module]:
    state = load_file(path)
    unet_state, vae_state = (
        {k.removeprefix(p): v.float() for k, v in state.items() if k.startswith(p)}
        for p in (UNET_PREFIX, VAE_PREFIX)
    )
    vae_state = attention_as_matrices(vae_state)
    unet_settings, vae_settings = infer_unet(unet_state, head_channels=64), infer_vae(vae_state)
    with without_values():
        unet, vae = build_unet(unet_settings), build_vae(vae_settings)
    # Names without a rule are kept, so that load_state_dict refuses them by name.
    unet.load_state_dict(
        {rename_unet(k, unet_settings) or k: v for k, v in unet_state.items()}, assign=True
    )
    vae.load_state_dict(
        {rename_vae(k, vae_settings) or k: v for k, v in vae_state.items()}, assign=True
    )
    return unet, vae


def attend_to(unet: nn.Module, *, n_features: int, vector_width: int) -> nn.Module:
    """Make the U-Net of `load_base` attend to image tokens instead of text, as published.

    Keys and values of the cross-attention are initialised anew, by PyTorch's process-wide
    generator, because their input differs; the layer of the size vector keeps its first
    `vector_width` columns. The U-Net is changed in place.
    """
    changed: Any = unet
    first = changed.class_embedding.linear_1
    if first.in_features < vector_width:
        raise ValueError(
            f"the U-Net takes a vector of {first.in_features} numbers, fewer than {vector_width}. "
            "Give an SDXL base model."
        )
    narrowed = nn.Linear(vector_width, first.out_features)
    with torch.no_grad():
        narrowed.weight.copy_(first.weight[:, :vector_width])
        narrowed.bias.copy_(first.bias)
    changed.class_embedding.linear_1 = narrowed
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            attention: Any = module
            for part in ("to_k", "to_v"):
                width = getattr(attention, part).out_features
                linear = nn.Linear(n_features, width, bias=False)
                nn.init.normal_(linear.weight, std=1 / math.sqrt(n_features))
                setattr(attention, part, linear)
            attention.cross_attention_dim = n_features
    changed.register_to_config(
        cross_attention_dim=n_features, projection_class_embeddings_input_dim=vector_width
    )
    return unet


def save_sdxl(folder: Path, sdxl: Sdxl, *, dtype: torch.dtype = torch.float16) -> None:
    """Write ``unet`` and ``vae`` in diffusers' layout; casts the U-Net to `dtype` in place."""
    unet: Any = sdxl.unet.to(dtype)
    vae: Any = sdxl.vae
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")


def load_sdxl(folder: Path, *, sampling: SdxlSampling | None = None) -> Sdxl:
    """Load an image decoder that `save_sdxl` wrote, frozen, in float32."""
    unet, vae = load_base(str(folder))
    config: Any = unet.config
    width = config["projection_class_embeddings_input_dim"] // 4
    sdxl = Sdxl(unet=unet, vae=vae, sampling=sampling, size_width=width)
    return sdxl.eval().requires_grad_(requires_grad=False)
