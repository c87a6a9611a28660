"""Ridge regression in closed form, with the penalty chosen by identification.

A penalty chosen by squared error shrinks too much: it explains more variance and tells pictures
apart worse. So every choice here is made by how well held-back pictures are identified.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__ = [
    "PENALTIES",
    "RidgeFit",
    "choose_penalty",
    "fit_ridge",
    "identification_score",
    "image_folds",
    "mean_by_image",
    "principal_axes",
]

PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""Penalties to choose from, for z-scored voxels."""


@dataclass(frozen=True)
class RidgeFit:
    """Everything that ridge solutions of one problem share, whatever the penalty.

    With betas X (centred), targets Y (centred), and eigenvalues L and eigenvectors U of XX', the
    weights of penalty a are X'U (L + a)^-1 U'Y: one decomposition serves all penalties.
    """

    X: Float[Tensor, "trials voxels"]
    """Centred betas."""

    x_mean: Float[Tensor, " voxels"]
    """What was taken from the betas."""

    y_mean: Float[Tensor, " features"]
    """What was taken from the targets."""

    eigenvalues: Float[Tensor, " trials"]
    """Of XX', at least 0."""

    vectors: Float[Tensor, "trials trials"]
    """Of XX', in columns."""

    rotated: Float[Tensor, "trials features"]
    """U'Y."""

    def weights(
        self, penalty: float
    ) -> tuple[Float[Tensor, "voxels features"], Float[Tensor, " features"]]:
        """Return the weights and the bias of one penalty.

        Parameters
        ----------
        penalty
            Greater than 0.

        Returns
        -------
        tuple
            Weights and bias: predictions are ``betas @ weights + bias``.
        """
        dual = self.vectors @ (self.rotated / (self.eigenvalues + penalty)[:, None])
        weights = self.X.T @ dual
        return weights, self.y_mean - self.x_mean @ weights

    def predict(
        self, betas: Float[Tensor, "batch voxels"], penalty: float
    ) -> Float[Tensor, "batch features"]:
        """Predict without forming the weights.

        Parameters
        ----------
        betas
            Betas of the same voxels.
        penalty
            Greater than 0.

        Returns
        -------
        Tensor
            Predicted targets.
        """
        kernel = (betas - self.x_mean) @ self.X.T @ self.vectors
        return kernel @ (self.rotated / (self.eigenvalues + penalty)[:, None]) + self.y_mean


def fit_ridge(
    betas: Float[Tensor, "trials voxels"], targets: Float[Tensor, "trials features"]
) -> RidgeFit:
    """Decompose a ridge problem once for all penalties.

    Minimises ``|XW + b - Y|^2 + a |W|^2`` with an unpenalised bias b. Costs ``trials ** 3``.

    Parameters
    ----------
    betas
        One row per trial.
    targets
        One row per trial.

    Returns
    -------
    RidgeFit
        Solutions for every penalty.
    """
    x_mean, y_mean = betas.mean(dim=0), targets.mean(dim=0)
    X = betas - x_mean
    eigenvalues, vectors = torch.linalg.eigh(X @ X.T)
    return RidgeFit(
        X=X,
        x_mean=x_mean,
        y_mean=y_mean,
        eigenvalues=eigenvalues.clamp_min(0),
        vectors=vectors,
        rotated=vectors.T @ (targets - y_mean),
    )


def mean_by_image(
    values: Float[Tensor, "trials features"], images: Int[Tensor, " trials"]
) -> tuple[Float[Tensor, "images features"], Int[Tensor, " images"]]:
    """Average trials that show the same image.

    Parameters
    ----------
    values
        One row per trial.
    images
        Image of each trial.

    Returns
    -------
    tuple
        Means, and the image of each, ascending.
    """
    distinct, place, counts = images.unique(return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(distinct), values.shape[1]).index_add_(0, place, values)
    return sums / counts[:, None], distinct


def identification_score(
    predicted: Float[Tensor, "images features"], true: Float[Tensor, "images features"]
) -> float:
    """Mean reciprocal rank of the true image among all, by centred cosine.

    Smoother than top-1 accuracy and not saturated as two-way identification is, so it can choose
    settings on few images. Ties take the middle of the places they share.

    Parameters
    ----------
    predicted
        Predicted features.
    true
        True features, in the same order.

    Returns
    -------
    float
        In (0, 1].
    """
    predicted = F.normalize(predicted - predicted.mean(dim=0), dim=1)
    similarity = predicted @ F.normalize(true - true.mean(dim=0), dim=1).T
    own = similarity.diagonal()[:, None]
    # Ties share their places, or predictions that are all alike would be perfect.
    rank = (similarity > own).sum(dim=1) + ((similarity == own).sum(dim=1) + 1) / 2
    return float((1 / rank).mean())


def image_folds(
    images: Int[Tensor, " trials"], *, n_folds: int, generator: torch.Generator
) -> list[Int[Tensor, " batch"]]:
    """Split trials into folds that share no image.

    Parameters
    ----------
    images
        Image of each trial.
    n_folds
        At least 2.
    generator
        Shuffles the images.

    Returns
    -------
    list of Tensor
        Rows of each fold.

    Raises
    ------
    ValueError
        If there are fewer distinct images than folds.
    """
    distinct, place = images.unique(return_inverse=True)
    if n_folds < 2 or len(distinct) < n_folds:
        raise ValueError(
            f"cannot split {len(distinct)} distinct images into {n_folds} folds; "
            "at least 2 folds and one image a fold are needed."
        )
    fold = torch.randperm(len(distinct), generator=generator) % n_folds
    return [(fold[place] == f).nonzero()[:, 0] for f in range(n_folds)]


def choose_penalty(
    betas: Float[Tensor, "trials voxels"],
    targets: Float[Tensor, "trials features"],
    images: Int[Tensor, " trials"],
    *,
    generator: torch.Generator,
    n_folds: int = 5,
    penalties: Sequence[float] = PENALTIES,
    read_out: Callable[[Tensor], Tensor] | None = None,
    truth: Float[Tensor, "trials codes"] | None = None,
) -> tuple[float, dict[float, float]]:
    """Choose the penalty that identifies held-back images best.

    Parameters
    ----------
    betas
        Training trials.
    targets
        What the ridge predicts.
    images
        Image of each trial; no image is both fitted and held back.
    generator
        Draws the folds.
    n_folds
        Folds over images.
    penalties
        Penalties to choose from.
    read_out
        Applied to predictions before they are compared, e.g. a frozen body; nothing by default.
    truth
        What to compare with, if not `targets`.

    Returns
    -------
    tuple
        The penalty, and the mean score of every penalty.
    """
    truth = targets if truth is None else truth
    scores = dict.fromkeys(penalties, 0.0)
    for held in image_folds(images, n_folds=n_folds, generator=generator):
        kept = torch.ones(len(images), dtype=torch.bool)
        kept[held] = False
        fit = fit_ridge(betas[kept], targets[kept])
        shown, _ = mean_by_image(truth[held], images[held])
        for penalty in penalties:
            predicted = fit.predict(betas[held], penalty)
            predicted = read_out(predicted) if read_out else predicted
            averaged, _ = mean_by_image(predicted, images[held])
            scores[penalty] += identification_score(averaged, shown) / n_folds
    return max(scores, key=lambda p: scores[p]), scores


def principal_axes(
    values: Float[Tensor, "images features"], *, n_codes: int
) -> tuple[Float[Tensor, "features codes"], Float[Tensor, " features"]]:
    """Return the leading principal axes of a bank of target tokens.

    Parameters
    ----------
    values
        One flattened row per image.
    n_codes
        Axes to keep, at most the number of images less one.

    Returns
    -------
    tuple
        Orthonormal axes in columns, and the mean.

    Raises
    ------
    ValueError
        If there are too few images.
    """
    if n_codes > len(values) - 1:
        raise ValueError(
            f"{n_codes} principal axes need at least {n_codes + 1} images, got {len(values)}. "
            "Lower model.n_latent, or give more training images."
        )
    mean = values.mean(dim=0)
    centred = values - mean
    # Through the smaller side: images are fewer than token numbers.
    eigenvalues, vectors = torch.linalg.eigh(centred @ centred.T)
    top = vectors.flip(1)[:, :n_codes]
    scale = eigenvalues.flip(0)[:n_codes].clamp_min(1e-12).sqrt()
    return centred.T @ top / scale, mean
