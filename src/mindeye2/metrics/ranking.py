"""Ranking of a gallery by cosine: similarity, hub scores, ranks and top-k hits.

Direction matters, and the published names hide it: the paper's "Image" column ranks brain samples
for each image and its "Brain" column ranks images for each brain sample. Here each row of `preds`
ranks the gallery; image given brain is ``top_k_accuracy(brain, images, k=1)``.
"""

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.metrics.checks import check_finite

__all__ = [
    "cosine_similarity",
    "csls",
    "expected_hits",
    "hubness",
    "match_ranks",
    "top_k_accuracy",
    "top_k_hits",
    "two_way_hits",
]


def cosine_similarity(
    preds: Float[Tensor, "query features"], gallery: Float[Tensor, "gallery features"]
) -> Float[Tensor, "query gallery"]:
    """Compute the cosine of each prediction with each gallery item; 0 for a row of zeros."""
    if preds.shape[1:] != gallery.shape[1:]:
        raise ValueError(
            f"preds and gallery must have the same width, got {preds.shape[1]} and "
            f"{gallery.shape[1]}. Take both from one encoder."
        )
    preds, gallery = check_finite(preds, "preds"), check_finite(gallery, "gallery")
    dtype = torch.promote_types(preds.dtype, gallery.dtype)
    return F.normalize(preds.to(dtype), dim=1) @ F.normalize(gallery.to(dtype), dim=1).T


def hubness(
    items: Float[Tensor, "gallery features"],
    bank: Float[Tensor, "bank features"],
    *,
    neighbours: int = 10,
) -> Float[Tensor, " gallery"]:
    """Compute hub scores: the mean cosine of each item with its nearest neighbours in a bank.

    A hub is near to everything, and is retrieved for every query. Conneau et al. 2018,
    arXiv 1710.04087, where the bank is the gallery being searched; here it should be training
    data: predictions for gallery items, targets for predictions.
    """
    if neighbours < 1 or len(bank) == 0:
        raise ValueError(
            f"neighbours must be at least 1 and the bank not empty, got {neighbours} neighbours "
            f"of {len(bank)}."
        )
    similarity = cosine_similarity(items, bank)
    return similarity.topk(min(neighbours, len(bank)), dim=1).values.mean(dim=1)


def csls(
    similarity: Float[Tensor, "query gallery"],
    preds_hubness: Float[Tensor, " query"],
    gallery_hubness: Float[Tensor, " gallery"],
) -> Float[Tensor, "query gallery"]:
    """Apply cross-domain similarity local scaling: twice the cosine, less both hub scores.

    The gallery's score decides which item a prediction prefers; the prediction's own score is
    constant along its row, and matters only when the transposed matrix is ranked. Results lie in
    [-4, 4] and are comparable with each other, not with cosines.
    """
    return 2 * similarity - preds_hubness[:, None] - gallery_hubness[None, :]


def match_ranks(
    similarity: Float[Tensor, "query gallery"], *, match: Int[Tensor, " query"] | None = None
) -> Float[Tensor, " query"]:
    """Compute the rank of the true item for each prediction; 1 is best.

    Parameters
    ----------
    similarity
        Any scores, larger is nearer.
    match
        Column of each prediction's true item; by default row ``i`` belongs to item ``i``.

    Returns
    -------
    Tensor
        Ranks; tied items share the middle of their ranks, so that chance is
        ``(gallery + 1) / 2``.

    Raises
    ------
    ValueError
        If a score is NaN, or a match lies outside the gallery.
    """
    better, ties = _count_better(similarity, match)
    return 1 + better + ties / 2


def two_way_hits(similarity: Float[Tensor, "query gallery"]) -> Float[Tensor, " query"]:
    """Compute the fraction of other items that score less than the true one for each prediction.

    `two_way_identification` from scores of any kind.

    Parameters
    ----------
    similarity
        Any scores, larger is nearer; row ``i`` belongs to item ``i``.

    Returns
    -------
    Tensor
        Scores in [0, 1]; ties count one half, so that chance is 0.5. 0 without other items.

    Raises
    ------
    ValueError
        If a score is NaN.
    """
    n = similarity.shape[1]
    return (n - match_ranks(similarity)) / max(n - 1, 1)


def top_k_hits(
    similarity: Float[Tensor, "query gallery"],
    *,
    k: int,
    match: Int[Tensor, " query"] | None = None,
    pool: int | None = None,
) -> Float[Tensor, " query"]:
    """Compute whether each prediction has its true item among its k best.

    Parameters
    ----------
    similarity
        Any scores, larger is nearer.
    k
        Number of best items that count.
    match
        Column of each prediction's true item; by default row ``i`` belongs to item ``i``.
    pool
        Score for smaller galleries: the true item and ``pool - 1`` others, sampled at random. The
        exact expectation over all samples, which the published mean over 30 samples of 300
        estimates. By default the whole gallery.

    Returns
    -------
    Tensor
        1 for a hit, 0 for a miss. Between them the probability of a hit: where the true item is
        tied (ties are broken at random) or `pool` is given. Chance is ``k / gallery``, or
        ``k / pool``, also for predictions that are all alike.

    Raises
    ------
    ValueError
        If `k` or `pool` do not fit the gallery, a score is NaN, or a match lies outside it.
    """
    n_gallery = similarity.shape[1]
    size = n_gallery if pool is None else pool
    if not 1 <= k <= size <= n_gallery:
        raise ValueError(
            f"k must be between 1 and the size of the gallery, got k={k} of {size} with "
            f"{n_gallery} items in all."
        )
    better, ties = _count_better(similarity, match)
    return expected_hits(better, ties, k=k, pool=size, n_gallery=n_gallery)


def expected_hits(
    better: Int[Tensor, " query"],
    ties: Int[Tensor, " query"],
    *,
    k: int,
    pool: int,
    n_gallery: int,
) -> Float[Tensor, " query"]:
    """Compute `top_k_hits` from the numbers of gallery items better than the true one, and tied.

    For galleries that are searched block by block; the true item is one of `n_gallery`.
    """
    if not 1 <= k <= pool <= n_gallery:
        raise ValueError(
            f"k must be between 1 and the pool, and the pool at most the gallery, got k={k}, a "
            f"pool of {pool} and a gallery of {n_gallery}."
        )
    if pool == n_gallery:
        # Broken at random, each number of tied items ahead is as likely as the next.
        return (k - better).clamp(min=0).minimum(ties + 1) / (ties + 1)
    # Of all `n_gallery - 1` distractors `size - 1` are sampled; fewer than k may be better.
    at_rank = torch.from_numpy(
        scipy.stats.hypergeom.cdf(k - 1, n_gallery - 1, np.arange(n_gallery), pool - 1)
    ).to(better.device, torch.float32)
    return torch.stack([at_rank[b : b + t + 1].mean() for b, t in zip(better, ties, strict=True)])


def top_k_accuracy(
    preds: Float[Tensor, "query features"], gallery: Float[Tensor, "gallery features"], *, k: int
) -> Float[Tensor, " query"]:
    """Compute whether each prediction's own item is among its k nearest of the gallery, by cosine.

    Parameters
    ----------
    preds
        E.g. predicted tokens, flattened.
    gallery
        Ranked items; row ``i`` is the true item of prediction ``i``. More rows are distractors.
    k
        Number of nearest items that count.

    Returns
    -------
    Tensor
        1 for a hit, 0 for a miss, the probability of a hit where the true item is tied.

    Raises
    ------
    ValueError
        If `k` does not fit the gallery, widths differ, or a value is NaN or infinite.

    Examples
    --------
    >>> import torch
    >>> top_k_accuracy(torch.eye(3), torch.eye(3), k=1)
    tensor([1., 1., 1.])
    """
    return top_k_hits(cosine_similarity(preds, gallery), k=k)


def _count_better(similarity: Tensor, match: Tensor | None) -> tuple[Tensor, Tensor]:
    n_query, n_gallery = similarity.shape
    if match is None:
        match = torch.arange(n_query, device=similarity.device)
    if len(match) != n_query or (n_query and not 0 <= match.min() <= match.max() < n_gallery):
        raise ValueError(
            f"every prediction needs its true item among the gallery's {n_gallery} items, got "
            f"{n_query} predictions with matches up to {int(match.max())}."
        )
    if similarity.isnan().any():
        # NaN is neither larger nor smaller, and would pass for a perfect score.
        raise ValueError("similarity holds NaN: check the predictions of the rows concerned.")
    true = similarity.gather(1, match[:, None])
    return (similarity > true).sum(dim=1), (similarity == true).sum(dim=1) - 1
