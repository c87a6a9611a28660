"""Bootstrap intervals and paired tests of scores that come one per image.

Every interval is about other images of the same kind; only scores with a second axis of seeds
also cover other training runs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

__all__ = [
    "Difference",
    "Interval",
    "bootstrap_interval",
    "paired_difference",
    "proportion_interval",
]

_BATCH = 512
"""Resamples at a time, which bounds memory at a few MB for thousands of images."""


@dataclass(frozen=True)
class Interval:
    """Mean score with its confidence interval."""

    mean: float
    """Mean over images, and over seeds where there are several."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Difference(Interval):
    """Mean paired difference between two runs, with its confidence interval and p value."""

    p: float
    """Two-sided sign-flip permutation p."""


def bootstrap_interval(
    scores: Float[Tensor, "*seeds images"],
    *,
    generator: torch.Generator,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Interval:
    """Compute the mean score and its BCa bootstrap interval (Efron 1987), by `scipy.stats`.

    With a first axis of seeds, seeds and images are resampled independently of each other, as
    runs share the test images. With as few as three seeds their variance is underestimated, by a
    factor of (n - 1) / n: read the interval as a lower bound.

    Parameters
    ----------
    scores
        One score per image, or per seed and image.
    generator
        Seeds the resampling.
    level
        Coverage, between 0 and 1.
    n_resamples
        Number of resamples, at least 100.

    Returns
    -------
    Interval
        Of the mean; of width 0 where all scores are equal.

    Raises
    ------
    ValueError
        If there are fewer than two images, more than two axes, a score is NaN or infinite,
        or `level` or `n_resamples` are out of range.
    """
    return _bca(_table(scores, "scores"), generator, level=level, n_resamples=n_resamples)


def paired_difference(
    a: Float[Tensor, "*seeds images"],
    b: Float[Tensor, "*seeds images"],
    *,
    generator: torch.Generator,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Difference:
    """Compute the mean of ``a - b`` over the same images, with an interval and a permutation p.

    The interval is `bootstrap_interval` of the differences. The p flips the signs of images, each
    averaged over seeds first: it tests whether the two runs differ on these images, and with
    several seeds it is about their average, not about further runs. The interval resamples seeds
    too and is the more conservative of the two.

    Parameters
    ----------
    a
        One score per image, or per seed and image.
    b
        Scores of the other run, same images (and seeds) in the same order.
    generator
        Seeds the resampling and the sign flips.
    level
        Coverage, between 0 and 1.
    n_resamples
        Number of resamples, at least 100, and of sign flips. All sign flips are tried where they
        are fewer.

    Returns
    -------
    Difference
        Positive where `a` is larger.

    Raises
    ------
    ValueError
        If shapes differ, or as in `bootstrap_interval`.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"paired scores must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}. "
            "Entry i of both belongs to image i."
        )
    table = _table(a, "a") - _table(b, "b")
    interval = _bca(table, generator, level=level, n_resamples=n_resamples)
    p = stats.permutation_test(
        (table.mean(axis=0),),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_resamples,
        batch=_BATCH,
        rng=_numpy_rng(generator),
    ).pvalue
    return Difference(interval.mean, interval.low, interval.high, p=float(p))


def proportion_interval(proportion: float, *, n: int, level: float = 0.95) -> Interval:
    """Compute Wilson's score interval of a binomial proportion (Wilson 1927), by `scipy.stats`.

    Unlike a bootstrap of hits it has a width where all of few trials are hits.

    Parameters
    ----------
    proportion
        Fraction of hits.
    n
        Number of independent trials.
    level
        Coverage, between 0 and 1.

    Returns
    -------
    Interval
        Of the proportion.

    Raises
    ------
    ValueError
        If there is no trial, or the proportion is outside 0 to 1.
    """
    if n < 1 or not 0 <= proportion <= 1:
        raise ValueError(
            f"a proportion of trials is between 0 and 1 of at least one trial, got {proportion} "
            f"of {n}."
        )
    ends = stats.binomtest(round(proportion * n), n).proportion_ci(level, method="wilson")
    return Interval(proportion, float(ends.low), float(ends.high))


def _bca(
    table: np.ndarray, generator: torch.Generator, *, level: float, n_resamples: int
) -> Interval:
    """Resample seeds and images apart, as samples of indices of the table's two axes."""
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}.")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}. 95 % is 0.95.")
    mean = float(table.mean())
    if np.ptp(table) <= 1e-12 * abs(mean):
        # BCa divides by the spread of the scores.
        return Interval(mean, mean, mean)

    def resampled_mean(*indices: np.ndarray, axis: int) -> np.ndarray | np.float64:
        *seeds, images = indices
        by_image = (
            table[seeds[0]].mean(axis=-2)
            if seeds
            else np.broadcast_to(table[0], (*images.shape[:-1], table.shape[1]))
        )
        means: np.ndarray | np.float64 = np.take_along_axis(by_image, images, axis=axis).mean(axis)
        return means

    ends = stats.bootstrap(
        [np.arange(n) for n in table.shape if n > 1],
        resampled_mean,
        n_resamples=n_resamples,
        batch=_BATCH,
        vectorized=True,
        axis=-1,
        confidence_level=level,
        method="BCa",
        rng=_numpy_rng(generator),
    ).confidence_interval
    return Interval(mean, float(ends.low), float(ends.high))


def _table(scores: Tensor, name: str) -> np.ndarray:
    if scores.ndim not in {1, 2} or scores.shape[-1] < 2 or len(scores) < 1:
        raise ValueError(
            f"{name} must hold one score per image, or per seed and image, of at least 2 images, "
            f"got the shape {tuple(scores.shape)}."
        )
    if not torch.isfinite(scores).all():
        raise ValueError(
            f"{name} hold NaN or infinite values: an average over the rest would be of another "
            "test set."
        )
    table: np.ndarray = scores.detach().double().cpu().reshape(-1, scores.shape[-1]).numpy()
    return table


def _numpy_rng(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
