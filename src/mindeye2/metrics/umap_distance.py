"""Distance of predicted and true tokens in a UMAP of both, the paper's measure of alignment."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import require
from mindeye2.metrics.checks import check_pair

__all__ = ["umap_distance"]


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
    preds, targets = check_pair(preds, targets)
    umap = require("umap", extra="umap", purpose="The UMAP distance")
    both = torch.cat([targets, preds]).float().cpu().numpy()
    points = np.asarray(umap.UMAP(random_state=seed).fit_transform(both))
    gaps = points[: len(targets)] - points[len(targets) :]
    return torch.from_numpy(np.linalg.norm(gaps, axis=1)).float()
