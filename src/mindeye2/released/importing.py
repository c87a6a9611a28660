"""Import of a published checkpoint: safetensors of its networks, and a manifest."""

from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mindeye2.core.artifacts import (
    claim_folder,
    hash_file,
    keep_settings,
    record_path,
    write_manifest,
)
from mindeye2.core.settings import Settings, plain
from mindeye2.core.tensors import save_tensors
from mindeye2.released.checkpoints import read_checkpoint
from mindeye2.released.download import check_disk, fetch
from mindeye2.released.kinds import KINDS, identify
from mindeye2.released.mindeye import load_mindeye, name_ridges
from mindeye2.released.network_loaders import (
    load_clip_converter,
    load_convnext_teacher,
    load_gnet,
    load_lowlevel_vae,
)
from mindeye2.released.published_files import PublishedFile, find_published, published_file
from mindeye2.released.published_unclip import load_unclip
from mindeye2.released.state_dict import entries_under

__all__ = ["ImportSettings", "get_published", "import_checkpoint"]


class ImportSettings(Settings):
    """Settings of an import."""

    precision: Literal["stored", "float32", "float16"] = "stored"
    """Type of floating-point weights; float16 halves a file and changes results slightly."""

    head_channels: int = 64
    """Channels of an attention head of unCLIP's U-Net, which no shape in its file gives."""


def import_checkpoint(
    source: Path,
    *,
    out: Path,
    settings: ImportSettings | None = None,
    published: PublishedFile | None = None,
    resume: bool = False,
) -> Path:
    """Import the networks of a checkpoint: write their weights as safetensors.

    Optimizer state, bookkeeping and networks that are not used are left out. Every entry is
    checked on the meta device before anything is written.

    Parameters
    ----------
    source
        Published file.
    out
        Folder to fill.
    settings
        Precision, and sizes that no shape gives.
    published
        Row of the table of published files, for licence and source; found by the file's name by
        default.
    resume
        Continue a folder that was started with the same file and settings.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the file cannot be read, holds no published network, or the disk is too full.
    ValueError
        If entries are unknown, missing or of unexpected shapes, or a value does not fit into the
        precision.
    """
    settings = settings or ImportSettings()
    source, out = Path(source), Path(out)
    published = published or find_published(source)
    found = identify(read_checkpoint(source), where=str(source))
    for kind, state in found.networks.items():
        _check_fits(kind, state, settings)
    dtype = None if settings.precision == "stored" else getattr(torch, settings.precision)
    size = sum(_written_bytes(state, dtype) for state in found.networks.values())
    check_disk(out, size, what=f"importing {source.name}")
    out = claim_folder(out, resume=resume)
    config = {**plain(settings), "source": record_path(source, folder=out)}
    keep_settings(out, config)
    sha256 = hash_file(source)
    licence = published.licence if published else "unknown: this is not a file of the table"
    facts = {"source_sha256": sha256, "licence": licence}
    for kind, state in found.networks.items():
        path = out / f"{kind}.safetensors"
        if not path.exists():
            # float16 values are copies, which need memory of the written file's size.
            values = {n: _convert(v, _becomes(v, dtype), name=n) for n, v in state.items()}
            save_tensors(values, path, metadata={"kind": kind, **facts})
    return write_manifest(
        out,
        stage="import",
        config=config,
        kind=found.kind,
        title=KINDS[found.kind].title,
        parameters={
            kind: sum(value.numel() for value in state.values())
            for kind, state in found.networks.items()
        },
        source=source.name,
        source_bytes=source.stat().st_size,
        source_files={source.name: sha256},
        sha256=sha256,
        licence=licence,
        published_at=published.url if published else "unknown",
        left_out=list(found.left_out),
    )


def get_published(
    name: str, *, out: Path, agreed: bool, settings: ImportSettings, resume: bool = False
) -> Path:
    """Download a published file and import it; files that are used as published stay as they are.

    Parameters
    ----------
    name
        A key of `mindeye2.released.published_files.PUBLISHED`.
    out
        Folder to fill.
    agreed
        The user has agreed to the download.
    settings
        Settings of the import.
    resume
        Continue a started folder.

    Returns
    -------
    Path
        The manifest, or the file that is used as published.

    Raises
    ------
    ArtifactError
        If the hub cannot be reached, the file is damaged, or the disk is too full.
    ValueError
        If there is no such name, or the user has not agreed.
    """
    file = published_file(name)
    got = fetch(file, out=out, agreed=agreed)
    if file.kind is None:
        return got
    return import_checkpoint(got, out=out, settings=settings, published=file, resume=resume)


def _becomes(value: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """Return the type that a value is written in: `dtype` holds for floating-point values only."""
    return dtype if dtype is not None and value.is_floating_point() else value.dtype


def _written_bytes(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> int:
    return sum(value.numel() * _becomes(value, dtype).itemsize for value in state.values())


def _convert(value: Tensor, dtype: torch.dtype, *, name: str) -> Tensor:
    """Convert a value, or raise a ``ValueError`` where one of its numbers would overflow."""
    if dtype.is_floating_point and dtype.itemsize < value.dtype.itemsize and value.numel():
        low, high = value.aminmax()
        largest = max(-low.item(), high.item())
        if torch.finfo(dtype).max < largest < inf:
            raise ValueError(
                f"{name} has the value {largest:g}, which does not fit into "
                f"{str(dtype).removeprefix('torch.')}. Use --set precision=float32."
            )
    return value.to(dtype)


def _check_fits(kind: str, state: Mapping[str, Tensor], settings: ImportSettings) -> None:
    """Load the network on the meta device, so that every entry is checked before writing."""
    described = {
        name: torch.empty(tuple(value.shape), dtype=value.dtype, device="meta")
        for name, value in state.items()
    }
    if kind == "unclip":
        load_unclip(described, head_channels=settings.head_channels)
    elif kind == "gnet":
        for subject in sorted({n.split(".")[1] for n in described if n.startswith("readout.")}):
            readout = entries_under(described, f"readout.{subject}.")
            load_gnet(entries_under(described, "encoder."), readout)
    elif kind in _LOADERS:
        _LOADERS[kind](described)


def _check_mindeye(described: dict[str, Tensor]) -> None:
    load_mindeye(described, subjects=name_ridges(described))


_LOADERS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "mindeye": _check_mindeye,
    "convnext_teacher": load_convnext_teacher,
    "clip_converter": load_clip_converter,
    "lowlevel_vae": load_lowlevel_vae,
}
"""Kind -> loader. OpenCLIP's tower is checked when it is used: importing needs no OpenCLIP."""
