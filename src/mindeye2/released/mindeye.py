"""The published MindEye2 checkpoints: their names for every parameter, and how to load them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.models.settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.released.accounting import fill_network
from mindeye2.released.kinds import published_state

__all__ = ["NSD_VOXELS", "infer_settings", "load_mindeye"]

_PRIOR = r"diffusion_prior\.net\."
_TRANSFORMER = _PRIOR + r"causal_transformer\."
_UPSAMPLER = r"backbone\.bupsampler\."

_CONSTANTS = re.compile(r"diffusion_prior\.noise_scheduler\..*|.*\.rotary_emb\.freqs")
"""Entries that follow from the architecture and are computed here: schedule and rotations."""

_RULES: tuple[tuple[str, str], ...] = (
    # Released name -> ours, as regular expressions of the whole name.
    (r"backbone\.mixer_blocks1\.(.*)", r"backbone.trunk.latent_blocks.\1"),
    (r"backbone\.mixer_blocks2\.(.*)", r"backbone.trunk.sequence_blocks.\1"),
    (r"backbone\.backbone_linear\.(.*)", r"backbone.output.\1"),
    (r"backbone\.clip_proj\.(.*)", r"projector.layers.\1"),
    (r"backbone\.blin1\.(.*)", r"lowlevel.linear.\1"),
    (r"backbone\.bnorm\.(.*)", r"lowlevel.norm.\1"),
    (r"backbone\.b_maps_projector\.(.*)", r"lowlevel.maps.\1"),
    (_UPSAMPLER + r"conv_in\.(.*)", r"lowlevel.upsampler.input.\1"),
    (_UPSAMPLER + r"conv_norm_out\.(.*)", r"lowlevel.upsampler.output.0.\1"),
    (_UPSAMPLER + r"conv_out\.(.*)", r"lowlevel.upsampler.output.2.\1"),
    (_UPSAMPLER + r"mid_block\.resnets\.0\.(.*)", r"lowlevel.upsampler.middle.0.\1"),
    (_UPSAMPLER + r"mid_block\.resnets\.1\.(.*)", r"lowlevel.upsampler.middle.2.\1"),
    (
        _UPSAMPLER + r"mid_block\.attentions\.0\.group_norm\.(.*)",
        r"lowlevel.upsampler.middle.1.norm.\1",
    ),
    (
        _UPSAMPLER + r"mid_block\.attentions\.0\.to_q\.(.*)",
        r"lowlevel.upsampler.middle.1.query.\1",
    ),
    (_UPSAMPLER + r"mid_block\.attentions\.0\.to_k\.(.*)", r"lowlevel.upsampler.middle.1.key.\1"),
    (
        _UPSAMPLER + r"mid_block\.attentions\.0\.to_v\.(.*)",
        r"lowlevel.upsampler.middle.1.value.\1",
    ),
    (
        _UPSAMPLER + r"mid_block\.attentions\.0\.to_out\.0\.(.*)",
        r"lowlevel.upsampler.middle.1.output.\1",
    ),
    (
        _UPSAMPLER + r"up_blocks\.(\d+)\.resnets\.(\d+)\.conv_shortcut\.(.*)",
        r"lowlevel.upsampler.levels.\1.\2.shortcut.\3",
    ),
    (
        _UPSAMPLER + r"up_blocks\.(\d+)\.resnets\.(\d+)\.(.*)",
        r"lowlevel.upsampler.levels.\1.\2.\3",
    ),
    # Two residual blocks and the doubling of the size come before the convolution.
    (
        _UPSAMPLER + r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.*)",
        r"lowlevel.upsampler.levels.\1.3.\2",
    ),
    (_PRIOR + r"learned_query", r"prior.network.learned_query"),
    (_PRIOR + r"null_brain_embeds", r"prior.null_condition"),
    (_PRIOR + r"null_image_embed", r"prior.null_target"),
    (_PRIOR + r"to_time_embeds\.0\.1\.net\.0\.0\.(.*)", r"prior.network.time_mlp.0.\1"),
    (_PRIOR + r"to_time_embeds\.0\.1\.net\.1\.0\.(.*)", r"prior.network.time_mlp.2.\1"),
    (_PRIOR + r"to_time_embeds\.0\.1\.net\.2\.(.*)", r"prior.network.time_mlp.4.\1"),
    (
        _TRANSFORMER + r"rel_pos_bias\.relative_attention_bias\.weight",
        r"prior.network.relative_bias.weight",
    ),
    (_TRANSFORMER + r"norm\.g", r"prior.network.norm.weight"),
    (_TRANSFORMER + r"project_out\.weight", r"prior.network.output.weight"),
    (_TRANSFORMER + r"layers\.(\d+)\.0\.null_kv", r"prior.network.attentions.\1.null"),
    (_TRANSFORMER + r"layers\.(\d+)\.0\.norm\.g", r"prior.network.attentions.\1.norm.weight"),
    (_TRANSFORMER + r"layers\.(\d+)\.0\.to_q\.(.*)", r"prior.network.attentions.\1.query.\2"),
    (_TRANSFORMER + r"layers\.(\d+)\.0\.to_kv\.(.*)", r"prior.network.attentions.\1.key_value.\2"),
    (
        _TRANSFORMER + r"layers\.(\d+)\.0\.to_out\.0\.(.*)",
        r"prior.network.attentions.\1.output.0.\2",
    ),
    (
        _TRANSFORMER + r"layers\.(\d+)\.0\.to_out\.1\.g",
        r"prior.network.attentions.\1.output.1.weight",
    ),
    (_TRANSFORMER + r"layers\.(\d+)\.1\.0\.g", r"prior.network.feed_forwards.\1.norm.weight"),
    (_TRANSFORMER + r"layers\.(\d+)\.1\.1\.(.*)", r"prior.network.feed_forwards.\1.input.\2"),
    (_TRANSFORMER + r"layers\.(\d+)\.1\.5\.(.*)", r"prior.network.feed_forwards.\1.output.\2"),
)


NSD_VOXELS: dict[int, str] = {
    15_724: "subj01",
    14_278: "subj02",
    15_226: "subj03",
    13_153: "subj04",
    13_039: "subj05",
    17_907: "subj06",
    12_682: "subj07",
    14_386: "subj08",
}
"""Voxels of the published masks -> whose they are: a ridge's width tells its subject."""


def load_mindeye(
    source: Mapping[str, Any] | Path | str, *, subjects: Sequence[str] | None = None
) -> MindEye:
    """Build the decoder that a published checkpoint holds.

    Parameters
    ----------
    source
        The checkpoint's ``model_state_dict``, its file or ZeRO folder, or the folder that it was
        imported into. Float32 entries become the parameters without a copy, so that changing one
        changes the other; entries that follow from the architecture (noise schedule, rotary
        frequencies) may be missing.
    subjects
        Names for the checkpoint's ridges, in its order; one for a fine-tuned checkpoint. By
        default NSD's, told from the numbers of voxels.

    Returns
    -------
    MindEye
        With the released architecture, in float32 and in training mode.

    Raises
    ------
    ValueError
        If an entry is unknown, missing or of an unexpected shape, or the number of subjects is not
        that of the ridges. The message names the entries.
    """
    state = published_state(source, kind="mindeye")
    settings = infer_settings(state)
    n_ridges = _count(state, r"ridge\.linears\.(\d+)\.weight")
    if subjects is None:
        subjects = _nsd_subjects(state, n_ridges)
    if len(subjects) != n_ridges:
        raise ValueError(
            f"this checkpoint has {n_ridges} ridges, one per subject, got {len(subjects)} names: "
            f"{list(subjects)}. Give one name per ridge, in the checkpoint's order."
        )
    n_voxels = {
        subject: state[f"ridge.linears.{i}.weight"].shape[1] for i, subject in enumerate(subjects)
    }
    # Nothing is initialised only to be replaced: at full size that would cost 9 GB and a minute.
    with torch.device("meta"):
        model = build_mindeye(settings, n_voxels)
    # Entries that follow from the architecture are computed here.
    given = {n: value for n, value in state.items() if not _CONSTANTS.fullmatch(n)}
    fill_network(
        model,
        given,
        rename=lambda name: _rename(name, subjects),
        what="the released architecture",
    )
    return model


def infer_settings(state: Mapping[str, Tensor]) -> ModelSettings:
    """Read the sizes of a published checkpoint from the shapes of its entries.

    Parameters
    ----------
    state
        The checkpoint's ``model_state_dict``.

    Returns
    -------
    ModelSettings
        Sizes, with the released architecture.

    Raises
    ------
    ValueError
        If entries that give the sizes are missing, or the model reads more than one trial at once.
    """
    transformer = "diffusion_prior.net.causal_transformer."
    first = {
        "linear": "backbone.backbone_linear.weight",
        "sequence": "backbone.mixer_blocks2.0.0.weight",
        "query": "diffusion_prior.net.learned_query",
        "bias": transformer + "rel_pos_bias.relative_attention_bias.weight",
        "null": transformer + "layers.0.0.null_kv",
        "hidden": transformer + "layers.0.1.5.weight",
    }
    missing = sorted(set(first.values()) - set(state))
    if missing:
        raise ValueError(
            f"this is not a published MindEye2 checkpoint: {missing} are missing. Give its "
            "'model_state_dict'."
        )
    shape = {name: tuple(state[key].shape) for name, key in first.items()}
    if shape["sequence"] != (1,):
        raise ValueError(
            f"this checkpoint reads {shape['sequence'][0]} trials at once ({first['sequence']}); "
            "only models that read one trial can be loaded."
        )
    n_tokens, n_features = shape["query"]
    levels = state.get("diffusion_prior.noise_scheduler.betas")
    return ModelSettings(
        n_tokens=n_tokens,
        n_features=n_features,
        n_latent=shape["linear"][1],
        trunk="released",
        n_blocks=_count(state, r"backbone\.mixer_blocks1\.(\d+)\.0\.weight"),
        residual_projector=False,
        lowlevel=_infer_lowlevel(state),
        prior=PriorSettings(
            depth=_count(state, _TRANSFORMER + r"layers\.(\d+)\.0\.null_kv"),
            n_heads=shape["bias"][1],
            head_width=shape["null"][1],
            multiple=shape["hidden"][1] // n_features,
            n_levels=100 if levels is None else len(levels),
            residual=False,
            joined=True,
            fused=False,
            released_ddim=True,
        ),
    )


def _infer_lowlevel(state: Mapping[str, Tensor]) -> LowLevelSettings | None:
    """Read the sizes of the low-level head; some checkpoints were trained without one."""
    linear, norm = state.get("backbone.blin1.weight"), state.get("backbone.bnorm.weight")
    output = state.get("backbone.bupsampler.conv_out.weight")
    if linear is None or norm is None or output is None:
        return None
    maps = state.get("backbone.b_maps_projector.0.weight")
    return LowLevelSettings(
        channels=output.shape[0],
        size=round((linear.shape[0] / norm.shape[0]) ** 0.5),
        coarse_channels=norm.shape[0],
        n_maps=0 if maps is None else maps.shape[0],
    )


def _nsd_subjects(state: Mapping[str, Tensor], n_ridges: int) -> list[str]:
    """Name the ridges by their numbers of voxels, which differ between NSD's subjects."""
    sizes = [state[f"ridge.linears.{i}.weight"].shape[1] for i in range(n_ridges)]
    if unknown := [size for size in sizes if size not in NSD_VOXELS]:
        raise ValueError(
            f"the checkpoint reads {unknown} voxels, which is none of NSD's subjects "
            f"({NSD_VOXELS}). Name its ridges with subjects=[...], in its order."
        )
    return [NSD_VOXELS[size] for size in sizes]


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _rename(name: str, subjects: Sequence[str]) -> str | None:
    """Return our name of a released parameter, or None where there is none."""
    ridge = re.fullmatch(r"ridge\.linears\.(\d+)\.(weight|bias)", name)
    if ridge is not None and int(ridge[1]) < len(subjects):
        return f"ridge.maps.{subjects[int(ridge[1])]}.{ridge[2]}"
    for pattern, ours in _RULES:
        match = re.fullmatch(pattern, name)
        if match is not None:
            return match.expand(ours)
    return None
