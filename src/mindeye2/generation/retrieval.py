"""Retrieval: which picture of a gallery was seen, with what training taught about bias.

Predicted tokens are shrunken towards their mean, so raw cosine mostly ranks how typical an item
is: a few hubs win whatever was seen. Two corrections undo this, both learned from *training*
trials only, so that nothing about the test pool leaks in:

1. subtract the training mean, of the predictions from queries and of the targets from gallery;
2. CSLS: ``2 cos(q, g) - r(q) - r(g)``, where ``r(g)`` is the mean cosine of item ``g`` with its
   nearest training predictions and ``r(q)`` that of query ``q`` with its nearest training
   targets. ``r(g)`` decides which item a query prefers; ``r(q)`` is constant along a row and
   matters only where queries are ranked for one item.

CSLS from the test pool itself scores higher still, because it knows that each picture was shown
once. It is transductive, and not offered here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.metrics.ranking import cosine_similarity, csls, hubness

__all__ = [
    "Calibration",
    "Retrieval",
    "check_gallery",
    "fit_calibration",
    "retrieve",
    "similarity",
]


@dataclass(frozen=True)
class Calibration:
    """What a retrieval learned from training trials. Made by `fit_calibration`."""

    prediction_mean: Float[Tensor, " features"]
    """Mean predicted tokens, subtracted from queries."""
    target_mean: Float[Tensor, " features"]
    """Mean true tokens, subtracted from the gallery."""
    predictions: Float[Tensor, "bank features"]
    """Centred training predictions of length 1: the queries that hubs are found with."""
    targets: Float[Tensor, "images features"]
    """Centred training targets of length 1; rows need not correspond to `predictions`."""
    neighbours: int
    """How many nearest of the bank make a hub score; 0 for centring without CSLS."""

    def state(self) -> dict[str, Tensor]:
        """Return everything as tensors, for a safetensors file.

        Returns
        -------
        dict
            Name -> tensor; `from_state` reads it.
        """
        return {
            "prediction_mean": self.prediction_mean,
            "target_mean": self.target_mean,
            "predictions": self.predictions,
            "targets": self.targets,
            "neighbours": torch.tensor(self.neighbours),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "Calibration":
        """Rebuild what `state` gave.

        Parameters
        ----------
        state
            Name -> tensor.

        Returns
        -------
        Calibration
            Equal to the one that was stored.
        """
        return cls(
            prediction_mean=state["prediction_mean"],
            target_mean=state["target_mean"],
            predictions=state["predictions"],
            targets=state["targets"],
            neighbours=int(state["neighbours"]),
        )


@dataclass(frozen=True)
class Retrieval:
    """The best gallery items for each query, best first."""

    indices: Int[Tensor, "query ..."]
    """Rows of the gallery."""
    scores: Float[Tensor, "query ..."]
    """Their similarity: a cosine, or a CSLS score where the calibration has one."""


def fit_calibration(
    predicted: Float[Tensor, "bank ..."],
    targets: Float[Tensor, "images ..."],
    *,
    neighbours: int = 10,
    bank_size: int = 2000,
) -> Calibration:
    """Learn means and hubs from training trials.

    Predictions should be such as a new trial would get: of trials that the model was not fitted
    on (cross-fitted, or a validation split) where there are any. Fitted trials are predicted too
    well; centring suffers little from that, CSLS more.

    Parameters
    ----------
    predicted
        Predicted tokens of training trials, (trials, tokens, features) or flattened.
    targets
        True tokens of training images; another number of rows than `predicted` is fine.
    neighbours
        How many nearest of the bank make a hub score; 0 leaves CSLS out.
    bank_size
        Most rows to keep of each, evenly spread. Means are taken over all rows.

    Returns
    -------
    Calibration
        For `similarity` and `retrieve`. Holds two banks of at most `bank_size` rows.

    Raises
    ------
    ValueError
        If there is nothing to fit on, widths differ, `neighbours` is negative or `bank_size`
        is below 1, or a value is NaN or infinite.
    """
    if len(predicted) == 0 or len(targets) == 0:
        raise ValueError(
            f"a calibration needs training predictions and targets, got {len(predicted)} and "
            f"{len(targets)} rows."
        )
    if neighbours < 0 or bank_size < 1:
        raise ValueError(
            f"neighbours must be at least 0 and bank_size at least 1, got {neighbours} and "
            f"{bank_size}."
        )
    left, right = predicted.detach().flatten(1).float(), targets.detach().flatten(1).float()
    _check_width(left, right, "predicted", "targets")
    means = left.mean(dim=0), right.mean(dim=0)
    # A NaN or an infinity anywhere shows in the mean of its column.
    for mean, name in zip(means, ("predicted", "targets"), strict=True):
        if not torch.isfinite(mean).all():
            raise ValueError(f"{name} hold NaN or infinite values: nothing was fitted.")
    return Calibration(
        prediction_mean=means[0],
        target_mean=means[1],
        predictions=F.normalize(_spread(left, bank_size) - means[0], dim=1),
        targets=F.normalize(_spread(right, bank_size) - means[1], dim=1),
        neighbours=neighbours,
    )


def similarity(
    query: Float[Tensor, "query ..."],
    gallery: Float[Tensor, "gallery ..."],
    calibration: Calibration | None = None,
) -> Float[Tensor, "query gallery"]:
    """Score each gallery item for each query.

    Parameters
    ----------
    query
        Predicted tokens, (query, tokens, features) or flattened.
    gallery
        True tokens of the candidates, alike.
    calibration
        What training taught; None gives raw cosine, as published.

    Returns
    -------
    Tensor
        Larger is nearer. Cosines, or CSLS scores, which are comparable with each other only.

    Raises
    ------
    ValueError
        If widths differ, also from the calibration's, or a value is NaN or infinite.
    """
    left, right = query.flatten(1).float(), gallery.flatten(1).float()
    _check_width(left, right, "query", "gallery")
    if calibration is None:
        return cosine_similarity(left, right)
    _check_width(left, calibration.prediction_mean[None], "query", "calibration")
    left = left - calibration.prediction_mean
    right = right - calibration.target_mean
    cosines = cosine_similarity(left, right)
    if calibration.neighbours == 0:
        return cosines
    return csls(
        cosines,
        hubness(left, calibration.targets, neighbours=calibration.neighbours),
        hubness(right, calibration.predictions, neighbours=calibration.neighbours),
    )


def retrieve(
    query: Float[Tensor, "query ..."],
    gallery: Float[Tensor, "gallery ..."],
    k: int = 5,
    *,
    calibration: Calibration | None = None,
) -> Retrieval:
    """Find the k best gallery items for each query.

    Parameters
    ----------
    query
        Predicted tokens, (query, tokens, features) or flattened.
    gallery
        True tokens of the candidates, alike.
    k
        How many to return.
    calibration
        What training taught; None gives raw cosine, as published.

    Returns
    -------
    Retrieval
        Indices and scores, best first.

    Raises
    ------
    ValueError
        If `k` does not fit the gallery, or as in `similarity`.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(
            f"k must be between 1 and the size of the gallery ({len(gallery)}), got {k}."
        )
    scores, indices = similarity(query, gallery, calibration).topk(k, dim=1)
    return Retrieval(indices=indices, scores=scores)


def check_gallery(
    gallery_images: Iterable[int] | Int[Tensor, " gallery"],
    training_images: Iterable[int] | Int[Tensor, " images"],
) -> None:
    """Refuse a test gallery that contains pictures of the training set.

    Training pictures are no fair distractors. The tokens' basis was fitted on them, the model
    was pulled towards them, so held-out pictures differ from them in length and place and are
    told apart as "not trained on": on four real brains such a gallery gave 90 % pairwise where
    a fair one gave 64 %.

    Parameters
    ----------
    gallery_images
        Ids of the candidates.
    training_images
        Ids of all images that anything was fitted on: tokens' basis, model, calibration.

    Raises
    ------
    ValueError
        If any image is in both.
    """
    gallery = {int(image) for image in gallery_images}
    both = sorted(gallery & {int(image) for image in training_images})
    if both:
        named = ", ".join(map(str, both[:5])) + (", ..." if len(both) > 5 else "")
        raise ValueError(
            f"{len(both)} of the {len(gallery)} images in the gallery were trained on "
            f"({named}), which makes held-out images stand out among them. Use a gallery of "
            "held-out images only."
        )


def _check_width(left: Tensor, right: Tensor, *names: str) -> None:
    if left.shape[1] != right.shape[1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same width, got {left.shape[1]} and "
            f"{right.shape[1]} numbers a row. Take both from one encoder."
        )


def _spread(rows: Tensor, most: int) -> Tensor:
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most).round().long()]
