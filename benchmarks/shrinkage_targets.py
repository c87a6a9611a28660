"""Shrinkage targets: a new subject's ridge targets, blended with those of a forward model.

A ridge fitted to few trials cannot estimate which token components the voxels carry. A forward
model of other subjects (`mindeye2.models.forward_model`) predicts the decoded tokens of any image.
The new subject's ridge is fitted to a weighted mean of true and predicted decoded tokens; the
weight is chosen on held-out images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.models.closed_form import (
    ALPHAS,
    fit_ridge,
    image_folds,
    mean_by_image,
    mean_reciprocal_rank,
)

__all__ = [
    "WEIGHTS",
    "ShrinkageChoice",
    "ShrinkageTargets",
    "choose_shrinkage",
    "fit_shrinkage_targets",
]

WEIGHTS = (0.0, 0.25, 0.5, 0.75)
"""Weights to choose from. Weight 1 would drop components that only this subject's voxels carry."""


@dataclass(frozen=True, kw_only=True)
class ShrinkageTargets:
    """A weighted mean of true tokens and of decoded tokens with the same mean and spread."""

    weight: float
    """Weight of the decoded tokens in [0, 1]; 0 leaves the true tokens."""

    gain: float
    """Spread of the true tokens divided by that of the decoded ones: decoding shrinks."""

    true_mean: Float[Tensor, " features"]
    """Mean of the true tokens."""

    decoded_mean: Float[Tensor, " features"]
    """Mean of the decoded tokens."""

    def __call__(
        self,
        true: Float[Tensor, "images features"],
        decoded: Float[Tensor, "images features"],
    ) -> Float[Tensor, "images features"]:
        """Blend true tokens with decoded tokens of the same images."""
        scaled = self.gain * (decoded - self.decoded_mean) + self.true_mean
        return (1 - self.weight) * true + self.weight * scaled


@dataclass(frozen=True, kw_only=True)
class ShrinkageChoice:
    """Weight and alpha that identify held-out images best."""

    weight: float
    """Weight of the decoded tokens."""

    alpha: float
    """L2 penalty of the ridge onto the blend."""

    scores: dict[float, float]
    """Score of every weight at its best alpha."""


def fit_shrinkage_targets(
    true: Float[Tensor, "images features"],
    decoded: Float[Tensor, "images features"],
    *,
    weight: float,
) -> ShrinkageTargets:
    """Scale decoded tokens to the mean and the spread of the true ones.

    Parameters
    ----------
    true
        True tokens of the fitted images, flattened.
    decoded
        Tokens that the forward model predicts for the same images.
    weight
        Weight of the decoded tokens in [0, 1].

    Returns
    -------
    ShrinkageTargets
        The blend.

    Raises
    ------
    ValueError
        If the weight is outside [0, 1], or the decoded tokens do not differ between images.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of the decoded tokens must lie in [0, 1], got {weight}.")
    true_mean, decoded_mean = true.mean(dim=0), decoded.mean(dim=0)
    spread = (decoded - decoded_mean).norm()
    if spread <= 1e-6 * (true - true_mean).norm():
        raise ValueError(
            f"the decoded tokens of {len(decoded)} images do not differ between images. Give at "
            "least 2 different images and a forward model that was fitted to predictions better "
            "than chance, or use weight 0."
        )
    return ShrinkageTargets(
        weight=weight,
        gain=float((true - true_mean).norm() / spread),
        true_mean=true_mean,
        decoded_mean=decoded_mean,
    )


def choose_shrinkage(
    betas: Float[Tensor, "trials voxels"],
    images: Int[Tensor, " trials"],
    *,
    true: Float[Tensor, "trials features"],
    decoded: Float[Tensor, "trials features"],
    generator: torch.Generator,
    weights: Sequence[float] = WEIGHTS,
    alphas: Sequence[float] = ALPHAS,
    n_folds: int = 3,
    n_repeats: int = 4,
) -> ShrinkageChoice:
    """Choose weight and alpha that identify held-out images best.

    Each fold's images are identified among themselves only, and in a gallery that is blended as
    the targets are. Fitted images in the gallery would favour the decoded tokens, and so would
    predictions pooled over folds, because each fold's mean depends on the images it leaves out.

    Parameters
    ----------
    betas
        Z-scored betas of the new subject.
    images
        Image of each trial; all repeats of an image are in one fold.
    true
        True tokens of each trial's image, flattened.
    decoded
        Tokens that the forward model predicts for each trial's image.
    generator
        Shuffles images into folds.
    weights
        Weights to choose from; of equally good ones the first is taken.
    alphas
        L2 penalties to choose from, for z-scored voxels.
    n_folds
        Folds over images.
    n_repeats
        Random divisions into folds that are averaged, because one division of few images is noisy.

    Returns
    -------
    ShrinkageChoice
        The best weight and alpha.
    """
    found = torch.zeros(len(weights), len(alphas))
    repeats = [image_folds(images, n_folds=n_folds, generator=generator) for _ in range(n_repeats)]
    for held_out in (fold for folds in repeats for fold in folds):
        fitted = torch.ones(len(images), dtype=torch.bool)
        fitted[held_out] = False
        # A ridge is linear in its targets, so two fits serve all weights.
        scaled = fit_shrinkage_targets(true[fitted], decoded[fitted], weight=1.0)(true, decoded)
        to_true, to_scaled = (fit_ridge(betas[fitted], t[fitted]) for t in (true, scaled))
        for j, alpha in enumerate(alphas):
            by_true, by_scaled = (
                mean_by_image(ridge.predict(betas[held_out], alpha), images[held_out])[0]
                for ridge in (to_true, to_scaled)
            )
            for i, weight in enumerate(weights):
                preds = (1 - weight) * by_true + weight * by_scaled
                blend = true.lerp(scaled, weight)
                gallery, _ = mean_by_image(blend[held_out], images[held_out])
                found[i, j] += mean_reciprocal_rank(preds, gallery) / (n_folds * n_repeats)
    best = found.max(dim=1).values
    chosen = int(best.argmax())
    return ShrinkageChoice(
        weight=weights[chosen],
        alpha=alphas[int(found[chosen].argmax())],
        scores={w: round(float(b), 4) for w, b in zip(weights, best, strict=True)},
    )
