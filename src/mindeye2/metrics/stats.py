"""Bootstrap intervals and paired tests of scores that come one per image.

Every interval is about other images of the same kind; only scores with further axes also cover
other training runs, and other subjects.
"""

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "FEWEST_SUBJECTS",
    "Difference",
    "Interval",
    "bootstrap_interval",
    "paired_difference",
    "proportion_interval",
    "unit_means",
]

FEWEST_SUBJECTS = 3
"""Subjects below which nothing is said about others: two say nothing about a third."""

_BATCH = 512
"""Resamples at a time, which bounds memory at a few MB for thousands of images."""


@dataclass(frozen=True)
class Interval:
    """Mean score with its confidence interval."""

    mean: float
    """Mean over images, and over seeds and subjects where there are several."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Difference(Interval):
    """Mean paired difference between two runs, with its confidence interval and p value."""

    p: float
    """Two-sided p: sign-flip permutation over images, or a paired t test over subjects."""


def bootstrap_interval(
    scores: Float[Tensor, "*groups images"],
    *,
    generator: torch.Generator,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Interval:
    """Compute the mean score and its BCa bootstrap interval (Efron 1987), by `scipy.stats`.

    Axes of subjects, seeds and images are resampled independently of each other, as runs share the
    test images (Owen 2007). With as few as three seeds or subjects their variance is
    underestimated, by a factor of (n - 1) / n: read the interval as a lower bound.

    Parameters
    ----------
    scores
        One score per image, per seed and image, or per subject, seed and image. Of subjects there
        are three at least; with these, an axis of a single image stands for means over images.
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
        If there are too few images or subjects, a score is NaN or infinite, or `level` or
        `n_resamples` are out of range.
    """
    return _bca(_table(scores, "scores"), generator, level=level, n_resamples=n_resamples)


def paired_difference(
    a: Float[Tensor, "*groups images"],
    b: Float[Tensor, "*groups images"],
    *,
    generator: torch.Generator,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Difference:
    """Compute the mean of ``a - b`` over the same images, with an interval and a permutation p.

    The interval is `bootstrap_interval` of the differences. Without subjects the p flips the signs
    of images, each averaged over seeds first: it tests whether the two runs differ on these
    images, and with several seeds it is about their average, not about further runs. The interval
    resamples seeds too and is the more conservative of the two. With subjects the p is that of a
    paired t test of their means: of eight subjects sign flips have no p below .008.

    Parameters
    ----------
    a
        Scores as in `bootstrap_interval`.
    b
        Scores of the other run, same images (seeds, subjects) in the same order.
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
    means = unit_means(table)
    if table.ndim < 3:
        p = scipy.stats.permutation_test(
            (means,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=n_resamples,
            batch=_BATCH,
            rng=_numpy_rng(generator),
        ).pvalue
    elif np.ptp(means) <= 1e-12:  # t divides by the spread
        p = float(abs(means.mean()) <= 1e-12)
    else:
        p = scipy.stats.ttest_1samp(means, 0.0).pvalue
    return Difference(interval.mean, interval.low, interval.high, p=float(p))


def unit_means(table: np.ndarray) -> np.ndarray:
    """Average scores over all axes but that of the tests: subjects, or without them images."""
    means: np.ndarray = (
        table.mean(axis=(1, 2)) if table.ndim == 3 else table.reshape(-1, table.shape[-1]).mean(0)
    )
    return means


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
    ends = scipy.stats.binomtest(round(proportion * n), n).proportion_ci(level, method="wilson")
    return Interval(proportion, float(ends.low), float(ends.high))


def _bca(
    table: np.ndarray, generator: torch.Generator, *, level: float, n_resamples: int
) -> Interval:
    """Resample each axis of the table by itself, as samples of its indices."""
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}.")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}. 95 % is 0.95.")
    mean = float(table.mean())
    if np.ptp(table) <= 1e-12 * abs(mean):
        # BCa divides by the spread of the scores.
        return Interval(mean, mean, mean)
    table = table.squeeze()

    def resampled_mean(
        *indices: np.ndarray,
        axis: int,  # noqa: ARG001 - the last one
    ) -> np.ndarray | np.float64:
        *groups, images = (_weights(i, n) for i, n in zip(indices, table.shape, strict=True))
        means = images @ table.reshape(-1, table.shape[-1]).T
        means = means.reshape((*means.shape[:-1], *table.shape[:-1]))
        for weights in reversed(groups):
            kept = (1,) * (means.ndim - weights.ndim)
            means = (means * weights.reshape(*weights.shape[:-1], *kept, -1)).sum(axis=-1)
        resampled: np.ndarray | np.float64 = means
        return resampled

    ends = scipy.stats.bootstrap(
        [np.arange(n) for n in table.shape],
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


def _weights(indices: np.ndarray, n: int) -> np.ndarray:
    """Return how often each of `n` entries was drawn, as fractions."""
    draws = indices.reshape(-1, indices.shape[-1])
    rows = n * np.arange(len(draws))[:, None]
    counts = np.bincount((draws + rows).ravel(), minlength=n * len(draws))
    weights: np.ndarray = counts.reshape(*indices.shape[:-1], n) / indices.shape[-1]
    return weights


def _table(scores: Tensor, name: str) -> np.ndarray:
    fewest = {1: (2,), 2: (1, 2), 3: (FEWEST_SUBJECTS, 1, 1)}.get(scores.ndim)
    if fewest is None or any(n < least for n, least in zip(scores.shape, fewest, strict=True)):
        raise ValueError(
            f"{name} must hold one score per image, or per seed and image, of at least 2 images, "
            f"or per subject, seed and image, of at least {FEWEST_SUBJECTS} subjects; got the "
            f"shape {tuple(scores.shape)}."
        )
    if not torch.isfinite(scores).all():
        raise ValueError(
            f"{name} hold NaN or infinite values: an average over the rest would be of another "
            "test set."
        )
    table: np.ndarray = scores.detach().double().cpu().numpy()
    return table


def _numpy_rng(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
