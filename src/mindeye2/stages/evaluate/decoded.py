"""One folder of reconstructions with the data set that it decodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.tensors import read_tensor, tensor_names
from mindeye2.data.prepared import Prepared
from mindeye2.encoders.bank import to_float
from mindeye2.metrics.catalogue import image_files
from mindeye2.metrics.noise_ceiling import NoiseCeiling
from mindeye2.metrics.protocols import Protocol
from mindeye2.metrics.stats import Interval
from mindeye2.stages.evaluate.evaluate_settings import EvaluateSettings

__all__ = ["SIDE", "Decoded", "Job", "Scores", "resize"]

SIDE = 256
"""Side of the images that the published evaluation compares."""


@dataclass(frozen=True)
class Decoded:
    """Reconstructions and their data set; arrays stay on disk until they are used."""

    folder: Path
    """Folder that ``reconstruct`` or ``import`` finished."""

    prepared: Prepared
    """Data set."""

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """Manifest of the folder."""
        return read_manifest(self.folder, stage="reconstruct")

    @cached_property
    def items(self) -> pd.DataFrame:
        """One row per test image."""
        return pd.read_parquet(self.folder / "items.parquet")

    @property
    def images(self) -> list[int]:
        """Test images, as rows of the data set's."""
        images: list[int] = self.items["image"].tolist()
        return images

    @property
    def files(self) -> dict[str, Path]:
        """Files of images by kind."""
        return image_files(self.folder)

    @cached_property
    def token_names(self) -> set[str]:
        """Names of the tokens; outputs of the released notebooks may have none."""
        return tensor_names(self.folder / "tokens.safetensors")

    def tokens(self, name: str) -> Tensor:
        """Read the tokens of one name as float32; refuse NaN, and rows of other images."""
        path = self.folder / "tokens.safetensors"
        values = read_tensor(path, name)
        if not name.startswith(("training_", "trial_")) and len(values) != len(self.items):
            raise ArtifactError(
                f"{path} has {len(values)} rows of {name!r}, but items.parquet beside it lists "
                f"{len(self.items)} images. Reconstruct again."
            )
        bad = ~torch.isfinite(values).flatten(1).all(dim=1)
        if bad.any():
            raise ArtifactError(
                f"{path} holds NaN or infinite values in {int(bad.sum())} of {len(values)} rows "
                f"of {name!r}, the first in row {int(bad.nonzero()[0])}: the decoder diverged, or "
                "betas hold such values. Look at the last losses in steps.jsonl of its run."
            )
        return values.float()

    def whitened(self, name: str) -> Tensor:
        """Read what is compared of decoded or expected tokens: all of them without a whitening."""
        found = f"{name}_whitened"
        return self.tokens(found if found in self.token_names else name)

    def batch(
        self, name: str, rows: slice, *, side: int | None = SIDE, antialias: bool = False
    ) -> Float[Tensor, "batch rgb height width"]:
        """Read RGB images of one kind, or the stimuli under ``"seen"``, resized to a side."""
        if name == "seen":
            images = to_float(self.prepared.images[self.images[rows]])
        else:
            images = to_float(np.load(self.files[name], mmap_mode="r")[rows])
        return images if side is None else resize(images, (side, side), antialias=antialias)

    def batches(
        self, name: str, *, size: int, antialias: bool = False
    ) -> Iterator[Float[Tensor, "batch rgb height width"]]:
        """Yield RGB images of one kind at 256 pixels, or the stimuli under ``"seen"``."""
        for start in range(0, len(self.images), size):
            yield self.batch(name, slice(start, start + size), antialias=antialias)


@dataclass(frozen=True)
class Job:
    """What every group of scores needs."""

    decoded: Decoded
    """Reconstructions."""
    protocol: Protocol
    """Protocol."""
    settings: EvaluateSettings
    """Settings."""
    device: torch.device
    """Where networks compute."""
    state: Path
    """Folder of what an interrupted evaluation keeps."""


@dataclass(frozen=True)
class Scores:
    """Scores of one group, and what is missing for the others."""

    values: dict[str, Float[Tensor, " images"]] = field(default_factory=dict)
    """One score per image by the metric's name."""
    missing: list[str] = field(default_factory=list)
    """One sentence for each score that is left out: what it needs and how to get it."""
    chances: dict[str, float] = field(default_factory=dict)
    """Chance levels that depend on the data."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Intervals of scores that are not bootstrapped over images."""
    noise_ceilings: dict[str, NoiseCeiling] = field(default_factory=dict)
    """Bounds of what measurements as noisy as these allow, where there are repeats."""


def resize(
    images: Float[Tensor, "batch rgb height width"], size: tuple[int, ...], *, antialias: bool
) -> Float[Tensor, "batch rgb height2 width2"]:
    """Resize bilinearly."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=antialias)
