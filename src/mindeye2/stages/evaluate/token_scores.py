"""Scores of tokens: retrieval, identification, UMAP."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import MissingExtraError
from mindeye2.core.runtime import progress
from mindeye2.encoders.clip import load_clip_tokens
from mindeye2.metrics import top_k_hits, two_way_hits, two_way_identification, umap_distance
from mindeye2.metrics.catalogue import POOL
from mindeye2.metrics.noise_ceiling import (
    NoiseCeiling,
    identification_ceiling,
    identification_ceilings,
)
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.stages.evaluate.decoded import Decoded, Job, Scores
from mindeye2.stages.evaluate.presentations import decoded_halves

__all__ = ["calibrated_scores", "published_scores", "similarities"]


def calibrated_scores(decoded: Decoded) -> Scores:
    """Score retrieval in the whole gallery, calibrated by training images, and raw beside it."""
    if "retrieval" not in decoded.token_names:
        return Scores()
    targets = decoded.tokens("true")
    head = similarity(decoded.tokens("retrieval"), targets)
    published = {
        "image_top1_retrieval_head": top_k_hits(head, k=1),
        "brain_top1_retrieval_head": top_k_hits(head.T, k=1),
    }
    if "backbone" not in decoded.token_names:
        return Scores(published)
    preds, training = decoded.tokens("backbone"), decoded.tokens("training_backbone")
    calibrated = _calibrated(decoded)
    no_forward_model = similarity(
        preds, targets, fit_calibration(training, decoded.tokens("training_true"))
    )
    raw = similarity(preds, targets)
    # The training mean: subtracting that of the test set would be transductive.
    mean = training.mean(dim=0)
    prior = decoded.tokens("prior") - mean
    return Scores(
        {
            **_image_scores(calibrated),
            "brain_top1": top_k_hits(calibrated.T, k=1),
            "image_top1_no_forward_model": top_k_hits(no_forward_model, k=1),
            "image_top1_raw": top_k_hits(raw, k=1),
            "brain_top1_raw": top_k_hits(raw.T, k=1),
            **published,
            "two_way_tokens": two_way_identification(
                (preds - mean).flatten(1), targets.flatten(1)
            ),
            "two_way_prior": two_way_identification(prior.flatten(1), targets.flatten(1)),
        },
        noise_ceilings=_noise_ceilings(decoded),
    )


def _noise_ceilings(decoded: Decoded) -> dict[str, NoiseCeiling]:
    """Bound the scores of a gallery that holds what this decoder says of each image on average."""
    compared = decoded_halves(decoded, whitened=True)
    if compared is None:
        return {}
    training = decoded.whitened("training_backbone")
    calibration = fit_calibration(training, training)
    found = identification_ceilings(
        compared, lambda p, g: _image_scores(similarity(p, g, calibration))
    )
    del compared, training  # of the size of the tokens without a whitening
    halves = decoded_halves(decoded)
    assert halves is not None
    mean = decoded.tokens("training_backbone").flatten(1).mean(dim=0)
    found["two_way_tokens"] = identification_ceiling(
        halves, lambda p, g: two_way_identification(p - mean, g - mean)
    )
    return found


def published_scores(job: Job) -> Scores:
    """Score the retrieval head by raw cosine among 300 images, and the UMAP distances."""
    decoded = job.decoded
    if "retrieval" not in decoded.token_names:
        return Scores(missing=["Retrieval needs tokens.safetensors with the retrieval head's."])
    preds = decoded.tokens("retrieval")
    gallery, missing = _gallery(job)
    near = similarity(preds, gallery)
    pool = min(POOL, len(preds))
    scores = {
        "brain_given_image_300": top_k_hits(near.T, k=1, pool=pool),
        "image_given_brain_300": top_k_hits(near, k=1, pool=pool),
    }
    for name in sorted({"retrieval", "backbone", "prior"} & decoded.token_names):
        try:
            scores[f"umap_{name}"] = umap_distance(
                decoded.tokens(name).flatten(1), gallery.flatten(1)
            )
        except MissingExtraError as error:
            missing.append(f"{error}.")
            break
    return Scores(scores, missing)


def similarities(decoded: Decoded) -> Float[Tensor, "query gallery"] | None:
    """Compare predictions with the test images: calibrated, or as published without a bank."""
    if "backbone" in decoded.token_names:
        return _calibrated(decoded)
    if "retrieval" in decoded.token_names:
        return similarity(decoded.tokens("retrieval"), decoded.tokens("true"))
    return None


def _calibrated(decoded: Decoded) -> Float[Tensor, "query gallery"]:
    calibration = fit_calibration(
        decoded.whitened("training_backbone"), decoded.whitened("training_expected")
    )
    return similarity(decoded.whitened("backbone"), decoded.whitened("expected"), calibration)


def _image_scores(near: Float[Tensor, "query gallery"]) -> dict[str, Float[Tensor, " query"]]:
    """Score the seen image among all."""
    return {
        "image_top1": top_k_hits(near, k=1),
        "image_top5": top_k_hits(near, k=min(5, near.shape[1])),
        "image_two_way": two_way_hits(near),
    }


def _gallery(job: Job) -> tuple[Tensor, list[str]]:
    """Encode the test images enlarged to 256 pixels, as published, where bigG's tower exists."""
    true = job.decoded.tokens("true")
    folder = job.settings.networks
    path = Path() if folder is None else Path(folder) / "clip_tokens"
    if folder is None or not path.exists():
        return true, [
            "The retrieval gallery holds the data set's tokens, of images at their own size. The "
            "published one holds tokens of images enlarged to 256 pixels: import OpenCLIP's bigG "
            "(10.2 GB, MIT) with 'mindeye2 import --released bigG --out NETWORKS/clip_tokens'."
        ]
    encoder = load_clip_tokens(path, head_width=_head_width(true)).to(job.device)
    batches = job.decoded.batches("seen", size=job.settings.batch_size)
    with torch.inference_mode():
        tokens = [encoder(b.to(job.device)).cpu() for b in progress(batches, label="gallery")]
    return torch.cat(tokens).clone(), []


def _head_width(tokens: Tensor) -> int:
    """Return the width of an attention head of bigG; of a tower that is narrower, its own."""
    return min(104, tokens.shape[-1])
