"""The reconstruct stage: decode one subject's responses to one split of images."""

import shutil
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mindeye2.core.artifacts import (
    claim_folder,
    keep_settings,
    read_manifest,
    record_path,
    write_manifest,
)
from mindeye2.core.runtime import choose_device, peak_memory_gib
from mindeye2.core.settings import plain
from mindeye2.core.tensors import save_tensors
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.generation.captions import nearest_captions
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.models.training_bank import TrainingBank
from mindeye2.stages.reconstruct.control_inputs import limit_ridge, random_betas
from mindeye2.stages.reconstruct.inference import (
    Predictions,
    generate,
    image_seeds,
    predict,
    predict_training_bank,
    predict_trials,
    true_tokens,
)
from mindeye2.stages.reconstruct.partial import PartialResults
from mindeye2.stages.reconstruct.pipeline import Pipeline, RunPipeline, check_fit
from mindeye2.stages.reconstruct.reconstruct_settings import ReconstructSettings
from mindeye2.training.trials import SubjectTrials, load_trials

__all__ = ["reconstruct"]


def reconstruct(
    settings: ReconstructSettings,
    *,
    source: Path,
    init: Path,
    out: Path,
    pipeline: Pipeline | None = None,
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Decode one subject's responses to one split of images.

    Parameters
    ----------
    settings
        Subject, split, sampling, networks, sizes.
    source
        Prepared data set.
    init
        Run folder of the brain decoder, or the folder of published weights.
    out
        Folder to fill.
    pipeline
        Networks of `init`, if it is not a run.
    resume
        Continue an interrupted run at its first missing image.
    device
        Where to compute.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the model and the data set do not fit each other, or a network, the targets or the
        training bank are missing; before anything is computed.
    ValueError
        If a setting has no effect on a run.
    """
    prepared = open_prepared(source)
    if pipeline is None:
        pipeline = RunPipeline(init, settings=settings, device=choose_device(device))
    check_fit(prepared, pipeline, settings.subject)
    prepared.targets(pipeline.encoder)
    bank = pipeline.training_bank(settings.subject)
    out = claim_folder(out, resume=resume)
    config = {
        **plain(settings),
        "decoder": settings.decoder and record_path(settings.decoder, folder=out),
        "source": record_path(source, folder=out),
        "init": record_path(init, folder=out),
    }
    # Otherwise images of earlier settings would stay beside tokens of these.
    keep_settings(out, config)
    if (out / "manifest.json").exists():  # finished: resuming must not generate it again
        read_manifest(out, stage="reconstruct")
        return out / "manifest.json"
    pipeline.load()

    trials = _limited(load_trials(prepared, settings.subject, [settings.split]), settings)
    if settings.betas == "random":
        trials = random_betas(trials, seed=settings.seed)
    bank = bank or predict_training_bank(pipeline, prepared, settings)
    if settings.bottleneck is not None:
        bank = limit_ridge(pipeline.model, bank, prepared=prepared, settings=settings)
    predictions = predict(
        pipeline.model,
        trials,
        subject=settings.subject,
        average=settings.average,
        batch_size=settings.batch_size,
    )
    seeds = image_seeds(predictions.images, settings.seed)
    arrays = _tokens(pipeline, prepared, predictions, bank=bank)
    if settings.keep_lowlevel and predictions.lowlevel is not None:
        arrays["lowlevel_latents"] = predictions.lowlevel
    if prepared.known_images:
        arrays["trial_backbone"] = _trial_tokens(pipeline, trials, settings, out=out)
    calibration = fit_calibration(bank.preds, arrays["training_expected"])
    near = similarity(predictions.backbone, arrays["training_expected"], calibration)
    known = bank.captions if settings.captions else None
    captions = None if known is None else nearest_captions(near, known)

    results = PartialResults(out, n_rows=len(seeds))
    for batch in generate(
        pipeline,
        predictions,
        seeds=seeds,
        settings=settings,
        captions=captions,
        true=arrays["true"] if settings.ceiling else None,
        first=results.n_done,
    ):
        results.write(batch)
    arrays["prior"] = torch.from_numpy(results.prior.copy())
    items = pd.DataFrame(
        {
            "image": predictions.images.numpy(),
            "n_repeats": predictions.repeats.numpy(),
            "seed": seeds,
            "nearest_training_image": bank.images[near.argmax(dim=1)].numpy(),
        }
    )
    if results.captions:
        items["caption"] = results.captions
    items.to_parquet(out / "items.parquet", index=False)
    save_tensors({k: v.half() for k, v in arrays.items()}, out / "tokens.safetensors")
    manifest = write_manifest(
        out,
        stage="reconstruct",
        config=config,
        label=prepared.manifest.get("label", ""),
        design=prepared.design,
        subject=settings.subject,
        encoder=pipeline.encoder,
        training_images=bank.images.tolist(),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )
    shutil.rmtree(out / "state")
    return manifest


def _tokens(
    pipeline: Pipeline, prepared: Prepared, predictions: Predictions, *, bank: TrainingBank
) -> dict[str, Tensor]:
    """Collect predicted and true tokens of the images and of the training bank."""
    true = true_tokens(prepared, pipeline.encoder, predictions.images)
    return {
        "backbone": predictions.backbone,
        "retrieval": predictions.retrieval,
        "true": true,
        "expected": pipeline.forward_model(true),
        "training_backbone": bank.preds,
        "training_true": bank.targets,
        "training_expected": pipeline.forward_model(bank.targets),
    }


def _trial_tokens(
    pipeline: Pipeline, trials: SubjectTrials, settings: ReconstructSettings, *, out: Path
) -> Tensor:
    """Predict tokens of single trials, and write the image of each."""
    shown = pd.DataFrame({"image": trials.images.numpy()})
    shown.to_parquet(out / "trials.parquet", index=False)
    return predict_trials(
        pipeline.model, trials, subject=settings.subject, batch_size=settings.batch_size
    )


def _limited(trials: SubjectTrials, settings: ReconstructSettings) -> SubjectTrials:
    """Keep the first presentations of the first images."""
    images = trials.images.unique()[: settings.n_images].tolist()
    counts = dict.fromkeys(images, 0)
    rows = []
    for row, image in enumerate(trials.images.tolist()):
        if image in counts:
            counts[image] += 1
            if settings.n_repeats is None or counts[image] <= settings.n_repeats:
                rows.append(row)
    return trials.rows(torch.tensor(rows))
