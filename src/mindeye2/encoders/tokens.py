"""Target tokens of the laptop-size pipeline: EfficientNet-Lite0 seen on a 7 x 7 grid.

Where OpenCLIP bigG gives 256 tokens of 1664 numbers at full size, these are 49 of 128. Which
blocks they come from decides what they carry: early blocks colour and layout, late ones meaning.
Each block's maps are brought to the grid without averaging away what lies inside a cell, projected
onto the principal components that the training scenes gave, and z-scored.
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

__all__ = ["GRID", "Lite0Tokens", "TokenProjection", "cells", "fit_projection", "load_projection"]

GRID = 7
"""Tokens along each side of a picture."""


def cells(
    maps: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch tokens features"]:
    """Bring feature maps to the token grid, one vector per cell.

    Maps finer than the grid are averaged down to at most 2 x 2 places a cell, which are laid side
    by side: a token knows more than its cell's mean.

    Parameters
    ----------
    maps
        Feature maps; sides are multiples of the grid's.

    Returns
    -------
    Tensor
        Row by row.
    """
    inner = min(2, maps.shape[-1] // GRID)
    pooled = F.adaptive_avg_pool2d(maps, GRID * inner)
    return F.pixel_unshuffle(pooled, inner).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class TokenProjection:
    """Principal components of each block's cells, and the scale of what they give."""

    blocks: tuple[int, ...]
    """Blocks of Lite0, in the order of the token's parts."""

    # Blocks differ in width: no word could name it.
    shift: Mapping[int, Float[Tensor, " _"]]
    """Mean cell of each block."""

    axes: Mapping[int, Float[Tensor, "_ _"]]
    """Principal axes of each block."""

    mean: Float[Tensor, "tokens features"]
    """Mean of each token number over the training scenes."""

    std: Float[Tensor, "tokens features"]
    """Standard deviation of each token number over the training scenes."""

    def __call__(
        self, maps: Sequence[Float[Tensor, "batch _ _ _"]]
    ) -> Float[Tensor, "batch tokens features"]:
        """Project the blocks' maps to z-scored tokens.

        Parameters
        ----------
        maps
            One per block.

        Returns
        -------
        Tensor
            Tokens.
        """
        parts = [
            (cells(m) - self.shift[b]) @ self.axes[b]
            for b, m in zip(self.blocks, maps, strict=True)
        ]
        return (torch.cat(parts, dim=2) - self.mean) / self.std

    def save(self, path: Path) -> None:
        """Write the projection as safetensors.

        Parameters
        ----------
        path
            The file.
        """
        tensors = {"mean": self.mean, "std": self.std}
        for block in self.blocks:
            tensors[f"{block}.shift"] = self.shift[block]
            tensors[f"{block}.axes"] = self.axes[block]
        save_tensors(tensors, path, metadata={"blocks": ",".join(map(str, self.blocks))})


def fit_projection(
    seen: Mapping[int, Float[Tensor, "images tokens features"]],
    *,
    n_components: Mapping[int, int],
) -> TokenProjection:
    """Fit a projection to training images.

    Parameters
    ----------
    seen
        What `cells` gives of each block's maps, of the same images.
    n_components
        Principal components to keep of each block.

    Returns
    -------
    TokenProjection
        Tokens of ``sum(n_components)`` numbers.
    """
    shift, axes, parts = {}, {}, []
    for block, kept in n_components.items():
        flat = seen[block].flatten(0, 1).double()
        shift[block] = flat.mean(dim=0).float()
        _, vectors = torch.linalg.eigh(torch.cov(flat.T))
        axes[block] = vectors.flip(1)[:, :kept].float()
        parts.append((seen[block] - shift[block]) @ axes[block])
    tokens = torch.cat(parts, dim=2)
    return TokenProjection(
        blocks=tuple(n_components),
        shift=shift,
        axes=axes,
        mean=tokens.mean(dim=0),
        std=tokens.std(dim=0).clamp_min(1e-6),
    )


def load_projection(path: Path) -> TokenProjection:
    """Read a projection that `TokenProjection.save` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    TokenProjection
        The projection.

    Raises
    ------
    ArtifactError
        If the file is missing.
    """
    if not path.exists():
        raise ArtifactError(f"the token projection {path} is missing. Install the package again.")
    tensors = load_file(path)
    with safe_open(path, framework="pt") as stored:
        blocks = tuple(int(block) for block in stored.metadata()["blocks"].split(","))
    return TokenProjection(
        blocks=blocks,
        shift={b: tensors[f"{b}.shift"] for b in blocks},
        axes={b: tensors[f"{b}.axes"] for b in blocks},
        mean=tensors["mean"],
        std=tensors["std"],
    )


class Lite0Tokens(nn.Module):
    """EfficientNet-Lite0 tokens, an `ImageEncoder`.

    Parameters
    ----------
    projection
        How block outputs become tokens; the shipped one by default.

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
            projection = load_projection(Path(str(path)))
        self.projection = projection
        self.network = LiteFeatures(0)
        digest = hashlib.sha256()
        for part in (
            projection.mean,
            projection.std,
            *(
                given[b]
                for b in projection.blocks
                for given in (projection.shift, projection.axes)
            ),
        ):
            digest.update(part.contiguous().numpy().tobytes())
        self.key = f"lite0-224-{digest.hexdigest()[:16]}"

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode pictures.

        Parameters
        ----------
        images
            RGB in [0, 1].

        Returns
        -------
        Tensor
            Tokens, z-scored over the training scenes.
        """
        return self.projection(self.network.blocks_at(images, self.projection.blocks))
