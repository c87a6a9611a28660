"""Pearson correlation between rows of features or pixels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics.checks import check_pair, check_varying, is_constant

__all__ = ["correlation_distance", "row_correlation", "standardise_pair"]


def standardise_pair(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "images features"]
) -> tuple[Float[Tensor, "images features"], Float[Tensor, "images features"]]:
    """Centre rows and scale them to length 1, so that dot products are Pearson correlations.

    A constant row of `preds` becomes zeros, which correlate 0 with everything: a collapsed decoder
    gives such predictions and has to be scored. A constant row of `targets` is a flaw of the test
    set, and is refused.
    """
    preds, targets = check_pair(preds, targets)
    check_varying(targets, "targets")
    # Without this, rounding errors of a constant row would be blown up to length 1.
    constant = is_constant(preds)[:, None]
    return _unit(preds).masked_fill(constant, 0.0), _unit(targets)


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
    return (left * right).sum(dim=1)


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
    return 1 - row_correlation(preds, targets)


def _unit(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    # eps far below any real norm: features of an untrained or saturated network can be tiny.
    return F.normalize(centred, dim=1, eps=torch.finfo(x.dtype).tiny)
