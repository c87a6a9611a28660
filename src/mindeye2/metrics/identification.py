"""Two-way identification: is a reconstruction nearer to its own image than to another."""

from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics.checks import check_finite, check_pair, check_varying
from mindeye2.metrics.correlation import standardise

__all__ = ["TwoWayIdentification", "two_way_identification"]

_ROUNDING = 1e-12
"""Correlations that differ by less are tied: two equal rows need not give equal sums."""


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
    preds, targets = check_pair(preds, targets)
    return TwoWayIdentification(targets, tie=tie)(preds)


class TwoWayIdentification:
    """Two-way identification among fixed true images, for reconstructions that come in batches.

    Parameters
    ----------
    targets
        Features of all true images, of which a copy in double precision is kept.
    tie
        Value of a tie; see `two_way_identification`.

    Raises
    ------
    ValueError
        If fewer than two images are given, a value is NaN or infinite, or a row is constant.
    """

    def __init__(self, targets: Float[Tensor, "images features"], *, tie: float = 0.5) -> None:
        if len(targets) < 2:
            raise ValueError(
                f"two-way identification needs at least 2 images, got {len(targets)}. Hold out "
                "more images when preparing the data, e.g. --set table.splits.test=0.2."
            )
        check_varying(check_finite(targets, "targets"), "targets")
        self._targets = standardise(targets)
        self._tie = tie

    def __call__(
        self, preds: Float[Tensor, "batch features"], *, first: int = 0
    ) -> Float[Tensor, " batch"]:
        """Score reconstructions of the images from `first` on, in the order of the targets."""
        preds = check_finite(preds, "preds")
        similarity = standardise(preds) @ self._targets.T
        gaps = similarity - similarity.diagonal(first)[:, None]
        ties = (gaps.abs() <= _ROUNDING).sum(dim=1) - 1
        wins = (gaps < -_ROUNDING).sum(dim=1) + self._tie * ties
        return wins.to(preds.dtype) / (len(self._targets) - 1)
