"""Pearson correlation between rows, and what it means for a row that never varies."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics.checks import check_pair, check_varying, is_constant

__all__ = ["correlation_distance", "row_correlation", "standardise_pair"]


def standardise_pair(
    pred: Float[Tensor, "images features"], target: Float[Tensor, "images features"]
) -> tuple[Float[Tensor, "images features"], Float[Tensor, "images features"]]:
    """Centre rows and scale them to length 1, so that dot products are Pearson correlations.

    A constant row of `pred` becomes zeros: it tells nothing apart, and zero is its correlation
    with whatever is asked. It is a legitimate prediction, e.g. of a decoder that collapsed, and
    has to be scored. A constant row of `target` is a flaw of the test set, and is refused.

    Parameters
    ----------
    pred
        One row per reconstruction.
    target
        One row per true image, in the same order.

    Returns
    -------
    tuple of Tensor
        Both, standardised.

    Raises
    ------
    ValueError
        If shapes differ, a value is NaN or infinite, or a row of `target` is constant.
    """
    pred, target = check_pair(pred, target)
    check_varying(target, "target")
    # Without this, rounding errors of a constant row would be blown up to length 1.
    constant = is_constant(pred)[:, None]
    return _unit(pred).masked_fill(constant, 0.0), _unit(target)


def row_correlation(
    pred: Float[Tensor, "images features"], target: Float[Tensor, "images features"]
) -> Float[Tensor, " images"]:
    """Pearson correlation of each row with its partner.

    Parameters
    ----------
    pred
        One row per reconstruction.
    target
        One row per true image, in the same order.

    Returns
    -------
    Tensor
        One correlation per image; 0 for a constant prediction.

    Raises
    ------
    ValueError
        If shapes differ, a value is NaN or infinite, or a row of `target` is constant.
    """
    left, right = standardise_pair(pred, target)
    return (left * right).sum(dim=1)


def correlation_distance(
    pred: Float[Tensor, "images features"], target: Float[Tensor, "images features"]
) -> Float[Tensor, " images"]:
    """One minus the Pearson correlation of features; lower is better.

    The published EfficientNet-B and SwAV scores. A prediction without relation to its image has
    1 if features of unrelated images are uncorrelated, less in practice: see
    `mindeye2.metrics.mismatched_level`.

    Parameters
    ----------
    pred
        Features of the reconstructions.
    target
        Features of the true images, in the same order.

    Returns
    -------
    Tensor
        One distance in [0, 2] per image; 1 for a constant prediction.

    Raises
    ------
    ValueError
        If shapes differ, a value is NaN or infinite, or a row of `target` is constant.

    Examples
    --------
    >>> import torch
    >>> features = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    >>> correlation_distance(-features, features)
    tensor([2., 2.])
    """
    return 1 - row_correlation(pred, target)


def _unit(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    # eps far below any real norm: features of an untrained or saturated network can be tiny.
    return F.normalize(centred, dim=1, eps=torch.finfo(x.dtype).tiny)
