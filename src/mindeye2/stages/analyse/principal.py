"""Principal components of target tokens: the axes on which analyses compare tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.models.moments import row_chunks
from mindeye2.models.pca import pca_components
from mindeye2.training.trials import TargetBank

__all__ = ["PrincipalAxes", "fit_axes"]

_IMAGES = 5000
"""Images, at random, that principal components are computed from."""


@dataclass(frozen=True)
class PrincipalAxes:
    """Mean and leading principal components of the targets of training images."""

    mean: Float[Tensor, " features"]
    """Mean of the targets."""

    components: Float[Tensor, "features components"]
    """Orthonormal, largest variance first."""

    def __call__(self, values: Float[Tensor, "images ..."]) -> Float[Tensor, "images components"]:
        """Return the scores of targets, or of predictions of them."""
        return (values.flatten(1) - self.mean) @ self.components

    def of_images(
        self, bank: TargetBank, images: Int[Tensor, " images"]
    ) -> Float[Tensor, "images components"]:
        """Return the scores of the targets of some images, read in chunks."""
        chunks = row_chunks(images, width=len(self.mean))
        return torch.cat([self(bank[chunk]) for chunk in chunks])


def fit_axes(
    bank: TargetBank,
    images: Int[Tensor, " images"],
    *,
    n_components: int,
    generator: torch.Generator,
) -> PrincipalAxes:
    """Compute the leading components of training images; fewer where images are few."""
    order = torch.randperm(len(images), generator=generator)
    chosen = images[order[:_IMAGES].sort().values]
    flat = bank.flat
    n_components = min(n_components, len(chosen) - 1, flat.shape[1])
    components, mean = pca_components(flat, n_components=n_components, rows=chosen)
    return PrincipalAxes(mean, components)
