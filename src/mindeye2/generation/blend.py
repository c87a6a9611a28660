"""Weighted mean of a reconstruction and the blurry image of the low-level branch."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["blend"]


def blend(
    images: Float[Tensor, "batch rgb height width"],
    blurry: Float[Tensor, "batch rgb height2 width2"],
    *,
    weight: float = 0.25,
) -> Float[Tensor, "batch rgb height width"]:
    """Blend blurry images into reconstructions.

    Parameters
    ----------
    images
        RGB in [0, 1].
    blurry
        RGB in [0, 1]; resized where the size differs.
    weight
        Weight of the blurry image in [0, 1]: 1/4 in the released code (3:1), 1/5 in the paper
        (4:1).

    Returns
    -------
    Tensor
        RGB in [0, 1].

    Raises
    ------
    ValueError
        If `weight` is out of range.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], got {weight}.")
    if blurry.shape[-2:] != images.shape[-2:]:
        blurry = F.interpolate(blurry, images.shape[-2:], mode="bilinear", antialias=True)
    return (1 - weight) * images + weight * blurry
