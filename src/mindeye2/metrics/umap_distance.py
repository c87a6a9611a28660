"""Distance of predicted and true tokens in a UMAP of both, the paper's measure of alignment."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import require
from mindeye2.metrics.checks import check_pair

__all__ = ["umap_distance", "umap_points"]


def umap_distance(
    preds: Float[Tensor, "images features"],
    targets: Float[Tensor, "images features"],
    *,
    seed: int = 42,
) -> Float[Tensor, " images"]:
    """Compute the distance of each predicted row from its target in a UMAP of two dimensions.

    One UMAP with umap-learn's defaults is fitted on targets and predictions together (McInnes et
    al. 2018, arXiv 1802.03426), so that distances of two runs are not comparable.

    Parameters
    ----------
    preds
        Predicted tokens, flattened.
    targets
        True tokens, flattened, in the same order.
    seed
        Seed of UMAP.

    Returns
    -------
    Tensor
        One Euclidean distance per image.

    Raises
    ------
    ValueError
        If shapes differ, or a value is NaN or infinite.
    MissingExtraError
        If umap-learn is not installed.
    """
    first, second = umap_points(preds, targets, seed=seed)
    return torch.from_numpy(np.linalg.norm(first - second, axis=1)).float()


def umap_points(
    preds: Float[Tensor, "images features"],
    targets: Float[Tensor, "images features"],
    *,
    seed: int,
) -> tuple[Float[np.ndarray, "images 2"], Float[np.ndarray, "images 2"]]:
    """Place predictions and targets in one UMAP of both; raise as `umap_distance` does."""
    preds, targets = check_pair(preds, targets)
    umap = require("umap", extra="umap", purpose="UMAP")
    both = torch.cat([targets, preds]).float().cpu().numpy()
    points = np.asarray(umap.UMAP(random_state=seed, n_jobs=1).fit_transform(both))
    return points[len(targets) :], points[: len(targets)]
