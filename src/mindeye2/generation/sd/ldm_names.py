"""Parameter names of Stable Diffusion's own checkpoints, and network sizes from their shapes.

SDXL base, its fine-tunes and the published unCLIP are stored under the names of the code that
trained them; the networks here are diffusers'. Every name is mapped by a rule, so that a
checkpoint is loaded completely or refused.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from mindeye2.encoders.sd_vae import VaeSettings
from mindeye2.generation.sd.unet import UnetSettings

__all__ = [
    "UNET_PREFIX",
    "VAE_PREFIX",
    "attention_as_matrices",
    "infer_unet",
    "rename_unet",
    "rename_vae",
]

UNET_PREFIX = "model.diffusion_model."
"""Prefix of the U-Net's parameters in a checkpoint."""

VAE_PREFIX = "first_stage_model."
"""Prefix of the VAE's parameters in a checkpoint."""


_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "class_embedding.linear_1",
    "label_emb.0.2": "class_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_ATTENTION = re.compile(r"(norm|proj_in|proj_out|transformer_blocks\..+)\.(weight|bias)")


def rename_unet(name: str, settings: UnetSettings) -> str | None:
    """Map the name of a U-Net parameter without `UNET_PREFIX` to diffusers'; None if unknown."""
    stem, _, kind = name.rpartition(".")
    if stem in _UNET_ENDS:
        return f"{_UNET_ENDS[stem]}.{kind}"
    match = re.fullmatch(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(.+)", name)
    if match is None:
        return None
    side, index, rest = match[1], int(match[2]), match[3]
    if side == "middle_block":
        found = _unet_part(f"{index % 2}.{rest}")
        return found and f"mid_block.{found[0]}s.{index // 2}.{found[1]}"
    block, layer = divmod(index - (side == "input_blocks"), settings.n_layers + 1)
    to = {"input_blocks": "down", "output_blocks": "up"}[side]
    sampler = re.fullmatch(r"0\.op\.(\w+)" if to == "down" else r"[12]\.conv\.(\w+)", rest)
    if sampler is not None:
        return f"{to}_blocks.{block}.{to}samplers.0.conv.{sampler[1]}"
    found = _unet_part(rest)
    return found and f"{to}_blocks.{block}.{found[0]}s.{layer}.{found[1]}"


def _unet_part(rest: str) -> tuple[str, str] | None:
    """Map a parameter of a residual block (part 0) or of a transformer (part 1)."""
    part, _, inner = rest.partition(".")
    stem, _, kind = inner.rpartition(".")
    if part == "0" and stem in _RESNET:
        return "resnet", f"{_RESNET[stem]}.{kind}"
    if part == "1" and _ATTENTION.fullmatch(inner):
        return "attention", inner
    return None


_VAE_RULES: tuple[tuple[str, str], ...] = (
    (r"((?:post_)?quant_conv\.\w+)", r"\1"),
    (r"((?:en|de)coder\.conv_(?:in|out)\.\w+)", r"\1"),
    (r"((?:en|de)coder)\.norm_out\.(\w+)", r"\1.conv_norm_out.\2"),
    (r"((?:en|de)coder)\.mid\.block_([12])\.(.+)", r"\1.mid_block.resnets.\2.\3"),
    (r"((?:en|de)coder)\.mid\.attn_1\.norm\.(\w+)", r"\1.mid_block.attentions.0.group_norm.\2"),
    (r"((?:en|de)coder)\.mid\.attn_1\.([qkv])\.(\w+)", r"\1.mid_block.attentions.0.to_\2.\3"),
    (r"((?:en|de)coder)\.mid\.attn_1\.proj_out\.(\w+)", r"\1.mid_block.attentions.0.to_out.0.\2"),
    (r"encoder\.down\.(\d+)\.block\.(\d+)\.(.+)", r"encoder.down_blocks.\1.resnets.\2.\3"),
    (
        r"encoder\.down\.(\d+)\.downsample\.(conv\.\w+)",
        r"encoder.down_blocks.\1.downsamplers.0.\2",
    ),
    (r"decoder\.up\.(\d+)\.block\.(\d+)\.(.+)", r"decoder.up_blocks.\1.resnets.\2.\3"),
    (r"decoder\.up\.(\d+)\.upsample\.(conv\.\w+)", r"decoder.up_blocks.\1.upsamplers.0.\2"),
)


def rename_vae(name: str, settings: VaeSettings) -> str | None:
    """Map the name of a VAE parameter without `VAE_PREFIX` to diffusers'; None if unknown."""
    for pattern, ours in _VAE_RULES:
        match = re.fullmatch(pattern, name)
        if match is not None:
            new = match.expand(ours).replace(".nin_shortcut.", ".conv_shortcut.")
            return _recounted(new, last=len(settings.widths) - 1)
    return None


def attention_as_matrices(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a VAE's attention weights from 1 x 1 convolutions to matrices."""
    return {
        name: value[:, :, 0, 0] if ".attn_1." in name and value.ndim == 4 else value
        for name, value in state.items()
    }


def _recounted(name: str, *, last: int) -> str:
    """Count middle blocks from 0 instead of 1, and decoder blocks from the coarsest."""

    def shifted(match: re.Match[str]) -> str:
        return f"mid_block.resnets.{int(match[1]) - 1}"

    def turned(match: re.Match[str]) -> str:
        return f"up_blocks.{last - int(match[1])}"

    return re.sub(r"up_blocks\.(\d+)", turned, re.sub(r"mid_block\.resnets\.(\d)", shifted, name))


def infer_unet(state: Mapping[str, Tensor], *, head_channels: int) -> UnetSettings:
    """Infer a U-Net's sizes from its weights, named without `UNET_PREFIX`.

    Shapes do not give `head_channels`, the channels of an attention head.
    """
    _need(state, "input_blocks.0.0.weight", "label_emb.0.0.weight", what="an SDXL U-Net")
    halvings = sorted(
        int(m[1]) for n in state if (m := re.fullmatch(r"input_blocks\.(\d+)\.0\.op\.weight", n))
    )
    tokens = next((n for n in state if n.endswith(".attn2.to_k.weight")), "")
    if not halvings or not tokens:
        raise ValueError(
            "this is not an SDXL U-Net: no block halves the resolution or none attends to tokens."
        )
    n_layers = halvings[0] - 1
    firsts = [1 + level * (n_layers + 1) for level in range(len(halvings) + 1)]
    outs = [f"input_blocks.{i}.0.out_layers.3.weight" for i in firsts]
    _need(state, *outs, what="an SDXL U-Net")
    return UnetSettings(
        widths=tuple(state[n].shape[0] for n in outs),
        n_layers=n_layers,
        depths=tuple(
            _count(state, rf"input_blocks\.{i}\.1\.transformer_blocks\.\d+\.norm1\.weight")
            for i in firsts
        ),
        head_channels=head_channels,
        n_features=state[tokens].shape[1],
        vector_width=state["label_emb.0.0.weight"].shape[1],
        latent_channels=state["input_blocks.0.0.weight"].shape[1],
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _need(state: Mapping[str, Tensor], *names: str, what: str) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(
            f"this is not {what} under Stable Diffusion's names: {missing} are missing."
        )
