"""Intervals, paired comparisons and chance levels for scores that come one per image.

Every interval is about other images of the same kind; only scores with a second axis of seeds
also speak about other runs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "CHANCE",
    "Difference",
    "Interval",
    "bootstrap_interval",
    "mismatched_level",
    "paired_difference",
]

CHANCE: dict[str, Callable[[int, int], float]] = {
    "two_way_identification": lambda _gallery, _k: 0.5,
    "top_k_accuracy": lambda gallery, k: k / gallery,
    "match_ranks": lambda gallery, _k: (gallery + 1) / 2,
}
"""Metric -> its chance level, from the size of the gallery and k. Exact, whatever the features.

Metrics that are missing here (pixel correlation, SSIM, correlation distance) have no level
of their own: unrelated photographs resemble each other. Use `mismatched_level` for those."""

_BLOCK = 512
"""Resamples at a time, which bounds memory at a few MB for thousands of images."""


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies."""

    mean: float
    """Mean over images, and over seeds where there are several."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float
    """Coverage aimed at, e.g. 0.95."""
    n_images: int
    """How many images it rests on."""


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference between two arms on the same images, where it lies, and its p."""

    p: float
    """Two-sided sign-flip permutation p. At least 1 / (n_resamples + 1)."""


def bootstrap_interval(
    scores: Float[Tensor, "*seeds images"],
    *,
    generator: torch.Generator,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Interval:
    """Percentile bootstrap interval of the mean score.

    With a first axis of seeds, seeds and images are resampled independently of each other, as
    befits runs that were tested on the same images. With as few as three seeds the share of the
    seeds is underestimated (their variance by a factor of (n - 1) / n): read it as a lower bound.

    Parameters
    ----------
    scores
        One score per image, or per seed and image.
    generator
        Draws the resamples.
    level
        Coverage, between 0 and 1.
    n_resamples
        How many resamples.

    Returns
    -------
    Interval
        Of the mean.

    Raises
    ------
    ValueError
        If there are fewer than two images, more than two axes, a score is NaN or infinite,
        or `level` or `n_resamples` are out of range.
    """
    table = _table(scores, "scores")
    means = _resampled_means(table, generator, n_resamples)
    low, high = _ends(means, level)
    return Interval(float(table.mean()), low, high, level=level, n_images=table.shape[1])


def paired_difference(
    a: Float[Tensor, "*seeds images"],
    b: Float[Tensor, "*seeds images"],
    *,
    generator: torch.Generator,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Difference:
    """Mean of ``a - b`` over the same images, with an interval and a permutation p.

    The interval is `bootstrap_interval` of the differences. The p flips the signs of images, each
    averaged over seeds first: it asks whether the two arms differ on these images, and with
    several seeds its answer is about their average, not about a run to come. The interval
    resamples seeds too and is the more careful of the two.

    Parameters
    ----------
    a
        One score per image, or per seed and image.
    b
        Scores of the other arm, same images (and seeds) in the same order.
    generator
        Draws the resamples and the signs.
    level
        Coverage, between 0 and 1.
    n_resamples
        How many resamples, and how many sign flips.

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
    means = _resampled_means(table, generator, n_resamples)
    p = _sign_flip_p(table.mean(dim=0), generator, n_resamples)
    low, high = _ends(means, level)
    return Difference(float(table.mean()), low, high, level=level, n_images=table.shape[1], p=p)


def mismatched_level(
    metric: Callable[[Tensor, Tensor], Float[Tensor, " images"]],
    pred: Float[Tensor, "images ..."],
    target: Float[Tensor, "images ..."],
    *,
    n_shifts: int = 10,
) -> Float[Tensor, " images"]:
    """Score each reconstruction against images that it does not belong to.

    The empirical chance level of a metric that has no exact one, e.g. pixel correlation.

    Parameters
    ----------
    metric
        Called with reconstructions and true images; gives one score per image.
    pred
        Reconstructions or their features.
    target
        True images or their features, in the same order; no image twice.
    n_shifts
        Against how many other images each is scored; all others where there are fewer.

    Returns
    -------
    Tensor
        Mean score per reconstruction.

    Raises
    ------
    ValueError
        If there are fewer than two images.
    """
    n_images = len(target)
    if n_images < 2:
        raise ValueError(f"a mismatched level needs at least 2 images, got {n_images}.")
    n_shifts = min(n_shifts, n_images - 1)
    # Evenly spread, because neighbours in a test set may be related.
    shifts = [1 + i * (n_images - 1) // n_shifts for i in range(n_shifts)]
    return torch.stack([metric(pred, target.roll(s, dims=0)) for s in shifts]).mean(dim=0)


def _table(scores: Tensor, name: str) -> Tensor:
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
    return scores.detach().double().cpu().reshape(-1, scores.shape[-1])


def _resampled_means(
    table: Float[Tensor, "seeds images"], generator: torch.Generator, n_resamples: int
) -> Float[Tensor, " samples"]:
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}.")
    n_seeds, n_images = table.shape
    means = []
    for start in range(0, n_resamples, _BLOCK):
        block = min(_BLOCK, n_resamples - start)
        images = torch.randint(n_images, (block, n_images), generator=generator)
        if n_seeds == 1:
            means.append(table[0][images].mean(dim=1))
            continue
        seeds = torch.randint(n_seeds, (block, n_seeds), generator=generator)
        # Rows and columns drawn apart: average each drawn column over the drawn rows.
        drawn = torch.nn.functional.one_hot(seeds, n_seeds).double().mean(dim=1) @ table
        means.append(drawn.gather(1, images).mean(dim=1))
    return torch.cat(means)


def _ends(means: Float[Tensor, " samples"], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}. 95 % is 0.95.")
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=means.dtype)).tolist()
    return low, high


def _sign_flip_p(
    differences: Float[Tensor, " images"], generator: torch.Generator, n_resamples: int
) -> float:
    observed = differences.mean().abs()
    # Sums in another order differ in the last digits; an equal sum must count as extreme.
    bound = observed * (1 - 1e-9)
    extreme = 0
    for start in range(0, n_resamples, _BLOCK):
        shape = (min(_BLOCK, n_resamples - start), len(differences))
        signs = 2.0 * torch.randint(2, shape, generator=generator, dtype=torch.float64) - 1
        extreme += int(((signs @ differences / len(differences)).abs() >= bound).sum())
    return (1 + extreme) / (1 + n_resamples)
