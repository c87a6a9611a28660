"""Ridge regression in closed form, with alpha chosen by identification of held-out images.

Alpha chosen by squared error shrinks too much: it explains more variance and identifies fewer
images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

__all__ = [
    "ALPHAS",
    "RidgeFit",
    "choose_alpha",
    "fit_ridge",
    "image_folds",
    "mean_by_image",
    "mean_reciprocal_rank",
    "pca_components",
]

ALPHAS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""L2 penalties to choose from, for z-scored voxels."""

LARGEST_EIGH = 32_766
"""Rows of the largest matrix that LAPACK decomposes: above, the size of its workspace overflows an
integer of 32 bits, and the process is killed without a message."""


@dataclass(frozen=True)
class RidgeFit:
    """Ridge solutions of one problem for every alpha, from one eigendecomposition.

    With betas X and targets Y, both centred, the weights are B (L + alpha)^-1 R. Where trials are
    fewer than voxels, L and U are eigenvalues and eigenvectors of XX', B = X'U and R = U'Y;
    otherwise L and V are those of X'X, B = V and R = V'X'Y.
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
        self, alpha: float
    ) -> tuple[Float[Tensor, "voxels features"], Float[Tensor, " features"]]:
        """Return the weights and the bias for one alpha above 0."""
        weights = self.basis @ (self.rotated / (self.eigenvalues + alpha)[:, None])
        return weights, self.y_mean - self.x_mean @ weights

    def predict(
        self, betas: Float[Tensor, "batch voxels"], alpha: float
    ) -> Float[Tensor, "batch features"]:
        """Predict targets for one alpha above 0, without forming the weights."""
        scores = (betas - self.x_mean) @ self.basis
        return scores @ (self.rotated / (self.eigenvalues + alpha)[:, None]) + self.y_mean


def fit_ridge(
    betas: Float[Tensor, "trials voxels"], targets: Float[Tensor, "trials features"]
) -> RidgeFit:
    """Decompose a ridge problem once for all alphas.

    Minimises ``|XW + b - Y|^2 + alpha |W|^2`` with an unpenalised bias b. Costs the third power of
    the number of trials or of voxels, whichever is smaller; ValueError if both are above
    `LARGEST_EIGH`.
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
    """Return eigenvalues (ascending, at least 0) and eigenvectors of a Gram matrix."""
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
    """Average trials that show the same image; return means and distinct images, ascending."""
    distinct, row, counts = images.unique(return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(distinct), values.shape[1]).index_add_(0, row, values)
    return sums / counts[:, None], distinct


def mean_reciprocal_rank(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "images features"]
) -> float:
    """Return the mean reciprocal rank of each image's target among all, by centred cosine.

    Smoother than top-1 accuracy and less easily saturated than two-way identification, so it can
    choose settings on few images. Ties share the mean of their ranks.
    """
    preds = F.normalize(preds - preds.mean(dim=0), dim=1)
    similarity = preds @ F.normalize(targets - targets.mean(dim=0), dim=1).T
    own = similarity.diagonal()[:, None]
    # Without the mean over ties, constant predictions would score 1.
    rank = (similarity > own).sum(dim=1) + ((similarity == own).sum(dim=1) + 1) / 2
    return float((1 / rank).mean())


def image_folds(
    images: Int[Tensor, " trials"], *, n_folds: int, generator: torch.Generator
) -> list[Int[Tensor, " batch"]]:
    """Split trials into folds that share no image; return the trial indices of each fold."""
    distinct, row = images.unique(return_inverse=True)
    if n_folds < 2 or len(distinct) < n_folds:
        raise ValueError(
            f"cannot split {len(distinct)} distinct images into {n_folds} folds; "
            "at least 2 folds and one image a fold are needed. Train on more images: settings "
            "sessions, n_trials and train_on."
        )
    fold = torch.randperm(len(distinct), generator=generator) % n_folds
    return [(fold[row] == f).nonzero()[:, 0] for f in range(n_folds)]


def choose_alpha(
    betas: Float[Tensor, "trials voxels"],
    targets: Float[Tensor, "trials features"],
    images: Int[Tensor, " trials"],
    *,
    generator: torch.Generator,
    n_folds: int = 5,
    alphas: Sequence[float] = ALPHAS,
    read_out: Callable[[Tensor], Tensor] | None = None,
    read_out_targets: Float[Tensor, "trials features2"] | None = None,
) -> tuple[float, dict[float, float]]:
    """Choose the alpha that identifies held-out images best.

    Parameters
    ----------
    betas
        Z-scored betas of the training trials.
    targets
        What the ridge predicts.
    images
        Image of each trial; all repeats of an image are in one fold.
    generator
        Shuffles images into folds.
    n_folds
        Folds over images.
    alphas
        Values to choose from.
    read_out
        Applied to predictions before they are compared, e.g. frozen layers; nothing by default.
    read_out_targets
        What the output of `read_out` is compared with; `targets` by default.

    Returns
    -------
    tuple
        The best alpha, and the mean reciprocal rank of every alpha.
    """
    compared = targets if read_out_targets is None else read_out_targets
    scores = dict.fromkeys(alphas, 0.0)
    for held_out in image_folds(images, n_folds=n_folds, generator=generator):
        fitted = torch.ones(len(images), dtype=torch.bool)
        fitted[held_out] = False
        ridge = fit_ridge(betas[fitted], targets[fitted])
        gallery, _ = mean_by_image(compared[held_out], images[held_out])
        for alpha in alphas:
            preds = ridge.predict(betas[held_out], alpha)
            preds = read_out(preds) if read_out else preds
            averaged, _ = mean_by_image(preds, images[held_out])
            scores[alpha] += mean_reciprocal_rank(averaged, gallery) / n_folds
    return max(scores, key=lambda a: scores[a]), scores


def pca_components(
    values: Float[Tensor, "images features"], *, n_components: int
) -> tuple[Float[Tensor, "features components"], Float[Tensor, " features"]]:
    """Return the leading PCA components of flattened tokens, orthonormal columns, and the mean."""
    if n_components > min(len(values) - 1, values.shape[1]):
        raise ValueError(
            f"{n_components} PCA components need at least {n_components + 1} images, got "
            f"{len(values)}, and as many features, got {values.shape[1]}. Lower "
            "model.n_latent, or give more training images."
        )
    mean = values.mean(dim=0)
    centred = values - mean
    problem = f"PCA of {len(values)} images"
    if len(values) <= values.shape[1]:
        eigenvalues, vectors = _decompose(centred @ centred.T, problem)
        top = vectors.flip(1)[:, :n_components]
        scale = eigenvalues.flip(0)[:n_components].clamp_min(1e-12).sqrt()
        return centred.T @ top / scale, mean
    _, vectors = _decompose(centred.T @ centred, problem)
    return vectors.flip(1)[:, :n_components], mean
