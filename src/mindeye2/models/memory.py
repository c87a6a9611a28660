"""What a run remembers of the training images: it calibrates retrieval and lends captions.

It travels with the run, so that a model can be used where the data set is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.core.tensors import save_tensors

__all__ = ["Memory", "load_memory", "save_memory"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Training images of one subject: what was predicted for them, and the truth."""

    images: Int[Tensor, " bank"]
    """Rows of the data set's images."""

    predicted: Float[Tensor, "bank tokens features"]
    """Backbone tokens, averaged over presentations."""

    true: Float[Tensor, "bank tokens features"]
    """Target tokens."""

    captions: Sequence[str] | None
    """One per image, where the data set has captions."""


def save_memory(folder: Path, subject: str, memory: Memory) -> None:
    """Write the memory of one subject into a run folder.

    Parameters
    ----------
    folder
        Run folder.
    subject
        Whose memory.
    memory
        The memory; tokens are stored as float16.
    """
    place = folder / "memory"
    place.mkdir(exist_ok=True)
    tensors = {
        "images": memory.images,
        "predicted": memory.predicted.half(),
        "true": memory.true.half(),
    }
    save_tensors(tensors, place / f"{subject}.safetensors")
    if memory.captions is not None:
        table = pd.DataFrame({"image": memory.images.numpy(), "caption": list(memory.captions)})
        table.to_parquet(place / f"{subject}.parquet", index=False)


def load_memory(folder: Path, subject: str) -> Memory:
    """Read the memory of one subject from a run folder.

    Parameters
    ----------
    folder
        Run folder.
    subject
        Whose memory.

    Returns
    -------
    Memory
        Tokens in float32.

    Raises
    ------
    ArtifactError
        If the run was not trained on that subject.
    """
    path = folder / "memory" / f"{subject}.safetensors"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.safetensors"))
        raise ArtifactError(f"the run {folder} was trained on {known}, not on {subject!r}.")
    tensors = load_file(path)
    captions = path.with_suffix(".parquet")
    return Memory(
        images=tensors["images"],
        predicted=tensors["predicted"].to(torch.float32),
        true=tensors["true"].to(torch.float32),
        captions=list(pd.read_parquet(captions)["caption"]) if captions.exists() else None,
    )
