"""Identification of known images: which of the images that were trained on was seen."""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.metrics import match_ranks, proportion_interval, two_way_identification
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.stages.evaluate.decoded import Decoded, Scores

__all__ = ["KnownImages", "known_image_scores", "open_known_images"]


@dataclass(frozen=True)
class KnownImages:
    """The images that were trained on, and how near each brain response is to them."""

    images: Int[Tensor, " gallery"]
    """Rows of the data set's images."""
    averaged: Float[Tensor, "images gallery"]
    """Similarity of the tokens of averaged test trials."""
    target: Int[Tensor, " images"]
    """Column of the seen image for each of them."""


def open_known_images(decoded: Decoded) -> KnownImages | None:
    """Compare averaged test trials with the known images; None where tokens are missing."""
    if not {"backbone", "training_backbone"} <= decoded.token_names:
        return None
    images = torch.tensor(decoded.manifest["training_images"])
    return KnownImages(
        images, _near(decoded, "backbone"), _columns(images, torch.tensor(decoded.images))
    )


def known_image_scores(decoded: Decoded) -> Scores:
    """Identify the seen image among all known ones, from averaged and from single trials.

    The images are fixed and the trials a sample, so that intervals are binomial over trials.
    """
    known = open_known_images(decoded)
    if known is None:
        return Scores(
            missing=["Identification of known images needs the tokens of a run of this version."]
        )
    found = {"known_image": (match_ranks(known.averaged, match=known.target) == 1).float()}
    n_queries = {"known_image": len(known.target)}
    if "trial_backbone" in decoded.token_names:
        shown = torch.tensor(
            pd.read_parquet(decoded.folder / "trials.parquet")["image"].to_numpy()
        )
        near = _near(decoded, "trial_backbone")
        hits = (match_ranks(near, match=_columns(known.images, shown)) == 1).float()
        found["known_image_single"] = torch.stack(
            [hits[shown == image].mean() for image in decoded.images]
        )
        n_queries["known_image_single"] = len(hits)
    intervals = {
        name: proportion_interval(float(values.mean()), n=n_queries[name])
        for name, values in found.items()
    }
    chances = dict.fromkeys(found, 1 / len(known.images))
    preds = decoded.tokens("backbone") - decoded.tokens("training_backbone").mean(dim=0)
    if len(preds) > 1:
        found["two_way_tokens"] = two_way_identification(
            preds.flatten(1), decoded.tokens("true").flatten(1)
        )
    return Scores(found, chances=chances, intervals=intervals)


def _near(decoded: Decoded, name: str) -> Float[Tensor, "query gallery"]:
    """Compare tokens with the true ones of the known images, both centred on training trials.

    No CSLS: a bank of as few images as there are to choose from says nothing about hubs.
    """
    training, true = decoded.tokens("training_backbone"), decoded.tokens("training_true")
    calibration = fit_calibration(training, true, neighbours=0)
    return similarity(decoded.tokens(name), true, calibration)


def _columns(gallery: Tensor, images: Tensor) -> Int[Tensor, " query"]:
    """Return the column of each image in the gallery."""
    return (images[:, None] == gallery[None]).int().argmax(dim=1).long()
