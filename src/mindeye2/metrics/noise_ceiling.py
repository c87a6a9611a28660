"""Noise ceilings of scores, from two halves of the presentations of each image.

What a decoder without systematic error would score from measurements as noisy as these lies
between two bounds, as in Nili et al. 2014 (doi 10.1371/journal.pcbi.1003553). The lower one lets
one half of the presentations predict the other. The upper one takes the average of all as the
signal, with its variance scaled down to what repeats (the reliability of the average, Spearman
1910 and Brown 1910), and adds the noise of the average to it once more, as the difference of the
halves shows it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindeye2.metrics.correlation import row_correlation

__all__ = [
    "Halves",
    "NoiseCeiling",
    "correlation_ceiling",
    "identification_ceiling",
    "identification_ceilings",
]

Score = Callable[[Tensor, Tensor], Tensor]
"""Scores rows of predictions against the rows of a gallery, one number per image."""


@dataclass(frozen=True)
class NoiseCeiling:
    """Bounds of the score of a decoder without systematic error."""

    low: float
    """One half of the presentations predicts the other."""
    high: float
    """The signal of the average is known, and its noise is added."""


@dataclass(frozen=True)
class Halves:
    """Patterns of each image, averaged over either half of its presentations."""

    first: Float[Tensor, "images features"]
    """Average over one half."""
    second: Float[Tensor, "images features"]
    """Average over the other."""
    n_first: Int[Tensor, " images"]
    """Presentations of the first half."""
    n_second: Int[Tensor, " images"]
    """Presentations of the second half."""

    def of(self, features: Bool[Tensor, " features"] | Bool[np.ndarray, " features"]) -> "Halves":
        """Return the halves of some features, e.g. of the voxels of a region."""
        return replace(self, first=self.first[:, features], second=self.second[:, features])

    def average(self) -> Float[Tensor, "images features"]:
        """Average over all presentations."""
        weight = (self.n_first / (self.n_first + self.n_second))[:, None]
        return weight * self.first + (1 - weight) * self.second

    def noise(self) -> Float[Tensor, "images features"]:
        """Scale the difference of the halves to the variance of the noise of the average.

        It is not correlated with that noise.
        """
        factor = (self.n_first * self.n_second).sqrt() / (self.n_first + self.n_second)
        return factor[:, None] * (self.first - self.second)


def identification_ceiling(halves: Halves, score: Score) -> NoiseCeiling:
    """Bound one score of identification; see `identification_ceilings`."""
    return identification_ceilings(halves, lambda preds, gallery: {"": score(preds, gallery)})[""]


def identification_ceilings(
    halves: Halves, scores: Callable[[Tensor, Tensor], Mapping[str, Tensor]]
) -> dict[str, NoiseCeiling]:
    """Bound the identification of images by patterns that repeat as these do.

    Parameters
    ----------
    halves
        Predictions of either half of the presentations.
    scores
        Scores predictions against a gallery of predictions by name, higher is better.

    Returns
    -------
    dict
        The ceiling of each score, at chance where the halves agree no more than those of different
        images.

    Raises
    ------
    ValueError
        If there are fewer than two images.
    """
    if len(halves.first) < 2:
        raise ValueError("a noise ceiling of identification needs at least two images.")
    lows = scores(halves.first, halves.second), scores(halves.second, halves.first)
    average, noise = halves.average(), halves.noise()
    mean = average.mean(dim=0)
    # Noise of the average is part of its variance; it must not count as signal.
    repeats = 1 - noise.var(dim=0).sum() / average.var(dim=0).sum()
    signal = average.sub_(mean).mul_(repeats.nan_to_num().clamp(min=0).sqrt()).add_(mean)
    found = {}
    for name, high in scores(noise.add_(signal), signal).items():
        low = float((lows[0][name].mean() + lows[1][name].mean()) / 2)
        found[name] = NoiseCeiling(low, max(low, float(high.mean())))
    return found


def correlation_ceiling(halves: Halves) -> NoiseCeiling:
    """Bound the correlation of predicted with measured patterns, averaged over presentations.

    Parameters
    ----------
    halves
        Measured responses to either half of the presentations.

    Returns
    -------
    NoiseCeiling
        Means over images: `low` the correlation of the halves, `high` the root of the reliability
        of the average, the largest correlation that a noiseless prediction can be expected to
        have.

    Raises
    ------
    ValueError
        If a pattern is constant or not finite.
    """
    low = row_correlation(halves.first, halves.second).mean()
    first, second, average = (
        x.double() - x.double().mean(dim=1, keepdim=True)
        for x in (halves.first, halves.second, halves.average())
    )
    repeats = (first * second).sum(dim=1) / average.square().sum(dim=1)
    high = repeats.clamp(0, 1).sqrt().mean()
    return NoiseCeiling(float(low), max(float(low), float(high)))
