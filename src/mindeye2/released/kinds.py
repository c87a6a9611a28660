"""Kinds of published networks, recognised by the names of their entries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.weights import WeightsFile, is_imported
from mindeye2.released.checkpoints import read_checkpoint

__all__ = ["KINDS", "Identified", "Kind", "identify", "published_state"]

_TOWER = "conditioner.embedders.0.model.visual."
_WRAPPERS = ("model_state_dict", "state_dict", "model", "module")
"""Keys under which a training checkpoint keeps its weights."""


@dataclass(frozen=True)
class Kind:
    """One kind of published network."""

    title: str
    """Name for messages and manifests."""

    marks: tuple[str, ...]
    """Patterns that each match an entry of this kind; no other kind has entries for all."""

    left_out: str = r"(?!)"
    """Pattern of entries that are known and not needed."""

    prefix: str = ""
    """Optional prefix of the names of its entries, which is removed."""


KINDS: dict[str, Kind] = {
    "mindeye": Kind("MindEye2's brain decoder", (r"backbone\.backbone_linear\.weight",)),
    "unclip": Kind(
        "SDXL unCLIP",
        (r"model\.diffusion_model\..*", r"first_stage_model\..*"),
        left_out=r"conditioner\..*",
    ),
    "convnext_teacher": Kind(
        "VICRegL's ConvNeXt",
        (r"backbone\.stages\.0\.0\.dwconv\.weight", r"maps_projector\.0\.weight"),
        left_out=r"(projector|classifier|maps_classifier)\..*",
    ),
    "lowlevel_vae": Kind(
        "Stable Diffusion's autoencoder",
        (r"encoder\.down_blocks\.0\..*", r"post_quant_conv\.weight"),
    ),
    "clip_converter": Kind(
        "the converter of CLIP tokens", (r"linear1\.weight", r"linear2\.weight")
    ),
    "gnet": Kind("GNet", (r"encoder\.enc\.conv3\.weight", r"readout\.\w+\.rf0")),
    "clip_tokens": Kind(
        "OpenCLIP's image tower",
        (r"(visual\.)?class_embedding", r"(visual\.)?conv1\.weight"),
        left_out=r"transformer\..*|token_embedding\..*|ln_final\..*|positional_embedding"
        r"|text_projection|logit_scale",
        prefix="visual.",
    ),
}
"""Every kind by its name, which is also the name of the imported file."""


@dataclass(frozen=True)
class Identified:
    """Published networks of one checkpoint."""

    kind: str
    """The main kind."""

    networks: Mapping[str, Mapping[str, Tensor]]
    """Kind -> entries; more than one where a file holds more than one network."""

    left_out: tuple[str, ...]
    """Names of entries that are not needed, and of objects beside the weights."""


def identify(content: Mapping[Any, Any], *, where: str) -> Identified:
    """Identify the published networks of a checkpoint, nested as it was saved.

    `where` names the file in messages. Raises ``ArtifactError`` if it holds none of `KINDS`.
    """
    state, beside = _unwrap(content)
    for name, kind in KINDS.items():
        if all(any(re.fullmatch(mark, n) for n in state) for mark in kind.marks):
            networks, left_out = _split(state, name)
            return Identified(name, networks, (*left_out, *beside))
    some = {n: tuple(v.shape) for n, v in list(state.items())[:6]}
    raise ArtifactError(
        f"{where} holds none of the published networks ({', '.join(KINDS)}): it has {len(state)} "
        f"tensors, the first are {some}, and beside them {list(beside)[:6]}."
    )


def published_state(source: Mapping[str, Any] | Path | str, *, kind: str) -> dict[str, Tensor]:
    """Read the state dict of one published network.

    Parameters
    ----------
    source
        A state dict, a published file, or a folder or file that ``mindeye2 import`` wrote.
    kind
        A key of `KINDS`.

    Returns
    -------
    dict
        Published names and values; memory-mapped where they come from a file.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or holds something else.
    """
    if isinstance(source, Mapping):
        networks, _ = _split(_unwrap(source)[0], kind)
        return networks[kind]
    path = Path(source)
    if is_imported(path):
        return WeightsFile(path, kind=kind).read()
    found = identify(read_checkpoint(path), where=str(path))
    if kind not in found.networks:
        raise ArtifactError(
            f"{path} holds {KINDS[found.kind].title} ({found.kind}), but {KINDS[kind].title} "
            f"({kind}) is needed here."
        )
    return dict(found.networks[kind])


def _unwrap(content: Mapping[Any, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors by name, and the names of the other objects beside them."""
    if "best_params" in content:
        return _gnet(content)
    found = next((w for w in _WRAPPERS if isinstance(content.get(w), Mapping)), None)
    inner = content if found is None else content[found]
    beside = [] if found is None else [str(name) for name in content if name != found]
    beside += [str(n) for n, v in inner.items() if not isinstance(v, Tensor)]
    state = {str(n): v for n, v in inner.items() if isinstance(v, Tensor)}
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state, tuple(beside)


def _gnet(content: Mapping[Any, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    best = content["best_params"]
    state = {f"encoder.{name}": value for name, value in best["enc"].items()}
    for subject, readout in best["fwrfs"].items():
        label = f"subj{int(subject):02d}" if str(subject).isdigit() else str(subject)
        state |= {f"readout.{label}.{name}": value for name, value in readout.items()}
    return state, tuple(str(name) for name in content if name != "best_params")


def _split(
    state: Mapping[str, Tensor], kind: str
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Assign the entries to networks; also return the names of those that are left out."""
    rules = KINDS[kind]
    networks: dict[str, dict[str, Tensor]] = {kind: {}}
    left_out = []
    for name, value in state.items():
        if kind == "unclip" and name.startswith(_TOWER):
            networks.setdefault("clip_tokens", {})[name.removeprefix(_TOWER)] = value
        elif re.fullmatch(rules.left_out, name):
            left_out.append(name)
        else:
            networks[kind][name.removeprefix(rules.prefix)] = value
    return networks, left_out
