"""DeepSpeed ZeRO checkpoints: float32 weights in flat shards, one file per process.

Stages 1 and 2 lay the parameters of a group end to end and cut the row into one part per process,
so that a parameter may lie in two files. Stage 3 cuts every parameter into as many parts as there
are processes. Frozen parameters and buffers stand in the model's own file.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.released.pieces import Pieces

__all__ = ["is_zero_folder", "read_zero"]

_SHARDS = "*_optim_states.pt"
_MODEL = "*model_states.pt"


def is_zero_folder(folder: Path) -> bool:
    """Return whether a folder, or the one that its ``latest`` file names, is a ZeRO checkpoint.

    Parameters
    ----------
    folder
        The folder.

    Returns
    -------
    bool
        True where shards are found.
    """
    return any(_inner(folder).glob(_SHARDS))


def read_zero(
    folder: Path, *, read: Callable[[Path], Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Tensor | Pieces]], tuple[Path, ...]]:
    """Find every parameter in the shards, without copying any.

    Parameters
    ----------
    folder
        What was given as DeepSpeed's checkpoint folder, or the folder of one tag in it.
    read
        Reads one file.

    Returns
    -------
    tuple
        ``{"model_state_dict": ...}`` in float32, and the files.

    Raises
    ------
    ArtifactError
        If shards are missing, or do not hold what the model's file declares.
    """
    inner = _inner(folder)
    shards = sorted(inner.glob(_SHARDS), key=_rank)
    models = sorted(inner.glob(_MODEL), key=_rank)
    if not models:
        raise ArtifactError(
            f"{inner} has shards but no 'mp_rank_00_model_states.pt', which names the parameters."
        )
    model = read(models[0])
    parts = [read(shard)["optimizer_state_dict"] for shard in shards]
    declared = parts[0]["partition_count"]
    count = max(declared) if isinstance(declared, list | tuple) else int(declared)
    if len(parts) != count:
        raise ArtifactError(
            f"{inner} has {len(parts)} shards, but {count} processes wrote it. "
            f"Get the missing '{_SHARDS}' files."
        )
    groups = model["param_shapes"]
    groups = groups if isinstance(groups, list | tuple) else [groups]
    if int(parts[0].get("zero_stage", 2)) < 3:
        found = _merge_rows(groups, [p["single_partition_of_fp32_groups"] for p in parts])
    else:
        found = _merge_slices(groups, [p["fp32_flat_groups"] for p in parts])
    state: dict[str, Tensor | Pieces] = dict(found)
    module = model["module"]
    kept = [*model.get("buffer_names", ()), *(model.get("frozen_param_shapes") or ())]
    state |= {name: module[name] for name in kept if name in module}
    shared = model.get("shared_params") or {}
    pairs = shared.items() if isinstance(shared, Mapping) else shared
    state |= {alias: state[name] for alias, name in pairs if name in state}
    return {"model_state_dict": state}, (models[0], *shards)


def _merge_rows(
    groups: Sequence[Mapping[str, Any]], ranks: Sequence[Sequence[Tensor]]
) -> Iterator[tuple[str, Pieces]]:
    """Stages 1 and 2: each group is one row over all processes."""
    for i, shapes in enumerate(groups):
        row = [rank[i] for rank in ranks]
        start = 0
        for name, shape in shapes.items():
            stop = start + math.prod(shape)
            yield name, Pieces(tuple(shape), list(_cut(row, start, stop, name=name)))
            start = stop


def _merge_slices(
    groups: Sequence[Mapping[str, Any]], ranks: Sequence[Sequence[Tensor]]
) -> Iterator[tuple[str, Pieces]]:
    """Stage 3: each parameter is cut over all processes; a process has its slices end to end."""
    start = 0
    for shapes in groups:
        for name, shape in shapes.items():
            size = math.prod(shape)
            each = math.ceil(size / len(ranks))
            slices = [
                part for flats in ranks for part in _cut(flats, start, start + each, name=name)
            ]
            yield name, Pieces(tuple(shape), list(_cut(slices, 0, size, name=name)))
            start += each


def _cut(row: Sequence[Tensor], start: int, stop: int, *, name: str) -> Iterator[Tensor]:
    """Yield what lies between two places of tensors laid end to end."""
    place = 0
    for part in row:
        first, last = max(start, place), min(stop, place + part.numel())
        if first < last or (start == stop and not place):
            yield part.reshape(-1)[first - place : max(last, first) - place]
        place += part.numel()
    if place < stop:
        raise ArtifactError(
            f"the shards end at number {place:,}, before {name} ({stop:,}). A shard is truncated "
            "or from another checkpoint."
        )


def _inner(folder: Path) -> Path:
    latest = folder / "latest"
    named = folder / latest.read_text().strip() if latest.is_file() else folder / "last"
    return named if named.is_dir() and not any(folder.glob(_SHARDS)) else folder


def _rank(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.name))
