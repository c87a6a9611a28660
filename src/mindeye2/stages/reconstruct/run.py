"""The reconstruct stage: decode one subject's responses to one split of images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.core.artifacts import (
    claim_folder,
    keep_settings,
    read_manifest,
    record_path,
    write_manifest,
)
from mindeye2.core.errors import ArtifactError
from mindeye2.core.partial_arrays import PartialArrays
from mindeye2.core.runtime import peak_memory_gib
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
from mindeye2.stages.reconstruct.pipeline import Pipeline, RunPipeline, check_fit
from mindeye2.stages.reconstruct.reconstruct_settings import ReconstructSettings
from mindeye2.stages.reconstruct.reference_choice import ChosenScenes, choose_scenes
from mindeye2.training.distributed import (
    current_shard,
    init_processes,
    run_on_rank0,
    wait_for_all,
)
from mindeye2.training.trials import SubjectTrials, load_trials

__all__ = ["reconstruct"]


def reconstruct(
    settings: ReconstructSettings,
    *,
    source: Path,
    init: Path,
    out: Path,
    open_pipeline: Callable[..., Pipeline] = RunPipeline,
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Decode one subject's responses to one split of images.

    The processes that torchrun started share the batches of images. Each image has a seed of its
    own, so that the files are the same whatever their number.

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
    open_pipeline
        Opens the networks of `init`, of `settings`, on a device; by default those of a run.
    resume
        Continue an interrupted run with its missing images.
    device
        Where to compute; of several GPUs each process takes its own.

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
        If a setting has no effect on a run, or the device is not there.
    """
    own_device, out = init_processes(device), Path(out)
    prepared = open_prepared(source)
    pipeline = open_pipeline(init, settings=settings, device=own_device)
    if settings.images and not prepared.has_images:
        raise ArtifactError(
            f"{source} was prepared from published embeddings of the images, without the images: "
            f"no image decoder generates pictures from tokens of {pipeline.encoder!r}. Write "
            "tokens only, for retrieval, with --set images=false; or get the images and prepare "
            "them with encoders."
        )
    check_fit(prepared, pipeline, settings.subject)
    prepared.targets(pipeline.encoder)
    bank = pipeline.training_bank(settings.subject)
    config = {
        **plain(settings),
        "decoder": settings.decoder and record_path(settings.decoder, folder=out),
        "source": record_path(source, folder=out),
        "init": record_path(init, folder=out),
    }
    # Otherwise images of earlier settings would stay beside tokens of these.
    run_on_rank0(lambda: keep_settings(claim_folder(out, resume=resume), config))
    if (out / "manifest.json").exists():  # finished: resuming must not generate it again
        read_manifest(out, stage="reconstruct")
        return out / "manifest.json"
    pipeline.load()

    tokens = _decode_tokens(pipeline, prepared, settings, bank=bank)
    partial = PartialArrays(out, n_rows=len(tokens.seeds), batch_size=settings.batch_size)
    run_on_rank0(lambda: partial.begin({"batch_size": settings.batch_size}))
    shard = current_shard()
    own = partial.missing(rank=shard.rank, world_size=shard.world_size)
    generated = generate(
        pipeline,
        tokens.predictions,
        seeds=tokens.seeds,
        settings=settings,
        captions=tokens.captions,
        references=tokens.references,
        true=tokens.true if settings.ceiling else None,
        batches=own,
    )
    for rows, batch in zip(own, generated, strict=True):
        arrays = {**batch.images, "state/prior": batch.prior.numpy()}
        partial.write(rows, arrays, note=batch.captions)
    wait_for_all()

    def seal() -> None:
        _write_tokens(
            out, tokens, pipeline, settings=settings, single_trials=bool(prepared.known_images)
        )
        _write_items(out, tokens, notes=partial.notes())
        write_manifest(
            out,
            stage="reconstruct",
            config=config,
            label=prepared.manifest.get("label", ""),
            design=prepared.design,
            subject=settings.subject,
            encoder=pipeline.encoder,
            references="none" if tokens.references is None else "scenes",
            images_sha256=prepared.images_hash,
            training_images=tokens.bank.images.tolist(),
            peak_memory_gib=round(peak_memory_gib(), 2),
        )
        partial.remove_state()

    run_on_rank0(seal)
    return out / "manifest.json"


@dataclass(frozen=True)
class _DecodedTokens:
    """What is known of every image before any is generated."""

    trials: SubjectTrials
    predictions: Predictions
    halves: dict[str, Float[Tensor, "images tokens features"]]
    seeds: list[int]
    true: Float[Tensor, "images tokens features"]
    bank: TrainingBank
    training_expected: Float[Tensor, "bank tokens features"]
    compared: dict[str, Float[Tensor, "_ ..."]]
    """What is compared of some of these, by the name that they are written by."""
    nearest: Int[Tensor, " images"]
    references: ChosenScenes | None
    captions: list[str] | None


def _decode_tokens(
    pipeline: Pipeline,
    prepared: Prepared,
    settings: ReconstructSettings,
    *,
    bank: TrainingBank | None,
) -> _DecodedTokens:
    """Predict the tokens of every image and find its nearest training images."""
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
    expected = pipeline.forward_model(bank.targets)
    compared = {
        "backbone": pipeline.whiten(predictions.backbone),
        "training_backbone": pipeline.whiten(bank.preds),
        "training_expected": pipeline.whiten(expected),
    }
    near = similarity(
        compared["backbone"],
        compared["training_expected"],
        fit_calibration(compared["training_backbone"], compared["training_expected"]),
    )
    references = choose_scenes(
        pipeline.reference_scenes(),
        predictions.backbone,
        bank=bank,
        forward_model=pipeline.forward_model,
        whiten=pipeline.whiten,
    )
    captions = None
    if settings.captions and references is not None:
        captions = references.captions()
    elif settings.captions and bank.captions is not None:
        captions = nearest_captions(near, bank.captions)
    return _DecodedTokens(
        trials=trials,
        predictions=predictions,
        halves=_predict_halves(pipeline, trials, settings),
        seeds=image_seeds(predictions.images, settings.seed),
        true=true_tokens(prepared, pipeline.encoder, predictions.images),
        bank=bank,
        training_expected=expected,
        compared=compared,
        nearest=bank.images[near.argmax(dim=1)],
        references=references,
        captions=captions,
    )


def _predict_halves(
    pipeline: Pipeline, trials: SubjectTrials, settings: ReconstructSettings
) -> dict[str, Float[Tensor, "images tokens features"]]:
    """Predict from every second presentation of each image, and from the others.

    Nothing where an image was shown once; noise ceilings need both.
    """
    return {
        f"{name}_half_backbone": predict(
            pipeline.model,
            half,
            subject=settings.subject,
            average=settings.average,
            batch_size=settings.batch_size,
        ).backbone
        for name, half in zip(("first", "second"), trials.halves() or (), strict=False)
    }


def _write_tokens(
    out: Path,
    tokens: _DecodedTokens,
    pipeline: Pipeline,
    *,
    settings: ReconstructSettings,
    single_trials: bool,
) -> None:
    """Write tokens, with the prior's samples that all processes left in ``state/``."""
    arrays = {
        "backbone": tokens.predictions.backbone,
        "retrieval": tokens.predictions.retrieval,
        **tokens.halves,
        "true": tokens.true,
        "expected": pipeline.forward_model(tokens.true),
        "training_backbone": tokens.bank.preds,
        "training_true": tokens.bank.targets,
        "training_expected": tokens.training_expected,
        "prior": torch.from_numpy(np.load(out / "state" / "prior.npy")),
    }
    more = {name: pipeline.whiten(arrays[name]) for name in ("expected", *tokens.halves)}
    for name, compared in (tokens.compared | more).items():
        # Without a whitening, the tokens themselves are compared.
        if compared is not arrays[name]:
            arrays[f"{name}_whitened"] = compared
    if settings.keep_lowlevel and tokens.predictions.lowlevel is not None:
        arrays["lowlevel_latents"] = tokens.predictions.lowlevel
    if single_trials:
        arrays["trial_backbone"] = _trial_tokens(pipeline, tokens.trials, settings, out=out)
    save_tensors({k: v.half() for k, v in arrays.items()}, out / "tokens.safetensors")


def _trial_tokens(
    pipeline: Pipeline, trials: SubjectTrials, settings: ReconstructSettings, *, out: Path
) -> Tensor:
    """Predict tokens of single trials, and write the image of each."""
    shown = pd.DataFrame({"image": trials.images.numpy()})
    shown.to_parquet(out / "trials.parquet", index=False)
    return predict_trials(
        pipeline.model, trials, subject=settings.subject, batch_size=settings.batch_size
    )


def _write_items(out: Path, tokens: _DecodedTokens, *, notes: list[list[str] | None]) -> None:
    """Write a row per image; `notes` are the captions of each batch."""
    items = pd.DataFrame(
        {
            "image": tokens.predictions.images.numpy(),
            "n_repeats": tokens.predictions.repeats.numpy(),
            "seed": tokens.seeds,
            "nearest_training_image": tokens.nearest.numpy(),
        }
    )
    if tokens.references is not None:
        items["reference_scene"] = tokens.references.nearest.numpy()
        described = pd.DataFrame([scene.columns() for scene in tokens.references.described])
        items = pd.concat([items, described], axis=1)
    captions = [caption for note in notes for caption in note or []]
    if captions:
        items["caption"] = captions
    items.to_parquet(out / "items.parquet", index=False)


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
