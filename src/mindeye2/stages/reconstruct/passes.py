"""The passes of reconstruction: responses to tokens, tokens to samples, samples to pictures."""

from collections.abc import Sequence
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
from mindeye2.models.memory import Memory
from mindeye2.stages.reconstruct.parts import Parts
from mindeye2.stages.reconstruct.settings import ReconstructSettings
from mindeye2.training.trials import SubjectTrials, load_trials

__all__ = [
    "Predicted",
    "bank_memory",
    "draw",
    "image_seeds",
    "predict",
    "sample_prior",
    "to_uint8",
    "true_tokens",
]


@dataclass(frozen=True)
class Predicted:
    """What the brain model says of a set of images."""

    images: Int[Tensor, " images"]
    """Rows of the images, ascending."""

    repeats: Int[Tensor, " images"]
    """Presentations of each that were used."""

    backbone: Float[Tensor, "images tokens features"]
    """Tokens by regression."""

    retrieval: Float[Tensor, "images tokens features"]
    """Tokens for retrieval."""

    lowlevel: Float[Tensor, "images channels height width"] | None
    """Latents of the low-level image, where the model predicts them."""


@torch.no_grad()
def predict(
    model: MindEye,
    trials: SubjectTrials,
    *,
    subject: str,
    average: Literal["betas", "outputs"],
    batch_size: int,
) -> Predicted:
    """Predict tokens and latents of every image, from any number of presentations.

    Parameters
    ----------
    model
        The brain model.
    trials
        Single trials.
    subject
        Whose.
    average
        What is averaged over presentations.
    batch_size
        Trials at a time.

    Returns
    -------
    Predicted
        On the CPU, one row per image.
    """
    device = next(model.parameters()).device
    images, place, counts = trials.images.unique(return_inverse=True, return_counts=True)
    given = trials.averaged().betas if average == "betas" else trials.betas
    outputs = [model(part.to(device), subject=subject) for part in given.split(batch_size)]

    def gather(name: str) -> Tensor | None:
        parts = [getattr(o, name) for o in outputs]
        if parts[0] is None:
            return None
        values = torch.cat(parts).cpu()
        if average == "betas":
            return values
        sums = values.new_zeros(len(images), *values.shape[1:]).index_add_(0, place, values)
        mean: Tensor = sums / counts.view(-1, *[1] * (values.ndim - 1))
        return mean

    backbone, retrieval = gather("backbone_tokens"), gather("retrieval_tokens")
    assert backbone is not None
    assert retrieval is not None
    return Predicted(
        images=images,
        repeats=counts,
        backbone=backbone,
        retrieval=retrieval,
        lowlevel=gather("lowlevel_latents"),
    )


def bank_memory(parts: Parts, prepared: Prepared, settings: ReconstructSettings) -> Memory:
    """Predict some training images, for a model that remembers none of its own.

    Parameters
    ----------
    parts
        The model.
    prepared
        Its data set; the training split is read.
    settings
        ``n_bank``, ``subject`` and how to average.

    Returns
    -------
    Memory
        Predicted and true tokens, spread evenly over the training images.
    """
    trials = load_trials(prepared, settings.subject, ["train"])
    images = trials.images.unique()
    chosen = images[torch.linspace(0, len(images) - 1, min(settings.n_bank, len(images))).long()]
    seen = predict(
        parts.model,
        trials.rows(torch.isin(trials.images, chosen)),
        subject=settings.subject,
        average=settings.average,
        batch_size=settings.batch_size,
    )
    captions = prepared.captions
    return Memory(
        images=seen.images,
        predicted=seen.backbone,
        true=true_tokens(prepared, parts.encoder, seen.images),
        captions=captions and [captions[i] for i in seen.images.tolist()],
    )


def true_tokens(
    prepared: Prepared, encoder: str, images: Int[Tensor, " images"]
) -> Float[Tensor, "images tokens features"]:
    """Return the true tokens of some images; at full size all would not fit into memory.

    Parameters
    ----------
    prepared
        The data set.
    encoder
        Name of the bank.
    images
        Rows.

    Returns
    -------
    Tensor
        Float32.
    """
    return torch.from_numpy(prepared.targets(encoder)[images.numpy()].astype(np.float32))


def image_seeds(images: Int[Tensor, " images"], seed: int) -> list[int]:
    """Draw the seed of each image from the run's seed and the image's number.

    Parameters
    ----------
    images
        Numbers of the images.
    seed
        Seed of the run.

    Returns
    -------
    list of int
        One per image.
    """
    draws = [generator(seed, "image", image) for image in images.tolist()]
    return [int(torch.randint(2**31, (), generator=draw)) for draw in draws]


@torch.no_grad()
def sample_prior(
    model: MindEye,
    backbone: Float[Tensor, "images tokens features"],
    *,
    seeds: Sequence[int],
    settings: ReconstructSettings,
) -> Float[Tensor, "images tokens features"]:
    """Sample image tokens, each image from its own seed.

    A mean of samples is shorter than they are, and would be drawn pale: it is stretched to the
    root mean square of their lengths.

    Parameters
    ----------
    model
        The brain model.
    backbone
        The prior's condition.
    seeds
        One per image.
    settings
        Steps, samples to average, batch.

    Returns
    -------
    Tensor
        On the CPU.
    """
    device = next(model.parameters()).device
    parts = []
    for rows in progress(torch.arange(len(backbone)).split(settings.batch_size), label="prior"):
        draws = [generator(seeds[r], "prior") for r in rows.tolist()]
        condition = backbone[rows].to(device)
        samples = [
            model.prior.sample(condition, steps=settings.prior_steps, generator=draws).cpu()
            for _ in range(settings.prior_samples)
        ]
        parts.append(_mean_at_full_length(samples))
    return torch.cat(parts)


def _mean_at_full_length(samples: Sequence[Tensor]) -> Tensor:
    if len(samples) == 1:
        return samples[0]
    stacked = torch.stack(list(samples))
    mean, squares = stacked.mean(dim=0), stacked.square().mean(dim=0)
    length = squares.flatten(1).sum(dim=1) / mean.square().flatten(1).sum(dim=1)
    return mean * length.sqrt()[:, None, None]


@torch.no_grad()
def draw(
    parts: Parts,
    tokens: Float[Tensor, "images tokens features"],
    *,
    lowlevel: Float[Tensor, "images channels height width"] | None,
    captions: Sequence[str] | None,
    seeds: Sequence[int],
    settings: ReconstructSettings,
    true: Float[Tensor, "images tokens features"] | None = None,
) -> dict[str, UInt8[np.ndarray, "images height2 width2 rgb"]]:
    """Draw, refine and blend pictures, batch by batch.

    Parameters
    ----------
    parts
        What draws.
    tokens
        Image tokens, as the prior gives them.
    lowlevel
        Latents of the low-level images.
    captions
        What refinement is told; nothing where there are none.
    seeds
        One per image.
    settings
        Sizes, shares, batch.
    true
        True tokens, where the decoder's own ceiling is to be drawn.

    Returns
    -------
    dict
        ``"unclip"``, and where they apply ``"refined"``, ``"lowlevel"``, ``"blended"`` (with the
        refined picture where there is one) and ``"ceiling"``; RGB, 0 to 255.
    """
    device = next(parts.model.parameters()).device
    drawn: dict[str, list[UInt8[np.ndarray, "_ height width rgb"]]] = {}

    def keep(name: str, pictures: Tensor) -> None:
        drawn.setdefault(name, []).append(to_uint8(pictures))

    for rows in progress(torch.arange(len(tokens)).split(settings.batch_size), label="pictures"):
        own = [seeds[r] for r in rows.tolist()]
        picture = parts.pictures.decode(tokens[rows].to(device), seeds=own)
        best = _kept(picture, settings)
        keep("unclip", best)
        if parts.refiner is not None:
            told = [""] * len(own) if captions is None else [captions[r] for r in rows.tolist()]
            best = _kept(parts.refiner(picture, told, seeds=own), settings)
            keep("refined", best)
        if lowlevel is not None:
            blurry = parts.lowlevel.decode(lowlevel[rows].to(device))
            keep("lowlevel", blurry)
            keep("blended", blend(best, blurry.to(best), share=settings.lowlevel_share))
        if true is not None:
            keep(
                "ceiling", _kept(parts.pictures.decode(true[rows].to(device), seeds=own), settings)
            )
    return {name: np.concatenate(batches) for name, batches in drawn.items()}


def _kept(pictures: Tensor, settings: ReconstructSettings) -> Tensor:
    """Bring pictures to the size at which they are kept."""
    if settings.size is None or pictures.shape[-1] == settings.size:
        return pictures
    side = (settings.size, settings.size)
    return F.interpolate(pictures, side, mode="bilinear", antialias=settings.antialias)


def to_uint8(
    pictures: Float[Tensor, "images rgb height width"],
) -> UInt8[np.ndarray, "images height width rgb"]:
    """Convert pictures to what files hold.

    Parameters
    ----------
    pictures
        RGB in [0, 1].

    Returns
    -------
    numpy.ndarray
        RGB, 0 to 255.
    """
    whole = (pictures.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return whole.permute(0, 2, 3, 1).cpu().contiguous().numpy()
