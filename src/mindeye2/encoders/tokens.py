"""Target tokens at laptop size: EfficientNet-Lite0 features on a 7 x 7 grid.

OpenCLIP bigG gives 256 tokens of 1664 features at full size; these are 49 of 128. Early blocks
carry colour and layout, late ones objects. The maps of each block are pooled to 2 x 2 positions
per grid cell, projected onto PCA components that were fitted to training scenes, and z-scored.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from mindeye2.core.errors import ArtifactError
from mindeye2.core.tensors import save_tensors
from mindeye2.encoders.efficientnet import LiteFeatures

__all__ = ["Lite0Tokens", "TokenProjection", "cells"]

GRID = 7
"""Tokens along each side of an image."""


def cells(
    maps: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch tokens features"]:
    """Pool feature maps to the token grid, one vector per cell, row by row.

    Maps finer than the grid are averaged down to at most 2 x 2 positions per cell, which are
    concatenated, so that a token holds more than its cell's mean. Sides of maps are multiples of
    the grid's.
    """
    inner = min(2, maps.shape[-1] // GRID)
    pooled = F.adaptive_avg_pool2d(maps, GRID * inner)
    return F.pixel_unshuffle(pooled, inner).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class TokenProjection:
    """PCA of each block's cells, and the z-scoring of its scores."""

    blocks: tuple[int, ...]
    """Blocks of Lite0, in the order of their features in a token."""

    # Blocks differ in width: no axis word names it.
    shift: Mapping[int, Float[Tensor, " _"]]
    """Mean cell of each block."""

    components: Mapping[int, Float[Tensor, "_ _"]]
    """PCA components of each block, one per column."""

    mean: Float[Tensor, "tokens features"]
    """Mean of each token feature over the training scenes."""

    std: Float[Tensor, "tokens features"]
    """Standard deviation of each token feature over the training scenes."""

    def __call__(
        self, maps: Sequence[Float[Tensor, "batch _ _ _"]]
    ) -> Float[Tensor, "batch tokens features"]:
        """Project the maps of `blocks` to z-scored tokens."""
        parts = [
            (cells(m) - self.shift[b].to(m.device)) @ self.components[b].to(m.device)
            for b, m in zip(self.blocks, maps, strict=True)
        ]
        tokens = torch.cat(parts, dim=2)
        return (tokens - self.mean.to(tokens)) / self.std.to(tokens)

    def save(self, path: Path) -> None:
        """Write the projection as safetensors."""
        tensors = {"mean": self.mean, "std": self.std}
        for block in self.blocks:
            tensors[f"{block}.shift"] = self.shift[block]
            tensors[f"{block}.axes"] = self.components[block]
        save_tensors(tensors, path, metadata={"blocks": ",".join(map(str, self.blocks))})

    @classmethod
    def load(cls, path: Path) -> "TokenProjection":
        """Read a projection that `save` wrote."""
        if not path.exists():
            raise ArtifactError(
                f"the token projection {path} is missing. Install the package again."
            )
        tensors = load_file(path)
        with safe_open(path, framework="pt") as stored:
            blocks = tuple(int(block) for block in stored.metadata()["blocks"].split(","))
        return cls(
            blocks=blocks,
            shift={b: tensors[f"{b}.shift"] for b in blocks},
            components={b: tensors[f"{b}.axes"] for b in blocks},
            mean=tensors["mean"],
            std=tensors["std"],
        )


class Lite0Tokens(nn.Module):
    """EfficientNet-Lite0 tokens, an `ImageEncoder`.

    Parameters
    ----------
    projection
        Maps block outputs to tokens; the shipped projection by default.

    Attributes
    ----------
    name
        ``"lite0"``.
    key
        Hash of the projection.
    """

    name = "lite0"

    def __init__(self, projection: TokenProjection | None = None) -> None:
        super().__init__()
        if projection is None:
            path = resources.files("mindeye2") / "assets" / "encoder" / "tokens.safetensors"
            projection = TokenProjection.load(Path(str(path)))
        self.projection = projection
        self.network = LiteFeatures(0)
        digest = hashlib.sha256()
        per_block = (projection.shift, projection.components)
        arrays = [a[b] for b in projection.blocks for a in per_block]
        for array in (projection.mean, projection.std, *arrays):
            digest.update(array.contiguous().numpy().tobytes())
        self.key = f"lite0-224-{digest.hexdigest()[:16]}"

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode RGB images in [0, 1] to tokens, z-scored over the training scenes."""
        return self.projection(self.network.blocks_at(images, self.projection.blocks))
