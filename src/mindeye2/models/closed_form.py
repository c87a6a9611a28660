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
    "LARGEST_EIGH",
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


LARGEST_EIGH = 32_766
"""Rows of the largest matrix that LAPACK decomposes: above, the size of its workspace overflows an
integer of 32 bits, and the process is killed without a message."""


@dataclass(frozen=True)
class RidgeFit:
    """Everything that the ridge solutions of one problem share, whatever the penalty.

    With betas X and targets Y, both centred, the weights of penalty a are B (L + a)^-1 R. Where
    trials are fewer than voxels, L and U are eigenvalues and eigenvectors of XX', B = X'U and
    R = U'Y; otherwise L and V are those of X'X, B = V and R = V'X'Y. One decomposition serves all
    penalties.
    """

    x_mean: Float[Tensor, " voxels"]
    """Mean of the betas."""

    y_mean: Float[Tensor, " features"]
    """Mean of the targets."""

    eigenvalues: Float[Tensor, " components"]
    """Of XX' or X'X, at least 0."""

    basis: Float[Tensor, "voxels components"]
    """B."""

    rotated: Float[Tensor, "components features"]
    """R."""

    def weights(
        self, penalty: float
    ) -> tuple[Float[Tensor, "voxels features"], Float[Tensor, " features"]]:
        """Return weights and bias of one penalty above 0."""
        weights = self.basis @ (self.rotated / (self.eigenvalues + penalty)[:, None])
        return weights, self.y_mean - self.x_mean @ weights

    def predict(
        self, betas: Float[Tensor, "batch voxels"], penalty: float
    ) -> Float[Tensor, "batch features"]:
        """Predict targets with one penalty above 0, without forming the weights."""
        scores = (betas - self.x_mean) @ self.basis
        return scores @ (self.rotated / (self.eigenvalues + penalty)[:, None]) + self.y_mean


def fit_ridge(
    betas: Float[Tensor, "trials voxels"], targets: Float[Tensor, "trials features"]
) -> RidgeFit:
    """Decompose a ridge problem once for all penalties.

    Minimises ``|XW + b - Y|^2 + a |W|^2`` with an unpenalised bias b. Costs the third power of the
    trials or of the voxels, whichever are fewer.

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

    Raises
    ------
    ValueError
        If both trials and voxels are more than `LARGEST_EIGH`.
    """
    x_mean, y_mean = betas.mean(dim=0), targets.mean(dim=0)
    X, Y = betas - x_mean, targets - y_mean
    problem = f"ridge regression with {len(X)} trials and {X.shape[1]} voxels"
    if len(X) <= X.shape[1]:
        eigenvalues, vectors = _decompose(X @ X.T, problem)
        basis, rotated = X.T @ vectors, vectors.T @ Y
    else:
        eigenvalues, basis = _decompose(X.T @ X, problem)
        rotated = basis.T @ (X.T @ Y)
    return RidgeFit(
        x_mean=x_mean, y_mean=y_mean, eigenvalues=eigenvalues, basis=basis, rotated=rotated
    )


def _decompose(gram: Tensor, problem: str) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (ascending, at least 0) and eigenvectors, unless LAPACK would abort."""
    if len(gram) > LARGEST_EIGH:
        raise ValueError(
            f"{problem} needs the eigenvectors of a matrix of {len(gram)} rows; LAPACK decomposes "
            f"at most {LARGEST_EIGH}. Use fewer trials (n_trials, sessions) or images, or fewer "
            "voxels."
        )
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.clamp_min(0), vectors


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
    if n_codes > min(len(values) - 1, values.shape[1]):
        raise ValueError(
            f"{n_codes} principal axes need at least {n_codes + 1} images, got {len(values)}, and "
            f"as many numbers an image, got {values.shape[1]}. Lower model.n_latent, or give more "
            "training images."
        )
    mean = values.mean(dim=0)
    centred = values - mean
    problem = f"the principal axes of {len(values)} images"
    if len(values) <= values.shape[1]:
        eigenvalues, vectors = _decompose(centred @ centred.T, problem)
        top = vectors.flip(1)[:, :n_codes]
        scale = eigenvalues.flip(0)[:n_codes].clamp_min(1e-12).sqrt()
        return centred.T @ top / scale, mean
    _, vectors = _decompose(centred.T @ centred, problem)
    return vectors.flip(1)[:, :n_codes], mean
