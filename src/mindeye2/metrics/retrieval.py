"""Retrieval of images by predicted tokens, calibrated on training trials.

Predicted tokens are shrunken towards their mean, so raw cosine mostly ranks how typical an image
is: a few hubs are retrieved whatever was seen. Two corrections, both learned from *training*
trials so that nothing about the test gallery leaks in:

1. subtract the training mean, of predictions from `preds` and of targets from `gallery`;
2. CSLS: ``2 cos(p, g) - r(p) - r(g)``, where ``r(g)`` is the mean cosine of gallery image ``g``
   with its nearest training predictions and ``r(p)`` that of prediction ``p`` with its nearest
   training targets. ``r(g)`` decides which image a prediction prefers; ``r(p)`` is constant along
   a row and matters only where predictions are ranked for one image.

CSLS from the test gallery itself scores higher still, because it uses that each image was shown
once. It is transductive, and not offered here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.metrics.ranking import cosine_similarity, csls, hubness

__all__ = ["Calibration", "Queries", "check_gallery", "fit_calibration", "similarity"]


@dataclass(frozen=True)
class Calibration:
    """Means and hub banks of training trials. Made by `fit_calibration`."""

    preds_mean: Float[Tensor, " features"]
    """Mean predicted tokens, subtracted from predictions."""
    targets_mean: Float[Tensor, " features"]
    """Mean true tokens, subtracted from the gallery."""
    preds: Float[Tensor, "bank features"]
    """Centred training predictions of length 1; the gallery's hub scores are taken from them."""
    targets: Float[Tensor, "images features"]
    """Centred training targets of length 1; rows need not correspond to `preds`."""
    neighbours: int
    """Number of nearest rows of the bank in a hub score; 0 for centring without CSLS."""


def fit_calibration(
    preds: Float[Tensor, "bank ..."],
    targets: Float[Tensor, "images ..."],
    *,
    neighbours: int = 10,
    bank_size: int = 2000,
) -> Calibration:
    """Estimate means and hub banks from training trials.

    Use predictions of trials that the model was not fitted on (cross-fitted, or a validation
    split) where there are any. Fitted trials are predicted too well; centring suffers little from
    that, CSLS more.

    Parameters
    ----------
    preds
        Predicted tokens of training trials, (trials, tokens, features) or flattened.
    targets
        True tokens of training images; may have another number of rows than `preds`.
    neighbours
        Number of nearest rows of the bank in a hub score; 0 leaves CSLS out.
    bank_size
        Most rows to keep of each, evenly spread. Means are taken over all rows.

    Returns
    -------
    Calibration
        For `similarity`.

    Raises
    ------
    ValueError
        If there is nothing to fit on, widths differ, `neighbours` is negative or `bank_size`
        is below 1, or a value is NaN or infinite.
    """
    if len(preds) == 0 or len(targets) == 0:
        raise ValueError(
            f"a calibration needs training predictions and targets, got {len(preds)} and "
            f"{len(targets)} rows."
        )
    if neighbours < 0 or bank_size < 1:
        raise ValueError(
            f"neighbours must be at least 0 and bank_size at least 1, got {neighbours} and "
            f"{bank_size}."
        )
    left, right = preds.detach().flatten(1).float(), targets.detach().flatten(1).float()
    _check_width(left, right, "preds", "targets")
    means = left.mean(dim=0), right.mean(dim=0)
    # A NaN or an infinity anywhere shows in the mean of its column.
    for mean, name in zip(means, ("preds", "targets"), strict=True):
        if not torch.isfinite(mean).all():
            raise ValueError(f"{name} hold NaN or infinite values: nothing was fitted.")
    return Calibration(
        preds_mean=means[0],
        targets_mean=means[1],
        preds=F.normalize(_subsample(left, bank_size) - means[0], dim=1),
        targets=F.normalize(_subsample(right, bank_size) - means[1], dim=1),
        neighbours=neighbours,
    )


def similarity(
    preds: Float[Tensor, "query ..."],
    gallery: Float[Tensor, "gallery ..."],
    calibration: Calibration | None = None,
) -> Float[Tensor, "query gallery"]:
    """Score each gallery image for each prediction.

    Parameters
    ----------
    preds
        Predicted tokens, (trials, tokens, features) or flattened.
    gallery
        True tokens of the gallery images, of the same layout.
    calibration
        Training means and hub banks; None gives raw cosine, as published.

    Returns
    -------
    Tensor
        Larger is nearer. Cosines, or CSLS scores, which are comparable with each other only.

    Raises
    ------
    ValueError
        If widths differ, also from the calibration's, or a value is NaN or infinite.
    """
    return Queries(preds, calibration).score(gallery)


class Queries:
    """Predictions that are compared with one block of a gallery after the other.

    Parameters
    ----------
    preds
        Predicted tokens, (trials, tokens, features) or flattened.
    calibration
        Training means and hub banks; None gives raw cosine.
    """

    def __init__(
        self, preds: Float[Tensor, "query ..."], calibration: Calibration | None = None
    ) -> None:
        self._calibration = calibration
        self._preds = preds.flatten(1).float()
        self._hubness: Tensor | None = None
        if calibration is None:
            return
        _check_width(self._preds, calibration.preds_mean[None], "preds", "calibration")
        self._preds = self._preds - calibration.preds_mean
        if calibration.neighbours:
            self._hubness = hubness(
                self._preds, calibration.targets, neighbours=calibration.neighbours
            )

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self._preds)

    def score(self, gallery: Float[Tensor, "gallery ..."]) -> Float[Tensor, "query gallery"]:
        """Score each of some gallery images for each prediction."""
        right = gallery.flatten(1).float()
        _check_width(self._preds, right, "preds", "gallery")
        known = self._calibration
        if known is None:
            return cosine_similarity(self._preds, right)
        right = right - known.targets_mean
        cosines = cosine_similarity(self._preds, right)
        if self._hubness is None:
            return cosines
        hubs = hubness(right, known.preds, neighbours=known.neighbours)
        return csls(cosines, self._hubness, hubs)


def check_gallery(
    gallery_images: Iterable[int] | Int[Tensor, " gallery"],
    training_images: Iterable[int] | Int[Tensor, " images"],
) -> None:
    """Refuse a test gallery that contains training images.

    Training images are unfair distractors. The PCA of the tokens was fitted on them and the model
    was trained on them, so held-out images differ from them in length and direction and are
    identified as "not trained on": on four real subjects such a gallery gave 90 % two-way
    identification where a fair one gave 64 %.

    Parameters
    ----------
    gallery_images
        Ids of the gallery images.
    training_images
        Ids of all images that anything was fitted on: PCA of the tokens, model, calibration.

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


def _subsample(rows: Tensor, most: int) -> Tensor:
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most).round().long()]
