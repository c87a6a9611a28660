"""The reconstruct stage: decode one person's responses to one split of images."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from mindeye2.core.artifacts import claim_folder, keep_settings, write_manifest
from mindeye2.core.runtime import choose_device, peak_memory_gib
from mindeye2.core.settings import plain
from mindeye2.data.prepared import open_prepared
from mindeye2.generation.captions import nearest_captions
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.models.memory import Memory
from mindeye2.stages.reconstruct.parts import Parts, RunParts, check_fit
from mindeye2.stages.reconstruct.passes import (
    Predicted,
    bank_memory,
    draw,
    image_seeds,
    predict,
    sample_prior,
    true_tokens,
)
from mindeye2.stages.reconstruct.settings import ReconstructSettings
from mindeye2.training.trials import SubjectTrials, load_trials

__all__ = ["reconstruct"]


def reconstruct(
    settings: ReconstructSettings,
    *,
    source: Path,
    init: Path,
    out: Path,
    parts: Parts | None = None,
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
        Run folder of the brain model, or the folder of published weights.
    out
        Folder to fill.
    parts
        What was loaded from `init`, where it is not a run.
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
        If the model and the data set do not fit each other, or a part is missing.
    """
    prepared = open_prepared(source)
    if parts is None:
        parts = RunParts(init, decoder=settings.decoder, device=choose_device(device))
    check_fit(prepared, parts, settings.subject)
    out = claim_folder(out, resume=resume)
    config = {**plain(settings), "source": str(source), "init": str(init)}
    # Or pictures of the settings before would stay beside tokens of these.
    keep_settings(out, config)
    # What is missing is said now, not after an hour.
    writes = parts.captioner if settings.captions else None
    if settings.pictures:
        _ = (parts.pictures, parts.refiner)

    trials = _limited(load_trials(prepared, settings.subject, [settings.split]), settings)
    seen = predict(
        parts.model,
        trials,
        subject=settings.subject,
        average=settings.average,
        batch_size=settings.batch_size,
    )
    memory = parts.memory(settings.subject) or bank_memory(parts, prepared, settings)
    seeds = image_seeds(seen.images, settings.seed)
    prior = sample_prior(parts.model, seen.backbone, seeds=seeds, settings=settings)
    arrays = {
        "prior": prior,
        "true": true_tokens(prepared, parts.encoder, seen.images),
        **_arrays(seen, memory),
    }
    arrays |= {
        "expected": parts.expect(arrays["true"]),
        "training_expected": parts.expect(memory.true),
    }
    calibration = fit_calibration(memory.predicted, arrays["training_expected"])
    near = similarity(seen.backbone, arrays["training_expected"], calibration)
    items = pd.DataFrame(
        {
            "image": seen.images.numpy(),
            "n_repeats": seen.repeats.numpy(),
            "seed": seeds,
            "nearest_training_image": memory.images[near.argmax(dim=1)].numpy(),
        }
    )
    if writes is not None:
        items["caption"] = [c for part in prior.split(settings.batch_size) for c in writes(part)]
    elif settings.captions and memory.captions is not None:
        items["caption"] = nearest_captions(near, memory.captions)
    items.to_parquet(out / "items.parquet", index=False)
    if settings.keep_lowlevel and seen.lowlevel is not None:
        arrays["lowlevel_latents"] = seen.lowlevel
    save_file({k: v.half().contiguous() for k, v in arrays.items()}, out / "tokens.safetensors")
    if settings.pictures:
        drawn = draw(
            parts,
            prior,
            lowlevel=seen.lowlevel,
            captions=items["caption"].tolist() if "caption" in items else None,
            seeds=seeds,
            settings=settings,
            true=arrays["true"] if settings.ceiling else None,
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


def _arrays(seen: Predicted, memory: Memory) -> dict[str, Tensor]:
    return {
        "backbone": seen.backbone,
        "retrieval": seen.retrieval,
        "training_backbone": memory.predicted,
        "training_true": memory.true,
    }


def _limited(trials: SubjectTrials, settings: ReconstructSettings) -> SubjectTrials:
    """Keep the first presentations of the first images."""
    images = trials.images.unique()[: settings.n_images].tolist()
    seen = dict.fromkeys(images, 0)
    rows = []
    for row, image in enumerate(trials.images.tolist()):
        if image in seen:
            seen[image] += 1
            if settings.n_repeats is None or seen[image] <= settings.n_repeats:
                rows.append(row)
    return trials.rows(torch.tensor(rows))
