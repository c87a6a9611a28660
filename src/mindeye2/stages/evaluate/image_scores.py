"""Scores of images: pixels, and features of frozen networks."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import MissingExtraError
from mindeye2.core.runtime import progress
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.feature_extractors import (
    FEATURE_EXTRACTORS,
    layer_features,
    load_feature_extractor,
)
from mindeye2.metrics import correlation_distance, pixcorr, ssim, two_way_identification
from mindeye2.metrics.catalogue import IMAGES
from mindeye2.stages.evaluate.decoded import Decoded, Job, Scores, resize

__all__ = ["laptop_image_scores", "published_image_scores"]

PAPER = (("alexnet2", "alexnet5"), ("inception",), ("clip",), ("effnet",), ("swav",))
"""Feature extractors of the paper; those of one network share its pass. In the order of layers."""


def laptop_image_scores(job: Job) -> Scores:
    """Score images at the size of the reconstructions, with EfficientNet-Lite1."""
    decoded = job.decoded
    if not decoded.files:
        return Scores()
    stimuli = to_float(decoded.prepared.images[decoded.images])
    extractor = LiteFeatures(1, job.settings.extractor_size)
    features = _lite_features(extractor, stimuli, "seen images")
    scores: dict[str, Tensor] = {}
    targets = stimuli
    for name in decoded.files:
        preds = _read(decoded, name)
        targets = resize(stimuli, preds.shape[-2:], antialias=False)
        scores[f"pixcorr_{name}"] = pixcorr(preds, targets)
        scores[f"ssim_{name}"] = ssim(preds, targets)
        scores[f"two_way_{name}"] = two_way_identification(
            _lite_features(extractor, preds, IMAGES.get(name, name)), features
        )
    floor = _mean_training_image(decoded, targets)
    scores["pixcorr_floor"] = pixcorr(floor, targets)
    scores["ssim_floor"] = ssim(floor, targets)
    return Scores(scores)


def published_image_scores(job: Job) -> Scores:
    """Score images at 256 pixels by pixels and by the paper's networks, a batch at a time."""
    if not job.decoded.files:
        return Scores(missing=["Image scores need images: reconstruct with --set images=true."])
    scores = _pixel_scores(job)
    missing = []
    for names in PAPER:
        weights = FEATURE_EXTRACTORS[names[0]].download
        assert weights is not None
        if weights.find(job.settings.networks) is None and not job.settings.download:
            missing.append(
                f"{' and '.join(names)} scores need {weights.terms}: put the file into the folder "
                "of --set networks=FOLDER, or add --set download=true."
            )
            continue
        try:
            network = load_feature_extractor(names[0], folder=job.settings.networks)
        except MissingExtraError as error:
            missing.append(f"{' and '.join(names)} scores: {error}.")
            continue
        network = network.to(job.device)
        targets = _network_features(job, names, network, kind="seen")
        for kind in job.decoded.files:
            preds = _network_features(job, names, network, kind=kind)
            for name in names:
                scores[f"{name}_{kind}"] = (
                    # One minus a correlation loses digits in single precision.
                    correlation_distance(preds[name].double(), targets[name].double()).float()
                    if FEATURE_EXTRACTORS[name].compared_by == "correlation_distance"
                    else two_way_identification(preds[name], targets[name], tie=job.protocol.tie)
                )
    return Scores(scores, missing)


def _pixel_scores(job: Job) -> dict[str, Tensor]:
    decoded, size, antialias = job.decoded, job.settings.batch_size, job.protocol.antialias
    floor = _mean_training_image(decoded, next(decoded.batches("seen", size=1)))[:1]
    scores: dict[str, list[Tensor]] = {}

    def batches(kind: str) -> Iterable[Tensor]:
        return decoded.batches(kind, size=size, antialias=antialias)

    for kind in [*decoded.files, "floor"]:
        shown = batches("seen") if kind == "floor" else batches(kind)
        pairs = progress(
            zip(shown, batches("seen"), strict=True), label=f"pixels: {IMAGES.get(kind, kind)}"
        )
        for batch, targets in pairs:
            preds = floor.expand_as(targets) if kind == "floor" else batch
            scores.setdefault(f"pixcorr_{kind}", []).append(pixcorr(preds, targets))
            scores.setdefault(f"ssim_{kind}", []).append(ssim(preds, targets))
    return {name: torch.cat(parts) for name, parts in scores.items()}


def _network_features(
    job: Job, names: Sequence[str], network: torch.nn.Module, *, kind: str
) -> dict[str, Float[Tensor, "images _"]]:
    antialias = job.protocol.antialias
    batches = job.decoded.batches(kind, size=job.settings.batch_size, antialias=antialias)
    label = f"{names[0]}: {'seen images' if kind == 'seen' else IMAGES.get(kind, kind)}"
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch in progress(batches, label=label):
        shared = layer_features(names, batch.to(job.device), network=network, antialias=antialias)
        for name, features in shared.items():
            parts[name].append(features.cpu())
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _mean_training_image(decoded: Decoded, targets: Tensor) -> Tensor:
    """Average up to 500 training images: the floor that needs no brain."""
    training = decoded.manifest["training_images"]
    chosen = training[:: max(1, len(training) // 500)]
    images = to_float(decoded.prepared.images[chosen])
    resized = resize(images, targets.shape[-2:], antialias=False)
    return resized.mean(dim=0, keepdim=True).expand_as(targets)


def _read(decoded: Decoded, name: str) -> Float[Tensor, "batch rgb height width"]:
    return to_float(np.load(decoded.files[name]))


@torch.inference_mode()
def _lite_features(
    extractor: LiteFeatures, images: Tensor, label: str
) -> Float[Tensor, "images features"]:
    batches = progress(images.split(32), label=f"features: {label}")
    return torch.cat([extractor.pooled(b) for b in batches])
