"""``mindeye2 import``: a published checkpoint -> slim safetensors with a manifest."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mindeye2.core.artifacts import claim_folder, hash_file, keep_settings, write_manifest
from mindeye2.core.settings import Settings, plain
from mindeye2.released.checkpoints import Foreign, read_checkpoint
from mindeye2.released.download import fetch
from mindeye2.released.files import PublishedFile, find_published, published_file
from mindeye2.released.kinds import KINDS, Identified, identify
from mindeye2.released.mindeye import load_mindeye
from mindeye2.released.networks import (
    load_clip_converter,
    load_convnext_teacher,
    load_gnet,
    load_lowlevel_vae,
)
from mindeye2.released.pieces import Pieces
from mindeye2.released.room import check_disk, check_memory
from mindeye2.released.slim import slim_bytes, write_slim
from mindeye2.released.unclip import load_unclip

__all__ = ["ImportSettings", "get_published", "import_checkpoint"]

_DTYPES = {"stored": None, "float32": torch.float32, "float16": torch.float16}


class ImportSettings(Settings):
    """How to import."""

    precision: Literal["stored", "float32", "float16"] = "stored"
    """What floating-point weights become; float16 halves a file and changes results slightly."""

    head_channels: int = 64
    """Channels of an attention head of unCLIP's U-Net, which its file does not tell."""


def import_checkpoint(
    source: Path,
    *,
    out: Path,
    settings: ImportSettings | None = None,
    published: PublishedFile | None = None,
    resume: bool = False,
) -> Path:
    """Write what is needed of a checkpoint, and nothing else, as safetensors.

    Optimizer state, bookkeeping and networks that are not used are left out. Every entry is
    checked before anything is written, without memory; values are streamed.

    Parameters
    ----------
    source
        Published file or DeepSpeed ZeRO folder.
    out
        Folder to fill.
    settings
        How to import.
    published
        Which published file it is, for licence and source; found by its name by default.
    resume
        Go on with a folder that was begun with the same file and settings.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the file cannot be read or holds no published network, or there is too little room.
    ValueError
        If entries are unknown, missing or of unexpected shapes.
    """
    settings = settings or ImportSettings()
    source, out = Path(source), Path(out)
    published = published or find_published(source)
    _check_room_to_read(source)
    foreign = read_checkpoint(source)
    found = identify(foreign.content, where=str(source))
    for kind, state in found.parts.items():
        _check_fits(kind, state, settings)
    dtype = _DTYPES[settings.precision]
    check_disk(
        out,
        sum(slim_bytes(state, dtype=dtype) for state in found.parts.values()),
        what=f"importing {source.name}",
    )
    out = claim_folder(out, resume=resume)
    keep_settings(out, {**plain(settings), "source": str(source)})
    hashes = {file.name: hash_file(file) for file in foreign.files}
    facts = _facts(source, published, hashes)
    for kind, state in found.parts.items():
        path = out / f"{kind}.safetensors"
        if not path.exists():
            write_slim(
                path,
                state,
                dtype=dtype,
                mapped=foreign.mapped,
                facts={
                    "kind": kind,
                    "source_sha256": facts["sha256"],
                    "licence": facts["licence"],
                },
            )
    return write_manifest(
        out,
        stage="import",
        config={**plain(settings), "source": str(source)},
        **_described(found, foreign),
        **facts,
        source_files=hashes,
    )


def get_published(
    name: str, *, out: Path, agreed: bool, settings: ImportSettings, resume: bool = False
) -> Path:
    """Download a published file and import it; what is used as it is, is only downloaded.

    Parameters
    ----------
    name
        A key of `mindeye2.released.files.PUBLISHED`.
    out
        Folder to fill.
    agreed
        The user has agreed to the download.
    settings
        How to import.
    resume
        Go on with a folder that was begun before.

    Returns
    -------
    Path
        The manifest, or the file that is used as it is.

    Raises
    ------
    ArtifactError
        If the hub cannot be reached, the file is damaged, or there is too little room.
    ValueError
        If there is no such name, or the user has not agreed.
    """
    file = published_file(name)
    got = fetch(file, out=out, agreed=agreed)
    if file.kind is None:
        return got
    return import_checkpoint(got, out=out, settings=settings, published=file, resume=resume)


def _facts(
    source: Path, published: PublishedFile | None, hashes: Mapping[str, str]
) -> dict[str, str]:
    licence = published.licence if published else "unknown: this is not a file of the table"
    origin = published.url if published else "unknown"
    # One file's hash is its own; a folder's is that of its list of hashes.
    one = next(iter(hashes.values())) if len(hashes) == 1 else _join(hashes)
    return {"source": source.name, "sha256": one, "licence": licence, "published_at": origin}


def _join(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(sorted(hashes.values())).encode()).hexdigest()


def _described(found: Identified, foreign: Foreign) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "title": KINDS[found.kind].title,
        "parameters": {
            kind: sum(torch.Size(v.shape).numel() for v in state.values())
            for kind, state in found.parts.items()
        },
        "source_bytes": sum(file.stat().st_size for file in foreign.files),
        "left_out": list(found.left_out),
    }


def _check_room_to_read(source: Path) -> None:
    """Ask for memory where all of a file must fit: PyTorch before 1.6 wrote such files."""
    if source.is_file() and source.suffix != ".safetensors" and not zipfile.is_zipfile(source):
        check_memory(source.stat().st_size, what=f"{source.name} cannot be memory-mapped: it")


def _check_fits(kind: str, state: Mapping[str, Tensor | Pieces], settings: ImportSettings) -> None:
    """Build the network without memory, so that every entry is accounted for before writing."""
    described = {
        name: torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
        for name, value in state.items()
    }
    if kind == "unclip":
        load_unclip(described, head_channels=settings.head_channels)
    elif kind == "gnet":
        for subject in sorted({n.split(".")[1] for n in described if n.startswith("readout.")}):
            load_gnet(_under(described, "encoder."), _under(described, f"readout.{subject}."))
    elif kind in _LOADERS:
        _LOADERS[kind](described)


def _check_brain_model(described: dict[str, Tensor]) -> None:
    # Whose ridges they are does not matter here, and need not be known: not all are NSD's.
    n_ridges = sum(n.startswith("ridge.linears.") and n.endswith(".weight") for n in described)
    load_mindeye(described, subjects=[f"ridge{i}" for i in range(n_ridges)])


_LOADERS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "mindeye": _check_brain_model,
    "convnext_teacher": load_convnext_teacher,
    "clip_converter": load_clip_converter,
    "lowlevel_vae": load_lowlevel_vae,
}
"""OpenCLIP's tower is checked when it is loaded: its class is not needed to import it."""


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
