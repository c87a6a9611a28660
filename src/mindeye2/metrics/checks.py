"""What every metric asks of its input."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["check_finite", "check_pair", "check_varying", "is_constant"]


def check_finite(x: Float[Tensor, "images ..."], name: str) -> Float[Tensor, "images ..."]:
    """Return `x` in single or double precision if it has no NaN and no infinity.

    Parameters
    ----------
    x
        One row per image.
    name
        What the caller calls it.

    Returns
    -------
    Tensor
        `x`; half precision is raised to single.

    Raises
    ------
    ValueError
        If a value is NaN or infinite. The message names the rows.
    """
    bad = ~torch.isfinite(x).flatten(1).all(dim=1)
    if bad.any():
        raise ValueError(f"rows {_rows(bad)} of {name} hold NaN or infinite values.")
    return x if x.dtype in {torch.float32, torch.float64} else x.float()


def check_pair(
    pred: Float[Tensor, "images ..."], target: Float[Tensor, "images ..."]
) -> tuple[Float[Tensor, "images ..."], Float[Tensor, "images ..."]]:
    """Check that two sets belong together row by row, and bring them to one precision.

    Parameters
    ----------
    pred
        One row per reconstruction.
    target
        One row per true image, in the same order.

    Returns
    -------
    tuple of Tensor
        Both, in the wider of the two precisions and at least single.

    Raises
    ------
    ValueError
        If shapes differ, or a value is NaN or infinite.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"pred and target must have one shape, got {tuple(pred.shape)} and "
            f"{tuple(target.shape)}. Row i of both belongs to image i."
        )
    pred, target = check_finite(pred, "pred"), check_finite(target, "target")
    dtype = torch.promote_types(pred.dtype, target.dtype)
    return pred.to(dtype), target.to(dtype)


def is_constant(x: Float[Tensor, "images features"]) -> Bool[Tensor, " images"]:
    """Say which rows hold one value only, up to rounding.

    Parameters
    ----------
    x
        One row per image.

    Returns
    -------
    Tensor
        True where a row's spread is within the rounding of its values.
    """
    # Not "centred == 0": the mean of equal floats is not always that float, and a grey image
    # that was resized has pixels that differ in the last digit.
    low, high = x.amin(dim=1), x.amax(dim=1)
    return high - low <= 8 * torch.finfo(x.dtype).eps * torch.maximum(low.abs(), high.abs())


def check_varying(x: Float[Tensor, "images features"], name: str) -> None:
    """Refuse rows that are constant.

    Parameters
    ----------
    x
        One row per image.
    name
        What the caller calls it.

    Raises
    ------
    ValueError
        If a row is constant and so correlates with nothing. The message names the rows.
    """
    constant = is_constant(x)
    if constant.any():
        raise ValueError(
            f"rows {_rows(constant)} of {name} are constant, so nothing correlates with them. "
            "Leave these images out of the test set, or use a metric other than a correlation."
        )


def _rows(which: Tensor) -> str:
    rows: list[int] = which.nonzero()[:, 0].tolist()
    return f"[{', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''}]"
