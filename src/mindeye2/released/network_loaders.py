"""Loaders of the smaller published networks: teacher, autoencoder, converter and GNet."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mindeye2.core.tensors import without_values
from mindeye2.encoders.convnext import (
    ConvNextTeacher,
    build_convnext_teacher,
    infer_convnext_teacher,
)
from mindeye2.encoders.gnet import GNet, infer_gnet
from mindeye2.encoders.sd_vae import SD_SCALE, build_vae, infer_vae
from mindeye2.generation.captions import ClipConverter
from mindeye2.released.kinds import published_state
from mindeye2.released.state_dict import (
    entries_under,
    entry_shape,
    fill_network,
)

__all__ = ["load_clip_converter", "load_convnext_teacher", "load_gnet", "load_lowlevel_vae"]

Published = Mapping[str, Any] | Path | str
"""A state dict under its published names, a published file, or what was imported of it."""

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""diffusers' names of the autoencoder's attention before 0.15."""


def load_convnext_teacher(source: Published) -> ConvNextTeacher:
    """Load the low-level branch's teacher (``convnext_xlarge_alpha0.75_fullckpt.pth``), float32.

    The global projector and the classifiers of the same training are known and left out. Raises
    ``ValueError`` with the names of entries that are unknown, missing or of an unexpected shape.
    """
    state = published_state(source, kind="convnext_teacher")
    with without_values():
        teacher = build_convnext_teacher(**infer_convnext_teacher(state))
    fill_network(teacher, state, what="VICRegL's ConvNeXt with its maps' projector")
    return teacher


def load_clip_converter(source: Published) -> ClipConverter:
    """Load the map from bigG tokens to the captioner's (``bigG_to_L_epoch8.pth``), float32.

    Raises ``ValueError`` with the names of entries that are unknown, missing or of an unexpected
    shape.
    """
    state = published_state(source, kind="clip_converter")
    shapes = [entry_shape(state, f"linear{i}.weight") for i in (1, 2)]
    with without_values():
        linears = [nn.Linear(n_in, n_out) for n_out, n_in in shapes]
    converter = ClipConverter(*linears)
    fill_network(converter, state, what="the published converter")
    return converter


def load_lowlevel_vae(source: Published, *, groups: int = 32) -> nn.Module:
    """Load the low-level branch's autoencoder (``sd_image_var_autoenc.pth``), float32.

    `groups` is that of the normalisations, which no shape gives. Raises ``ValueError`` with the
    names of entries that are unknown, missing or of an unexpected shape.
    """
    state = {
        _modern(name): value
        for name, value in published_state(source, kind="lowlevel_vae").items()
    }
    with without_values():
        vae = build_vae(infer_vae(state, groups=groups, scale=SD_SCALE))
    fill_network(vae, state, what="Stable Diffusion's autoencoder")
    return vae


def load_gnet(
    encoder: Published,
    readout: Mapping[str, Tensor] | None = None,
    *,
    subject: str | None = None,
) -> GNet:
    """Load GNet for one subject (``gnet_multisubject.pt``).

    Parameters
    ----------
    encoder
        The trunk's state dict; or the published file or imported folder, with `subject`.
    readout
        The subject's state dict, beside the trunk's.
    subject
        Subject whose voxels are predicted, e.g. ``"subj01"``, where a file is given.

    Returns
    -------
    GNet
        Float32, in training mode.

    Raises
    ------
    ValueError
        If an entry is unknown, missing or of an unexpected shape, or there is no such subject.
    """
    if readout is None:
        state = published_state(encoder, kind="gnet")
        known = sorted({n.split(".")[1] for n in state if n.startswith("readout.")})
        if subject not in known:
            raise ValueError(
                f"GNet was trained on {known}, got subject={subject!r}. Name one of them."
            )
        trunk_state = entries_under(state, "encoder.")
        readout = entries_under(state, f"readout.{subject}.")
    elif isinstance(encoder, Mapping):
        trunk_state = dict(encoder)
    else:
        raise ValueError("give a file alone with subject=..., or two state dicts.")
    for name in ("enc.conv6b.conv1.weight", "enc.conv4a.conv1.weight", "mu"):
        entry_shape(trunk_state, name)  # names the entry that is missing
    for name in ("b", "rf0", "rf1"):
        entry_shape(readout, name)
    net = infer_gnet(trunk_state, readout)
    fill_network(net.trunk, trunk_state, what="GNet's trunk")
    fill_network(net.readout, readout, what="GNet's readout")
    return net


def _modern(name: str) -> str:
    match = re.fullmatch(r"(.*mid_block\.attentions\.0\.)(query|key|value|proj_attn)(\..*)", name)
    return f"{match[1]}{_OLD_ATTENTION[match[2]]}{match[3]}" if match else name
