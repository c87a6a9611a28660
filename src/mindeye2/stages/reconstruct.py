"""Reconstruct: a run and a prepared data set -> tokens, pictures, captions, one seed per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from mindeye2.core.artifacts import claim_folder, keep_settings, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import choose_device, generator, peak_memory_gib, progress
from mindeye2.core.settings import Settings, plain
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.generation.blend import blend
from mindeye2.generation.captions import nearest_captions
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.generation.retrieval import fit_calibration, similarity
from mindeye2.generation.unclip import Unclip
from mindeye2.models.checkpoint import LoadedRun, load_run
from mindeye2.models.decoder import MindEye
from mindeye2.models.expectation import load_expectation
from mindeye2.models.memory import load_memory
from mindeye2.training.trials import SubjectTrials, load_targets, load_trials

__all__ = ["ReconstructSettings", "reconstruct"]


class ReconstructSettings(Settings):
    """What to reconstruct, and how."""

    subject: str = "subj08"
    """Whose brain."""

    split: Literal["train", "validation", "test"] = "test"
    """Which images."""

    n_repeats: Annotated[int, Field(ge=1)] | None = None
    """Presentations of an image to use, the first ones; None for all there are."""

    average: Literal["betas", "outputs"] = "betas"
    """What is averaged over presentations. The released code averages the outputs of single-trial
    passes; for a body that is not linear, averaging the betas leaves less noise."""

    seed: int = 0
    """The seed of an image is drawn from this and the image's number."""

    prior_steps: Annotated[int, Field(ge=2)] = 20
    """Denoising steps of the prior."""

    prior_samples: Annotated[int, Field(ge=1)] = 4
    """Samples of the prior that are averaged: one is sharpest, many come near the mean."""

    pictures: bool = True
    """Draw pictures; off, only tokens are written, which suffices for retrieval."""

    lowlevel_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the low-level image in the blended one (released: 1/4, paper: 1/5)."""

    decoder: Path | None = None
    """Run folder of an image decoder; the shipped one by default."""

    batch_size: Annotated[int, Field(ge=1)] = 50
    """Images at a time; changes no result."""


@dataclass(frozen=True)
class _Predicted:
    """What the brain model says of a set of images."""

    images: Tensor
    repeats: Tensor
    backbone: Tensor
    retrieval: Tensor
    lowlevel: Tensor | None


def reconstruct(
    settings: ReconstructSettings,
    *,
    source: Path,
    init: Path,
    out: Path,
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Decode one person's responses to one split of images.

    Parameters
    ----------
    settings
        What to reconstruct.
    source
        Prepared data set.
    init
        Run folder of the brain model.
    out
        Folder to fill.
    resume
        Fill a folder that an interrupted run left behind.
    device
        Where to compute.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the run and the data set do not fit each other.
    """
    prepared, run = open_prepared(source), load_run(init)
    _check_fit(prepared, run, settings.subject, init=init)
    out = claim_folder(out, resume=resume)
    config = {**plain(settings), "source": str(source), "init": str(init)}
    # Or pictures of the settings before would stay beside tokens of these.
    keep_settings(out, config)
    place = choose_device(device)
    model = run.model.to(place)
    trials = _limited(load_trials(prepared, settings.subject, [settings.split]), settings)
    tokens = load_targets(prepared, run.encoder)
    seen = _predict(model, trials, settings, device=place)
    memory = load_memory(init, settings.subject)
    prior = _sample_prior(model, seen, settings, device=place)

    expect = load_expectation(init) or (lambda true: true)
    arrays = {
        "backbone": seen.backbone,
        "retrieval": seen.retrieval,
        "prior": prior,
        "true": tokens[seen.images],
        "training_backbone": memory.predicted,
        "training_true": memory.true,
        "expected": expect(tokens[seen.images]),
        "training_expected": expect(memory.true),
    }
    calibration = fit_calibration(memory.predicted, arrays["training_expected"])
    near = similarity(seen.backbone, arrays["training_expected"], calibration)
    nearest = memory.images[near.argmax(dim=1)]
    items = pd.DataFrame(
        {
            "image": seen.images.numpy(),
            "n_repeats": seen.repeats.numpy(),
            "seed": _seeds(seen.images, settings.seed),
            "nearest_training_image": nearest.numpy(),
        }
    )
    if memory.captions is not None:
        items["caption"] = nearest_captions(near, memory.captions)
    items.to_parquet(out / "items.parquet", index=False)
    save_file({k: v.half().contiguous() for k, v in arrays.items()}, out / "tokens.safetensors")
    if settings.pictures:
        decoder = load_unclip_decoder(settings.decoder).to(place)
        drawn = _draw(
            decoder,
            prior,
            true=tokens[seen.images],
            lowlevel=seen.lowlevel,
            seeds=items["seed"].tolist(),
            settings=settings,
            device=place,
        )
        for name, pictures in drawn.items():
            np.save(out / f"{name}.npy", pictures)
    return write_manifest(
        out,
        stage="reconstruct",
        config=config,
        label=prepared.manifest.get("label", ""),
        subject=settings.subject,
        training_images=memory.images.tolist(),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def _check_fit(prepared: Prepared, run: LoadedRun, subject: str, *, init: Path) -> None:
    known = run.model.ridge.n_voxels
    if subject not in known:
        raise ArtifactError(
            f"the run {init} knows {sorted(known)}, not {subject!r}. Adapt it first: "
            f"mindeye2 train --recipe adapt --init {init} --set subject={subject}"
        )
    if subject not in prepared.n_voxels:
        raise ArtifactError(
            f"the data set {prepared.folder} has {prepared.subjects}, not {subject!r}."
        )
    if known[subject] != prepared.n_voxels[subject]:
        raise ArtifactError(
            f"the run {init} was trained on {known[subject]} voxels of {subject}, the data set "
            f"{prepared.folder} has {prepared.n_voxels[subject]}. It is a run of another data set."
        )
    # A run remembers its training images by their rows.
    if run.manifest.get("images", prepared.images_hash) != prepared.images_hash:
        raise ArtifactError(
            f"the run {init} was trained on other pictures than those of {prepared.folder}. It is "
            "a run of another data set: give the one that it was trained on with --source."
        )


def _limited(trials: SubjectTrials, settings: ReconstructSettings) -> SubjectTrials:
    if settings.n_repeats is None:
        return trials
    seen: dict[int, int] = {}
    rows = []
    for row, image in enumerate(trials.images.tolist()):
        seen[image] = seen.get(image, 0) + 1
        if seen[image] <= settings.n_repeats:
            rows.append(row)
    return trials.rows(torch.tensor(rows))


@torch.no_grad()
def _predict(
    model: MindEye, trials: SubjectTrials, settings: ReconstructSettings, *, device: torch.device
) -> _Predicted:
    images, place, counts = trials.images.unique(return_inverse=True, return_counts=True)
    given = trials.averaged().betas if settings.average == "betas" else trials.betas
    outputs = [
        model(part.to(device), subject=settings.subject)
        for part in given.split(settings.batch_size)
    ]

    def gather(name: str) -> Tensor | None:
        parts = [getattr(o, name) for o in outputs]
        if parts[0] is None:
            return None
        values = torch.cat(parts).cpu()
        if settings.average == "betas":
            return values
        sums = values.new_zeros(len(images), *values.shape[1:]).index_add_(0, place, values)
        mean: Tensor = sums / counts.view(-1, *[1] * (values.ndim - 1))
        return mean

    backbone, retrieval = gather("backbone_tokens"), gather("retrieval_tokens")
    assert backbone is not None
    assert retrieval is not None
    return _Predicted(
        images=images,
        repeats=counts,
        backbone=backbone,
        retrieval=retrieval,
        lowlevel=gather("lowlevel_latents"),
    )


def _seeds(images: Tensor, seed: int) -> list[int]:
    draws = [generator(seed, "image", image) for image in images.tolist()]
    return [int(torch.randint(2**31, (), generator=draw)) for draw in draws]


@torch.no_grad()
def _sample_prior(
    model: MindEye, seen: _Predicted, settings: ReconstructSettings, *, device: torch.device
) -> Float[Tensor, "images tokens features"]:
    backbone, seeds = seen.backbone, _seeds(seen.images, settings.seed)
    parts = []
    for rows in progress(torch.arange(len(backbone)).split(settings.batch_size), label="prior"):
        draws = [generator(seeds[r], "prior") for r in rows.tolist()]
        total = torch.zeros_like(backbone[rows])
        for _ in range(settings.prior_samples):
            total += model.prior.sample(
                backbone[rows].to(device), steps=settings.prior_steps, generator=draws
            ).cpu()
        parts.append(total / settings.prior_samples)
    return torch.cat(parts)


@torch.no_grad()
def _draw(
    decoder: Unclip,
    prior: Float[Tensor, "images tokens features"],
    *,
    true: Float[Tensor, "images tokens features"],
    lowlevel: Float[Tensor, "images channels height width"] | None,
    seeds: Sequence[int],
    settings: ReconstructSettings,
    device: torch.device,
) -> dict[str, UInt8[np.ndarray, "images height2 width2 rgb"]]:
    drawn: dict[str, list[Tensor]] = {"unclip": [], "ceiling": [], "lowlevel": [], "blended": []}
    for rows in progress(torch.arange(len(prior)).split(settings.batch_size), label="pictures"):
        own = [seeds[r] for r in rows.tolist()]
        picture = decoder.decode(prior[rows].to(device), seeds=own).cpu()
        drawn["unclip"].append(picture)
        drawn["ceiling"].append(decoder.decode(true[rows].to(device), seeds=own).cpu())
        if lowlevel is not None:
            blurry = decoder.autoencoder.decode(lowlevel[rows].to(device)).cpu()
            drawn["lowlevel"].append(blurry)
            drawn["blended"].append(blend(picture, blurry, share=settings.lowlevel_share))
    return {name: _to_uint8(torch.cat(parts)) for name, parts in drawn.items() if parts}


def _to_uint8(
    pictures: Float[Tensor, "images rgb height width"],
) -> UInt8[np.ndarray, "images height width rgb"]:
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
