"""Scores of images: pixels, and features of frozen networks."""

import shutil
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import MissingExtraError
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.feature_extractors import (
    FEATURE_EXTRACTORS,
    layer_features,
    load_feature_extractor,
)
from mindeye2.metrics import TwoWayIdentification, correlation_distance, pixcorr, ssim
from mindeye2.metrics.catalogue import METRICS
from mindeye2.stages.evaluate.batch_scores import fill_batches, is_filled
from mindeye2.stages.evaluate.decoded import SIDE, Job, Scores, resize
from mindeye2.training.distributed import run_on_rank0

__all__ = ["laptop_image_scores", "published_image_scores"]

PAPER = (("alexnet2", "alexnet5"), ("inception",), ("clip",), ("effnet",), ("swav",))
"""Feature extractors of the paper; those of one network share its pass. In the order of layers."""


def laptop_image_scores(job: Job) -> Scores:
    """Score images at the size of the reconstructions, with EfficientNet-Lite1."""
    if not job.decoded.files:
        return Scores()
    extractor = LiteFeatures(1, job.settings.extractor_size)

    def features(kind: str, rows: slice) -> dict[str, Tensor]:
        with torch.inference_mode():
            return {"two_way": extractor.pooled(job.decoded.batch(kind, rows, side=None)).clone()}

    scores = _pixel_scores(job, side=None) | _feature_scores(job, "lite1", features, tie=0.5)
    return Scores(_in_order(scores))


def published_image_scores(job: Job) -> Scores:
    """Score images at 256 pixels by pixels and by the paper's networks."""
    if not job.decoded.files:
        return Scores(missing=["Image scores need images: reconstruct with --set images=true."])
    scores, missing = _pixel_scores(job, side=SIDE), []
    for names in PAPER:
        try:
            lacking = _find_weights(job, names)
            if lacking is None:
                scores |= _network_scores(job, names)
            else:
                missing.append(lacking)
        except MissingExtraError as error:
            missing.append(f"{' and '.join(names)} scores: {error}.")
    return Scores(_in_order(scores), missing)


def _find_weights(job: Job, names: Sequence[str]) -> str | None:
    """Find or download the weights of a network, or say what is missing."""
    weights = FEATURE_EXTRACTORS[names[0]].download
    assert weights is not None
    if weights.find(job.settings.networks) is not None:
        return None
    if job.settings.download:
        run_on_rank0(weights.fetch)
        return None
    return (
        f"{' and '.join(names)} scores need {weights.terms}: put the file into the folder "
        "of --set networks=FOLDER, or add --set download=true."
    )


def _network_scores(job: Job, names: Sequence[str]) -> dict[str, Tensor]:
    """Score every kind of images by the layers of one network, which is loaded once."""
    if is_filled(job, names[0]):
        return fill_batches(job, names[0], lambda _: {}, label=names[0])
    network = load_feature_extractor(names[0], folder=job.settings.networks).to(job.device)
    antialias = job.protocol.antialias

    def features(kind: str, rows: slice) -> dict[str, Tensor]:
        images = job.decoded.batch(kind, rows, antialias=antialias).to(job.device)
        found = layer_features(names, images, network=network, antialias=antialias)
        return {name: x.cpu() for name, x in found.items()}

    return _feature_scores(job, names[0], features, tie=job.protocol.tie)


def _feature_scores(
    job: Job, network: str, features: Callable[[str, slice], dict[str, Tensor]], *, tie: float
) -> dict[str, Tensor]:
    """Compare features of each kind of images with those of the seen images, computed once."""
    seen_name = f"{network}-seen"
    seen = fill_batches(
        job, seen_name, lambda rows: features("seen", rows), label=f"{network}: seen images"
    )
    identify = {
        name: TwoWayIdentification(seen.pop(name), tie=tie)
        for name in list(seen)
        if not _is_distance(name)
    }

    def score(rows: slice) -> dict[str, Tensor]:
        return {
            f"{name}_{kind}": identify[name](preds, first=rows.start)
            if name in identify
            else correlation_distance(preds, seen[name][rows])
            for kind in job.decoded.files
            for name, preds in features(kind, rows).items()
        }

    scores = fill_batches(job, network, score, label=f"{network}: reconstructions")
    run_on_rank0(lambda: shutil.rmtree(job.state / seen_name))  # may be a GB
    return scores


def _is_distance(name: str) -> bool:
    extractor = FEATURE_EXTRACTORS.get(name)
    return extractor is not None and extractor.compared_by == "correlation_distance"


def _pixel_scores(job: Job, *, side: int | None) -> dict[str, Tensor]:
    """Compare pixels at one side, or at that of each kind of images."""
    decoded, antialias = job.decoded, job.protocol.antialias
    floor = _mean_training_image(job, side)

    def score(rows: slice) -> dict[str, Tensor]:
        scores = {}
        seen = decoded.batch("seen", rows, side=side, antialias=antialias)
        for kind in [*decoded.files, "floor"]:
            preds = (
                floor.expand(len(seen), -1, -1, -1)
                if kind == "floor"
                else decoded.batch(kind, rows, side=side, antialias=antialias)
            )
            targets = resize(seen, preds.shape[-2:], antialias=antialias)
            scores[f"pixcorr_{kind}"] = pixcorr(preds, targets)
            scores[f"ssim_{kind}"] = ssim(preds, targets)
        return scores

    return fill_batches(job, "pixels", score, label="pixels")


def _mean_training_image(job: Job, side: int | None) -> Float[Tensor, "1 rgb height width"]:
    """Average up to 500 training images: the floor that needs no brain."""
    decoded = job.decoded
    training = decoded.manifest["training_images"]
    images = to_float(decoded.prepared.images[training[:: max(1, len(training) // 500)]])
    last = list(decoded.files)[-1]
    shape = decoded.batch(last, slice(1), side=side).shape[-2:]
    return resize(images, shape, antialias=False).mean(dim=0, keepdim=True)


def _in_order(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sort scores as the catalogue does, and those of other images, e.g. of controls, last."""
    order = {name: i for i, name in enumerate(METRICS)}
    return {name: scores[name] for name in sorted(scores, key=lambda n: order.get(n, len(order)))}
