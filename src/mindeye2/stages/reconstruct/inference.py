"""Inference: from betas to tokens, from tokens to prior samples, captions and images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mindeye2.core.runtime import generator, progress
from mindeye2.data.prepared import Prepared
from mindeye2.generation.blend import blend
from mindeye2.models.decoder import MindEye
from mindeye2.models.training_bank import TrainingBank
from mindeye2.stages.reconstruct.pipeline import Pipeline
from mindeye2.stages.reconstruct.reconstruct_settings import ReconstructSettings
from mindeye2.stages.reconstruct.reference_choice import ChosenScenes
from mindeye2.training.trials import SubjectTrials, load_trials

__all__ = [
    "Generated",
    "Predictions",
    "generate",
    "image_seeds",
    "predict",
    "predict_training_bank",
    "predict_trials",
    "to_uint8",
    "true_tokens",
]


@dataclass(frozen=True)
class Predictions:
    """Outputs of the brain decoder, one row per image, on the CPU."""

    images: Int[Tensor, " images"]
    """Rows of the images, ascending."""

    repeats: Int[Tensor, " images"]
    """Number of presentations that were used."""

    backbone: Float[Tensor, "images tokens features"]
    """Backbone tokens."""

    retrieval: Float[Tensor, "images tokens features"]
    """Tokens of the retrieval head."""

    lowlevel: Float[Tensor, "images channels height width"] | None
    """Latents of the blurry image, where the model has a low-level head."""


@dataclass(frozen=True)
class Generated:
    """Prior samples, captions and images of consecutive images."""

    prior: Float[Tensor, "batch tokens features"]
    """Tokens sampled by the prior."""

    captions: list[str] | None
    """One per image, where there are any."""

    images: dict[str, UInt8[np.ndarray, "batch _ _ rgb"]]
    """``"unclip"``, and where they apply ``"refined"``, ``"lowlevel"``, ``"blended"`` (with the
    refined image where there is one) and ``"ceiling"``."""


@torch.no_grad()
def predict(
    model: MindEye,
    trials: SubjectTrials,
    *,
    subject: str,
    average: Literal["betas", "outputs"],
    batch_size: int,
) -> Predictions:
    """Predict tokens and low-level latents of every image from all its presentations.

    `average` is what is averaged over presentations. Outputs leave the device batch by batch.
    """
    device = next(model.parameters()).device
    images, index, counts = trials.images.unique(return_inverse=True, return_counts=True)
    if average == "betas":
        trials, index = trials.averaged(), torch.arange(len(images))
        divisor = torch.ones(len(images))
    else:
        divisor = counts.float()
    sums: dict[str, Tensor] = {}
    for rows in torch.arange(len(trials)).split(batch_size):
        output = model(trials.betas[rows].to(device), subject=subject)
        for name in ("backbone_tokens", "retrieval_tokens", "lowlevel_latents"):
            values = getattr(output, name)
            if values is None:
                continue
            if name not in sums:
                sums[name] = torch.zeros(len(images), *values.shape[1:])
            sums[name].index_add_(0, index[rows], values.float().cpu())
    means = {k: v.div_(divisor.view(-1, *[1] * (v.ndim - 1))) for k, v in sums.items()}
    return Predictions(
        images=images,
        repeats=counts,
        backbone=means["backbone_tokens"],
        retrieval=means["retrieval_tokens"],
        lowlevel=means.get("lowlevel_latents"),
    )


@torch.no_grad()
def predict_trials(
    model: MindEye, trials: SubjectTrials, *, subject: str, batch_size: int
) -> Float[Tensor, "trials tokens features"]:
    """Predict backbone tokens of single trials, in their order."""
    device = next(model.parameters()).device
    return torch.cat(
        [
            model(betas.to(device), subject=subject).backbone_tokens.float().cpu()
            for betas in trials.betas.split(batch_size)
        ]
    )


def predict_training_bank(
    pipeline: Pipeline, prepared: Prepared, settings: ReconstructSettings
) -> TrainingBank:
    """Predict tokens of ``n_bank`` training images, for a model saved without training bank."""
    trials = load_trials(prepared, settings.subject, ["train"])
    images = trials.images.unique()
    chosen = images[torch.linspace(0, len(images) - 1, min(settings.n_bank, len(images))).long()]
    predictions = predict(
        pipeline.model,
        trials.rows(torch.isin(trials.images, chosen)),
        subject=settings.subject,
        average=settings.average,
        batch_size=settings.batch_size,
    )
    captions = prepared.captions
    return TrainingBank(
        images=predictions.images,
        preds=predictions.backbone,
        targets=true_tokens(prepared, pipeline.encoder, predictions.images),
        captions=captions and [captions[i] for i in predictions.images.tolist()],
    )


def true_tokens(
    prepared: Prepared, encoder: str, images: Int[Tensor, " images"]
) -> Float[Tensor, "images tokens features"]:
    """Read the true tokens of some images as float32; the whole bank would not fit into memory."""
    return torch.from_numpy(prepared.targets(encoder)[images.numpy()].astype(np.float32))


def image_seeds(images: Int[Tensor, " images"], seed: int) -> list[int]:
    """Derive the seed of each image from the run's seed and the image's number."""
    generators = [generator(seed, "image", image) for image in images.tolist()]
    return [int(torch.randint(2**31, (), generator=g)) for g in generators]


@torch.no_grad()
def sample_prior(
    model: MindEye,
    backbone: Float[Tensor, "batch tokens features"],
    *,
    seeds: Sequence[int],
    settings: ReconstructSettings,
) -> Float[Tensor, "batch tokens features"]:
    """Sample image tokens from the prior, each image from its own seed.

    The mean of several samples has a smaller norm than each of them, which decodes to pale images:
    it is scaled to the root mean square of their norms.
    """
    device = next(model.parameters()).device
    generators = [generator(seed, "prior") for seed in seeds]
    condition = backbone.to(device)
    samples = [
        model.prior.sample(condition, steps=settings.prior_steps, generator=generators).cpu()
        for _ in range(settings.prior_samples)
    ]
    if len(samples) == 1:
        return samples[0]
    stacked = torch.stack(samples)
    mean, squares = stacked.mean(dim=0), stacked.square().mean(dim=0)
    ratio = squares.flatten(1).sum(dim=1) / mean.square().flatten(1).sum(dim=1)
    return mean * ratio.sqrt()[:, None, None]


@torch.no_grad()
def generate(
    pipeline: Pipeline,
    predictions: Predictions,
    *,
    seeds: Sequence[int],
    settings: ReconstructSettings,
    captions: Sequence[str] | None = None,
    true: Float[Tensor, "images tokens features"] | None = None,
    references: ChosenScenes | None = None,
    batches: Sequence[slice] | None = None,
) -> Iterator[Generated]:
    """Sample, caption, decode, refine and blend batch by batch.

    `batches` are the rows of each batch, by default all in order. `captions` are for a pipeline
    without captioner, `references` for one without refiner; `true` are the true tokens, where the
    ceiling of the image decoder is wanted.
    """
    if batches is None:
        starts = range(0, len(seeds), settings.batch_size)
        batches = [slice(s, s + settings.batch_size) for s in starts]
    for rows in progress(batches, label="reconstructions"):
        batch_seeds = seeds[rows]
        prior = sample_prior(
            pipeline.model, predictions.backbone[rows], seeds=batch_seeds, settings=settings
        )
        named = pipeline.networks.caption(prior) if settings.captions else None
        if named is None and captions is not None:
            named = list(captions[rows])
        images: dict[str, Tensor] = {}
        if settings.images:
            decoded = pipeline.networks.decode_images(prior, seeds=batch_seeds)
            best = images["unclip"] = _resized(decoded, settings)
            refined = pipeline.networks.refine(
                decoded, named or [""] * len(prior), seeds=batch_seeds
            )
            if refined is None and references is not None:
                refined = references.refine(decoded, images=rows)
            if refined is not None:
                best = images["refined"] = _resized(refined, settings)
            if predictions.lowlevel is not None:
                blurry = _resized(
                    pipeline.networks.decode_lowlevel(predictions.lowlevel[rows]), settings
                )
                images["lowlevel"] = blurry
                images["blended"] = blend(best, blurry.to(best), weight=settings.lowlevel_weight)
            if true is not None:
                ceiling = pipeline.networks.decode_images(true[rows], seeds=batch_seeds)
                images["ceiling"] = _resized(ceiling, settings)
        yield Generated(
            prior=prior,
            captions=named,
            images={name: to_uint8(values) for name, values in images.items()},
        )


def _resized(
    images: Float[Tensor, "batch rgb _ _"], settings: ReconstructSettings
) -> Float[Tensor, "batch rgb height width"]:
    """Resize images to the size at which they are written."""
    if settings.size is None or images.shape[-1] == settings.size:
        return images
    side = (settings.size, settings.size)
    return F.interpolate(images, side, mode="bilinear", antialias=settings.antialias)


def to_uint8(
    images: Float[Tensor, "images rgb height width"],
) -> UInt8[np.ndarray, "images height width rgb"]:
    """Convert RGB in [0, 1] to 8 bits, channels last."""
    whole = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return whole.permute(0, 2, 3, 1).cpu().contiguous().numpy()
