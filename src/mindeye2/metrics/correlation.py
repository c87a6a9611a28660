"""Pearson correlation between rows of features or pixels."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mindeye2.metrics.checks import check_pair, check_varying, is_constant

__all__ = ["correlation_distance", "row_correlation", "standardise", "standardise_pair"]


def standardise(x: Float[Tensor, "images features"]) -> Float64[Tensor, "images features"]:
    """Centre rows and scale them to length 1 in double precision; constant rows become zeros.

    Dot products are then Pearson correlations. Single precision would lose what tells features of
    similar images apart.
    """
    # Without this, rounding errors of a constant row would be blown up to length 1.
    constant = is_constant(x)[:, None]
    rows = x.to(torch.float64, copy=True)
    rows -= rows.mean(dim=1, keepdim=True)
    # Far below any real norm: features of an untrained or saturated network can be tiny.
    rows /= rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    return rows.masked_fill_(constant, 0.0)


def standardise_pair(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "images features"]
) -> tuple[Float64[Tensor, "images features"], Float64[Tensor, "images features"]]:
    """Standardise both; refuse constant rows of `targets`.

    A constant row of `preds` correlates 0 with everything: a collapsed decoder gives such
    predictions and has to be scored. A constant row of `targets` is a flaw of the test set.
    """
    preds, targets = check_pair(preds, targets)
    check_varying(targets, "targets")
    return standardise(preds), standardise(targets)


def row_correlation(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "images features"]
) -> Float[Tensor, " images"]:
    """Compute the Pearson correlation of each predicted row with its target row.

    Parameters
    ----------
    preds
        One row per reconstruction.
    targets
        One row per true image, in the same order.

    Returns
    -------
    Tensor
        One correlation per image; 0 for a constant prediction.

    Raises
    ------
    ValueError
        If shapes differ, a value is NaN or infinite, or a row of `targets` is constant.
    """
    left, right = standardise_pair(preds, targets)
    return (left * right).sum(dim=1).to(_precision(preds, targets))


def correlation_distance(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "images features"]
) -> Float[Tensor, " images"]:
    """Compute one minus the Pearson correlation of features; lower is better.

    The published EfficientNet-B and SwAV scores. Features of unrelated photographs correlate, so
    that the distance of an unrelated reconstruction is below 1 in practice.

    Parameters
    ----------
    preds
        Features of the reconstructions.
    targets
        Features of the true images, in the same order.

    Returns
    -------
    Tensor
        One distance in [0, 2] per image; 1 for a constant prediction.

    Raises
    ------
    ValueError
        If shapes differ, a value is NaN or infinite, or a row of `targets` is constant.

    Examples
    --------
    >>> import torch
    >>> features = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    >>> correlation_distance(-features, features)
    tensor([2., 2.])
    """
    left, right = standardise_pair(preds, targets)
    # Subtracted before rounding: one minus a correlation loses digits in single precision.
    return (1 - (left * right).sum(dim=1)).to(_precision(preds, targets))


def _precision(preds: Tensor, targets: Tensor) -> torch.dtype:
    """Return the precision of scores: that of the features, at least single."""
    return torch.promote_types(torch.promote_types(preds.dtype, targets.dtype), torch.float32)
