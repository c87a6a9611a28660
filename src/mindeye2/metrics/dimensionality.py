"""Dimensions that a set of predictions spans: two counts of its principal components."""

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics.checks import check_finite

__all__ = ["effective_rank", "participation_ratio"]


def effective_rank(rows: Float[Tensor, "images ..."]) -> float:
    """Compute the effective rank of rows about their mean (Roy and Vetterli 2007).

    The exponential of the entropy of the principal components' fractions of variance: the number
    of components if all were equally large. A decoder whose output has collapsed to few dimensions
    gives far less than the true tokens of the same images (Shirakawa et al. 2024,
    arXiv:2405.10078). Compare sets of equally many rows: it is at most their number minus one.

    Parameters
    ----------
    rows
        E.g. predicted tokens, one row per image, flattened or not.

    Returns
    -------
    float
        At least 1; 0 where all rows are alike.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    fractions = _fractions(rows)
    return float((-torch.special.xlogy(fractions, fractions).sum()).exp()) if len(fractions) else 0


def participation_ratio(rows: Float[Tensor, "images ..."]) -> float:
    """Compute the participation ratio of rows about their mean.

    The squared sum of the principal components' variances over the sum of their squares: it counts
    large components, where `effective_rank` counts small ones too.

    Parameters
    ----------
    rows
        E.g. predicted tokens, one row per image, flattened or not.

    Returns
    -------
    float
        At least 1; 0 where all rows are alike.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    fractions = _fractions(rows)
    return float(1 / fractions.square().sum()) if len(fractions) else 0


def _fractions(rows: Tensor) -> Float[Tensor, " components"]:
    """Return the fraction of variance of each principal component; empty if there is none."""
    values = check_finite(rows, "rows").flatten(1).double()
    centred = values - values.mean(dim=0)
    # Rounding of equal rows is no dimension.
    if centred.norm() <= 1e-6 * values.norm():
        return values.new_zeros(0)
    small = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    variances = torch.linalg.eigvalsh(small).clamp_min(0)
    fractions: Tensor = variances / variances.sum()
    return fractions
