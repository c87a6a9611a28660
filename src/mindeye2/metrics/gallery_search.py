"""Search of a gallery in blocks: it may be larger than memory, e.g. all 73,000 images of NSD."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.metrics.retrieval import Queries

__all__ = ["Found", "search_gallery"]


@dataclass(frozen=True)
class Found:
    """Best gallery images of each prediction, and how many are better than its true one."""

    indices: Int[Tensor, "query _"]
    """Rows of the gallery, best first."""
    scores: Float[Tensor, "query _"]
    """Their scores."""
    better: Int[Tensor, " query"]
    """Gallery images that score higher than the true one; 0 without one."""
    ties: Int[Tensor, " query"]
    """Gallery images that score as the true one."""
    n_gallery: int
    """Gallery images in all."""


def search_gallery(
    queries: Queries,
    blocks: Iterable[Float[Tensor, "_ ..."]],
    *,
    k: int = 0,
    true: Float[Tensor, " query"] | None = None,
) -> Found:
    """Search a gallery block by block, holding one block at a time.

    Parameters
    ----------
    queries
        Predictions, with their calibration.
    blocks
        Tokens of consecutive gallery images, e.g. rows of a memory map.
    k
        Best images to keep of each prediction.
    true
        Score of each prediction's true image, where the blocks hold distractors only.

    Returns
    -------
    Found
        The same for any sizes of blocks, but for rounding in ties.

    Raises
    ------
    ValueError
        If the gallery holds fewer than `k` images, widths differ, or a value is NaN or infinite.
    """
    n = len(queries)
    scores, indices = torch.empty(n, 0), torch.empty(n, 0, dtype=torch.int64)
    better, ties = torch.zeros(2, n, dtype=torch.int64)
    start = 0
    for block in blocks:
        near = queries.score(block)
        rows = torch.arange(start, start + near.shape[1]).expand_as(near)
        start += near.shape[1]
        if true is not None:
            better += (near > true[:, None]).sum(dim=1)
            ties += (near == true[:, None]).sum(dim=1)
        if k:
            together = torch.cat([scores, near], dim=1)
            scores, best = together.topk(min(k, together.shape[1]), dim=1)
            indices = torch.cat([indices, rows], dim=1).gather(1, best)
    if start < k:
        raise ValueError(f"k must be at most the gallery's {start} images, got {k}.")
    return Found(indices=indices, scores=scores, better=better, ties=ties, n_gallery=start)
