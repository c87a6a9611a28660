"""Anchors: what other people's brains make of a picture, as part of a new person's targets.

A ridge from few trials cannot tell which parts of the tokens brains carry. The people of
pretraining can: a map from true tokens to those that decoding them gives (`fit_expectation`) says
of any picture where its tokens are expected to land. Such expected tokens are anchors. The new
person's ridge is fitted to a blend of true and expected tokens, and needs no picture that the
others have seen. As trials become many the anchors lose their use, so their weight is chosen on
pictures that were held back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.models.closed_form import (
    PENALTIES,
    fit_ridge,
    identification_score,
    image_folds,
    mean_by_image,
)

__all__ = ["WEIGHTS", "AnchorChoice", "Anchors", "choose_anchors", "fit_anchors"]

WEIGHTS = (0.0, 0.25, 0.5, 0.75)
"""Weights to choose from. With anchors alone, at 1, what only this brain carries is lost."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """A blend of true tokens and of expected ones, brought to the same mean and spread."""

    weight: float
    """Share of the anchors in [0, 1]; 0 leaves the true tokens."""

    gain: float
    """Spread of the true tokens in spreads of the expected ones: decoding shrinks."""

    true_mean: Float[Tensor, " features"]
    """Mean of the true tokens."""

    expected_mean: Float[Tensor, " features"]
    """Mean of the expected tokens."""

    def __call__(
        self,
        true: Float[Tensor, "images features"],
        expected: Float[Tensor, "images features"],
    ) -> Float[Tensor, "images features"]:
        """Blend.

        Parameters
        ----------
        true
            True tokens, flattened.
        expected
            Tokens that decoding the same images is expected to give.

        Returns
        -------
        Tensor
            What to regress betas onto.
        """
        anchors = self.gain * (expected - self.expected_mean) + self.true_mean
        return (1 - self.weight) * true + self.weight * anchors


@dataclass(frozen=True, kw_only=True)
class AnchorChoice:
    """What held-back images preferred."""

    weight: float
    """Share of the anchors."""

    penalty: float
    """Penalty of the ridge onto the blend."""

    scores: dict[float, float]
    """Score of every weight at its best penalty."""


def fit_anchors(
    true: Float[Tensor, "images features"],
    expected: Float[Tensor, "images features"],
    *,
    weight: float,
) -> Anchors:
    """Bring expected tokens to the mean and the spread of the true ones.

    Parameters
    ----------
    true
        True tokens of the images to be fitted, flattened.
    expected
        Expected tokens of the same images.
    weight
        Share of the anchors in [0, 1].

    Returns
    -------
    Anchors
        The blend.

    Raises
    ------
    ValueError
        If the weight is outside [0, 1], or the expected tokens do not differ between images.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of the anchors must lie in [0, 1], got {weight}.")
    true_mean, expected_mean = true.mean(dim=0), expected.mean(dim=0)
    spread = (expected - expected_mean).norm()
    if spread <= 1e-6 * (true - true_mean).norm():
        raise ValueError(
            f"the expected tokens of {len(expected)} images do not differ between images, so they "
            "are no anchors. Give at least 2 different images, and a map that was fitted to "
            "predictions better than chance; or use weight 0 and no anchors."
        )
    return Anchors(
        weight=weight,
        gain=float((true - true_mean).norm() / spread),
        true_mean=true_mean,
        expected_mean=expected_mean,
    )


def choose_anchors(
    betas: Float[Tensor, "trials voxels"],
    images: Int[Tensor, " trials"],
    *,
    true: Float[Tensor, "trials features"],
    expected: Float[Tensor, "trials features"],
    generator: torch.Generator,
    blend_gallery: bool = True,
    weights: Sequence[float] = WEIGHTS,
    penalties: Sequence[float] = PENALTIES,
    n_folds: int = 3,
    n_draws: int = 4,
    score: Callable[[Tensor, Tensor], float] = identification_score,
) -> AnchorChoice:
    """Choose weight and penalty that identify held-back images best.

    Every fold's images are identified among themselves only. A gallery with fitted images in it
    would flatter the anchors, and so would predictions of several folds taken together, because
    each fold's mean knows what it left out.

    Parameters
    ----------
    betas
        The new person's trials.
    images
        Image of each trial; no image is both fitted and held back.
    true
        True tokens of the image of each trial, flattened.
    expected
        Expected tokens of the image of each trial.
    generator
        Draws the folds.
    blend_gallery
        Compare predictions with candidates that are blended as the targets are, instead of with
        true tokens. It identifies better, and must then be done wherever the ridge is used.
    weights
        Weights to choose from; of equally good ones the first is taken.
    penalties
        Penalties to choose from, for z-scored voxels.
    n_folds
        Folds over images.
    n_draws
        How often the images are divided into folds: few images make one division a lottery.
    score
        Scores predicted tokens of held-back images against candidates; higher is better.

    Returns
    -------
    AnchorChoice
        The best weight and penalty.
    """
    found = torch.zeros(len(weights), len(penalties))
    draws = [image_folds(images, n_folds=n_folds, generator=generator) for _ in range(n_draws)]
    for held in (fold for folds in draws for fold in folds):
        kept = torch.ones(len(images), dtype=torch.bool)
        kept[held] = False
        # A ridge is linear in its targets: one for true tokens and one for anchors serve all
        # weights.
        alone = fit_anchors(true[kept], expected[kept], weight=1.0)
        anchors = alone(true, expected)
        own, others = (fit_ridge(betas[kept], t[kept]) for t in (true, anchors))
        for j, penalty in enumerate(penalties):
            by_true, by_anchors = (
                mean_by_image(ridge.predict(betas[held], penalty), images[held])[0]
                for ridge in (own, others)
            )
            for i, weight in enumerate(weights):
                predicted = (1 - weight) * by_true + weight * by_anchors
                shown = true.lerp(anchors, weight) if blend_gallery else true
                gallery, _ = mean_by_image(shown[held], images[held])
                found[i, j] += score(predicted, gallery) / (n_folds * n_draws)
    best = found.max(dim=1).values
    chosen = int(best.argmax())
    return AnchorChoice(
        weight=weights[chosen],
        penalty=penalties[int(found[chosen].argmax())],
        scores={w: round(float(b), 4) for w, b in zip(weights, best, strict=True)},
    )
