"""Two-way identification: is a reconstruction nearer to its own image than to another."""

from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics.correlation import standardise_pair

__all__ = ["two_way_identification"]


def two_way_identification(
    preds: Float[Tensor, "images features"],
    targets: Float[Tensor, "images features"],
    *,
    tie: float = 0.5,
) -> Float[Tensor, " images"]:
    """Compute the fraction of distractor images that each reconstruction rejects.

    Row ``i`` of `preds` is correlated with every row of `targets`; the score is the fraction of
    ``j != i`` that correlate less than row ``i`` does.

    Parameters
    ----------
    preds
        Features of the reconstructions.
    targets
        Features of the true images, in the same order.
    tie
        Value of a tie: one half, so that a constant prediction scores exactly chance, 0.5. The
        released code counts ties as losses, 0; nothing else differs.

    Returns
    -------
    Tensor
        One score in [0, 1] per reconstruction; average them last, with an interval.

    Raises
    ------
    ValueError
        If fewer than two images are given, shapes differ, a value is NaN or infinite, or a row
        of `targets` is constant.

    Examples
    --------
    >>> import torch
    >>> two_way_identification(torch.eye(3), torch.eye(3))
    tensor([1., 1., 1.])
    """
    if len(preds) < 2:
        raise ValueError(
            f"two-way identification needs at least 2 images, got {len(preds)}. Hold out more "
            "images when preparing the data, e.g. --set table.splits.test=0.2."
        )
    left, right = standardise_pair(preds, targets)
    similarity = left @ right.T
    true = similarity.diagonal()[:, None]
    wins = (similarity < true).sum(dim=1) + tie * ((similarity == true).sum(dim=1) - 1)
    return wins.to(left.dtype) / (len(preds) - 1)
