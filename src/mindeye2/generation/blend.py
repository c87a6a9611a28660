"""The weighted mean of a drawn picture and the low-level image."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["blend"]


def blend(
    picture: Float[Tensor, "batch rgb height width"],
    lowlevel: Float[Tensor, "batch rgb height2 width2"],
    *,
    share: float = 0.25,
) -> Float[Tensor, "batch rgb height width"]:
    """Mix the low-level image into a picture.

    Parameters
    ----------
    picture
        RGB in [0, 1].
    lowlevel
        RGB in [0, 1]; resized to the picture where it is smaller.
    share
        Share of the low-level image in [0, 1]: 1/4 in the released code (3:1), 1/5 in the paper
        (4:1).

    Returns
    -------
    Tensor
        RGB in [0, 1].

    Raises
    ------
    ValueError
        If `share` is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}.")
    if lowlevel.shape[-2:] != picture.shape[-2:]:
        lowlevel = F.interpolate(lowlevel, picture.shape[-2:], mode="bilinear", antialias=True)
    return (1 - share) * picture + share * lowlevel
