"""Encoding model: ridge regression from image tokens to betas, with alpha cross-validated.

For each voxel the alpha whose predictions of held-out images have the smallest squared error
(Naselaris et al. 2011, NeuroImage 56:400). Tokens enter as scores on their principal components,
because a row of the published ones has 425,984 numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.models.closed_form import RidgeFit, RidgeProblem, image_folds
from mindeye2.models.moments import row_chunks
from mindeye2.stages.analyse.principal import PrincipalAxes, fit_axes
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = ["EncodingModel", "fit_encoding"]

ALPHAS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
"""L2 penalties to choose from, for features of mean variance 1."""


@dataclass(frozen=True)
class EncodingModel:
    """Predicts the betas of one subject from image tokens."""

    axes: PrincipalAxes
    """Principal components of the tokens."""

    scale: Float[Tensor, ""]
    """Divides their scores, so that the features have a mean variance of 1."""

    ridge: RidgeFit
    """Ridge from features to betas."""

    alpha: Float[Tensor, " voxels"]
    """Chosen penalty of each voxel."""

    held_out: Float[Tensor, " voxels"]
    """Correlation of predicted with measured betas over held-out training images."""

    def __call__(self, tokens: Float[Tensor, "images ..."]) -> Float[Tensor, "images voxels"]:
        """Predict betas."""
        projected = self.ridge.project(self.axes(tokens) / self.scale)
        weights = self.ridge.rotated / (self.ridge.eigenvalues[:, None] + self.alpha)
        return projected @ weights + self.ridge.y_mean


def fit_encoding(
    tokens: TargetBank,
    trials: SubjectTrials,
    *,
    n_components: int,
    n_folds: int,
    generator: torch.Generator,
    alphas: Sequence[float] = ALPHAS,
) -> EncodingModel:
    """Fit an encoding model to trials, whose presentations of an image are averaged.

    Parameters
    ----------
    tokens
        Tokens of every image of the data set.
    trials
        Training trials of one subject.
    n_components
        Principal components of the tokens that are the features; fewer where images are few.
    n_folds
        Folds over images that choose alpha.
    generator
        Samples the images of the PCA and shuffles images into folds.
    alphas
        Penalties to choose from.

    Returns
    -------
    EncodingModel
        Fitted to all trials.
    """
    averaged = trials.averaged()
    axes = fit_axes(tokens, averaged.images, n_components=n_components, generator=generator)
    features = axes.of_images(tokens, averaged.images)
    scale = features.square().mean().sqrt()
    features /= scale
    problem = RidgeProblem(features, averaged.betas)
    sums = _Sums(len(alphas), averaged.betas.shape[1])
    for held_out in image_folds(averaged.images, n_folds=n_folds, generator=generator):
        fitted = torch.ones(len(averaged), dtype=torch.bool)
        fitted[held_out] = False
        ridge = problem.fit(fitted.nonzero()[:, 0])
        for rows in row_chunks(held_out, width=averaged.betas.shape[1]):
            projected, measured = ridge.project(features[rows]), averaged.betas[rows]
            for number, alpha in enumerate(alphas):
                sums.add(number, ridge.predict_projected(projected, alpha), measured)
    best = sums.errors().argmin(dim=0)
    return EncodingModel(
        axes=axes,
        scale=scale,
        ridge=problem.fit(),
        alpha=torch.tensor(alphas)[best],
        held_out=sums.correlations().gather(0, best[None])[0].float(),
    )


class _Sums:
    """Sums over held-out images of which errors and correlations of every alpha follow."""

    def __init__(self, n_alphas: int, n_voxels: int) -> None:
        self._n = 0
        self._p, self._pp, self._py, self._y, self._yy = (
            torch.zeros(n_alphas, n_voxels, dtype=torch.float64) for _ in range(5)
        )

    def add(self, number: int, predicted: Tensor, measured: Tensor) -> None:
        p, y = predicted.double(), measured.double()
        self._n += len(p) if number == 0 else 0
        for total, value in (
            (self._p, p),
            (self._pp, p * p),
            (self._py, p * y),
            (self._y, y),
            (self._yy, y * y),
        ):
            total[number] += value.sum(dim=0)

    def errors(self) -> Tensor:
        return self._pp - 2 * self._py + self._yy

    def correlations(self) -> Tensor:
        n = self._n
        covariance = self._py - self._p * self._y / n
        spread = (self._pp - self._p**2 / n) * (self._yy - self._y**2 / n)
        # A constant prediction, or a voxel that is always 0, correlates with nothing.
        return covariance / spread.clamp_min(0).sqrt().clamp_min(1e-12)
