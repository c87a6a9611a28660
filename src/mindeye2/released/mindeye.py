"""The published MindEye2 checkpoints: loading, and exporting to the released code."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mindeye2.core.tensors import without_values
from mindeye2.data.nsd.facts import VOXELS
from mindeye2.models.attention import rotary_angles
from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.released.kinds import published_state
from mindeye2.released.mindeye_names import PRIOR, own_name, released_name
from mindeye2.released.state_dict import count_indices, fill_network

__all__ = ["export_mindeye", "load_mindeye", "name_ridges"]

_TRANSFORMER = PRIOR + "causal_transformer."
_SCHEDULER = "diffusion_prior.noise_scheduler."

_CONSTANTS = re.compile(re.escape(_SCHEDULER) + r".*|.*\.rotary_emb\.freqs")
"""Entries that follow from the architecture: noise schedule and rotary frequencies."""


def load_mindeye(
    source: Mapping[str, Any] | Path | str, *, subjects: Sequence[str] | None = None
) -> MindEye:
    """Load the brain decoder of a published checkpoint.

    Parameters
    ----------
    source
        The checkpoint's ``model_state_dict``, its file, or the folder that it was imported into.
        Float32 entries become the parameters without a copy, so that changing one changes the
        other; entries that follow from the architecture (noise schedule, rotary frequencies) may
        be missing.
    subjects
        Names for the checkpoint's ridges, in its order; one for a fine-tuned checkpoint. By
        default NSD's, recognised by the numbers of voxels.

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
    widths = _ridge_widths(state)
    if subjects is None:
        subjects = _nsd_subjects(widths)
    if len(subjects) != len(widths):
        raise ValueError(
            f"this checkpoint has {len(widths)} ridges, one per subject, got {len(subjects)} "
            f"names: {list(subjects)}. Give one name per ridge, in the checkpoint's order."
        )
    n_voxels = dict(zip(subjects, widths, strict=True))
    # Nothing is initialised only to be replaced: at full size that would cost 9 GB and a minute.
    with without_values():
        model = build_mindeye(settings, n_voxels)
    fill_network(
        model,
        {n: value for n, value in state.items() if not _CONSTANTS.fullmatch(n)},
        rename=lambda name: own_name(name, subjects),
        what="the released architecture",
    )
    return model


def export_mindeye(model: MindEye) -> dict[str, Tensor]:
    """Convert a brain decoder to the state dict of the released code.

    The released ``model.load_state_dict(state, strict=True)`` takes it: the constants that the
    released modules keep as buffers (noise schedule, rotary frequencies) are computed and
    included, so that nothing is left out.

    Parameters
    ----------
    model
        A decoder of the released architecture, from `load_mindeye` or trained here.

    Returns
    -------
    dict
        Released names and values, which share memory with the parameters. The ridges are numbered
        in the order of ``model.subjects``.

    Raises
    ------
    ValueError
        If the model has another architecture. The message names what differs.
    """
    subjects = model.subjects
    names = {name: released_name(name, subjects) for name in model.state_dict()}
    differs = [name for name, released in names.items() if released is None]
    differs += ["prior.predict_residual"] * model.prior.predict_residual
    differs += ["projector.residual"] * model.projector.residual
    if model.lowlevel is not None and model.lowlevel.upsampler is None:
        differs.append("lowlevel without upsampler")
    if differs:
        raise ValueError(
            f"the released code has no counterpart of {differs[:8]}. Only models of the released "
            "architecture can be exported: model.trunk=released, model.residual_projector=false, "
            "model.prior.predict_residual=false, model.prior.condition_in_sequence=true, and a "
            "low-level head with coarse_channels or none."
        )
    state = {str(names[name]): value for name, value in model.state_dict().items()}
    device = model.prior.null_target.device
    constants = _constants(state, model.prior.alphas_cumprod)
    state |= {name: value.to(device) for name, value in constants.items()}
    # Names may all be known and yet not make the released network: it says what is missing.
    load_mindeye({n: v.to("meta") for n, v in state.items()}, subjects=subjects)
    return state


def infer_settings(state: Mapping[str, Tensor]) -> ModelSettings:
    """Infer the sizes of a published ``model_state_dict`` from the shapes of its entries.

    Raises ``ValueError`` if entries that give sizes are missing, or it reads several trials.
    """
    first = {
        "linear": "backbone.backbone_linear.weight",
        "sequence": "backbone.mixer_blocks2.0.0.weight",
        "query": PRIOR + "learned_query",
        "bias": _TRANSFORMER + "rel_pos_bias.relative_attention_bias.weight",
        "null": _TRANSFORMER + "layers.0.0.null_kv",
        "hidden": _TRANSFORMER + "layers.0.1.5.weight",
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
    levels = state.get(_SCHEDULER + "betas")
    return ModelSettings(
        n_tokens=n_tokens,
        n_features=n_features,
        n_latent=shape["linear"][1],
        trunk="released",
        n_blocks=count_indices(state, r"backbone\.mixer_blocks1\.(\d+)\.0\.weight"),
        residual_projector=False,
        lowlevel=_infer_lowlevel(state),
        prior=PriorSettings(
            depth=count_indices(state, re.escape(_TRANSFORMER) + r"layers\.(\d+)\.0\.null_kv"),
            n_heads=shape["bias"][1],
            head_width=shape["null"][1],
            feedforward_multiple=shape["hidden"][1] // n_features,
            n_levels=100 if levels is None else len(levels),
            predict_residual=False,
            condition_in_sequence=True,
            fused_kernels=False,
            released_ddim=True,
        ),
    )


def _infer_lowlevel(state: Mapping[str, Tensor]) -> LowLevelSettings | None:
    """Infer the sizes of the low-level head; some checkpoints were trained without one."""
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


def name_ridges(state: Mapping[str, Tensor]) -> list[str]:
    """Name the ridges of any checkpoint: NSD's subjects where they are recognised, or numbers."""
    known = {n_voxels: subject for subject, n_voxels in VOXELS.items()}
    widths = _ridge_widths(state)
    recognised = set(widths) <= set(known) and len(set(widths)) == len(widths)
    return [known[width] if recognised else f"ridge{i}" for i, width in enumerate(widths)]


def _ridge_widths(state: Mapping[str, Tensor]) -> list[int]:
    """Return the number of voxels that each ridge reads."""
    n_ridges = count_indices(state, r"ridge\.linears\.(\d+)\.weight")
    return [state[f"ridge.linears.{i}.weight"].shape[1] for i in range(n_ridges)]


def _nsd_subjects(widths: Sequence[int]) -> list[str]:
    """Recognise NSD's subjects by their numbers of voxels, which differ."""
    known = {n_voxels: subject for subject, n_voxels in VOXELS.items()}
    if unknown := [width for width in widths if width not in known]:
        raise ValueError(
            f"the checkpoint reads {unknown} voxels, which is none of NSD's subjects ({known}). "
            "Name its ridges with subjects=[...], in its order."
        )
    return [known[width] for width in widths]


def _constants(
    state: Mapping[str, Tensor], alphas_cumprod: Float[Tensor, " steps"]
) -> dict[str, Tensor]:
    """Compute the buffers of the released noise scheduler and rotary embeddings, in float32.

    The names and formulas are those of DALLE2-pytorch's ``NoiseScheduler`` (cosine schedule, no
    p2 weighting) and of rotary-embedding-torch.
    """
    kept = alphas_cumprod.double()
    previous = F.pad(kept[:-1], (1, 0), value=1.0)
    alphas = kept / previous
    betas = 1 - alphas
    variance = betas * (1 - previous) / (1 - kept)
    schedule = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - previous) * alphas.sqrt() / (1 - kept),
        "p2_loss_weight": torch.ones_like(kept),
    }
    return {
        **{_SCHEDULER + name: values.float() for name, values in schedule.items()},
        **{
            name.replace("null_kv", "rotary_emb.freqs"): _rotary_frequencies(head_width=v.shape[1])
            for name, v in state.items()
            if name.endswith(".null_kv")
        },
    }


def _rotary_frequencies(head_width: int) -> Tensor:
    """Return the rotary frequencies of one layer: the angles at position 1."""
    return rotary_angles(2, head_width, device=torch.device("cpu"))[1].clone()
