"""The training bank: predicted and target tokens of a subject's training images.

It calibrates retrieval (CSLS) and supplies captions. It is stored in the run folder, so that a
model can be used without the data set.
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

__all__ = ["TrainingBank", "load_training_bank", "save_training_bank"]


@dataclass(frozen=True, kw_only=True)
class TrainingBank:
    """Training images of one subject, with predicted and target tokens."""

    images: Int[Tensor, " bank"]
    """Image indices in the data set."""

    preds: Float[Tensor, "bank tokens features"]
    """Backbone tokens, averaged over repeats."""

    targets: Float[Tensor, "bank tokens features"]
    """True tokens."""

    captions: Sequence[str] | None
    """One per image, or None for a data set without captions."""


def save_training_bank(folder: Path, subject: str, bank: TrainingBank) -> None:
    """Write the training bank of one subject into a run folder, tokens as float16."""
    path = folder / "memory" / f"{subject}.safetensors"
    path.parent.mkdir(exist_ok=True)
    tensors = {
        "images": bank.images,
        "predicted": bank.preds.half(),
        "true": bank.targets.half(),
    }
    save_tensors(tensors, path)
    if bank.captions is not None:
        table = pd.DataFrame({"image": bank.images.numpy(), "caption": list(bank.captions)})
        table.to_parquet(path.with_suffix(".parquet"), index=False)


def load_training_bank(folder: Path, subject: str) -> TrainingBank:
    """Read the training bank of one subject as float32; ArtifactError if the run has none."""
    path = folder / "memory" / f"{subject}.safetensors"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.safetensors"))
        raise ArtifactError(f"the run {folder} was trained on {known}, not on {subject!r}.")
    tensors = load_file(path)
    captions = path.with_suffix(".parquet")
    return TrainingBank(
        images=tensors["images"],
        preds=tensors["predicted"].to(torch.float32),
        targets=tensors["true"].to(torch.float32),
        captions=list(pd.read_parquet(captions)["caption"]) if captions.exists() else None,
    )
