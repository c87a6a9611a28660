"""Input checks shared by all metrics."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["check_finite", "check_pair", "check_varying", "is_constant"]


def check_finite(x: Float[Tensor, "images ..."], name: str) -> Float[Tensor, "images ..."]:
    """Raise half precision to single, and refuse rows that hold NaN or infinity."""
    bad = ~torch.isfinite(x).flatten(1).all(dim=1)
    if bad.any():
        raise ValueError(f"rows {_rows(bad)} of {name} hold NaN or infinite values.")
    return x if x.dtype in {torch.float32, torch.float64} else x.float()


def check_pair(
    preds: Float[Tensor, "images ..."], targets: Float[Tensor, "images ..."]
) -> tuple[Float[Tensor, "images ..."], Float[Tensor, "images ..."]]:
    """Refuse predictions and targets of different shapes, and promote both to one precision."""
    if preds.shape != targets.shape:
        raise ValueError(
            f"preds and targets must have one shape, got {tuple(preds.shape)} and "
            f"{tuple(targets.shape)}. Row i of both belongs to image i."
        )
    preds, targets = check_finite(preds, "preds"), check_finite(targets, "targets")
    dtype = torch.promote_types(preds.dtype, targets.dtype)
    return preds.to(dtype), targets.to(dtype)


def is_constant(x: Float[Tensor, "images features"]) -> Bool[Tensor, " images"]:
    """Return which rows hold one value only, up to rounding."""
    # Not "centred == 0": the mean of equal floats is not always that float, and a grey image
    # that was resized has pixels that differ in the last digit.
    low, high = x.amin(dim=1), x.amax(dim=1)
    return high - low <= 8 * torch.finfo(x.dtype).eps * torch.maximum(low.abs(), high.abs())


def check_varying(x: Float[Tensor, "images features"], name: str) -> None:
    """Refuse constant rows, for which no correlation exists."""
    constant = is_constant(x)
    if constant.any():
        raise ValueError(
            f"rows {_rows(constant)} of {name} are constant, so nothing correlates with them. "
            "Leave these images out of the test set, or use a metric other than a correlation."
        )


def _rows(which: Tensor) -> str:
    rows: list[int] = which.nonzero()[:, 0].tolist()
    return f"[{', '.join(map(str, rows[:8]))}{', ...' if len(rows) > 8 else ''}]"
