"""The train stage: one entry for every kind of training, told apart by its settings."""

from pathlib import Path

import torch

from mindeye2.core.artifacts import claim_folder, keep_settings, record_path, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.processes import join_processes, on_main, own_share
from mindeye2.core.runtime import peak_memory_gib
from mindeye2.core.settings import plain
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.models.checkpoint import load_run, save_run
from mindeye2.models.decoder import MindEye
from mindeye2.models.forward_model import load_forward_model
from mindeye2.models.settings import ModelSettings
from mindeye2.models.training_bank import TrainingBank, save_training_bank
from mindeye2.stages.train.adapt import AdaptTraining, train_adapt
from mindeye2.stages.train.picture_tuning import PictureTuning, tune_pictures
from mindeye2.stages.train.pictures import (
    AutoencoderTraining,
    UnclipTraining,
    train_autoencoder,
    train_unclip,
)
from mindeye2.stages.train.shared import SharedTraining, train_shared
from mindeye2.stages.train.unclip_sdxl import SdxlUnclipTraining, train_unclip_sdxl
from mindeye2.training.trials import TargetBank, load_targets, load_trials

__all__ = ["TASKS", "TrainSettings", "train"]

TrainSettings = (
    SharedTraining
    | AdaptTraining
    | AutoencoderTraining
    | UnclipTraining
    | PictureTuning
    | SdxlUnclipTraining
)
"""What can be trained; each has its own settings."""

TASKS: dict[str, type[TrainSettings]] = {
    "shared": SharedTraining,
    "adapt": AdaptTraining,
    "autoencoder": AutoencoderTraining,
    "unclip": UnclipTraining,
    "picture_tuning": PictureTuning,
    "unclip_sdxl": SdxlUnclipTraining,
}
"""Settings by the name that a run's ``config.yaml`` gives as its task."""

_STARTS_FROM = {
    "adapt": "the pretrained run",
    "unclip": "the autoencoder's run",
    "picture_tuning": "the unCLIP's run",
}


def train(
    settings: TrainSettings,
    *,
    source: Path,
    out: Path,
    init: Path | None = None,
    recipe: str = "custom",
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Train what `settings` describe, in all processes that torchrun started.

    Parameters
    ----------
    settings
        One of the settings classes of `TASKS`.
    source
        Prepared data set; for ``unclip_sdxl`` also a folder of pictures, or tar shards.
    out
        Run folder to fill.
    init
        Run to start from: the pretrained model for ``adapt``, the autoencoder for ``unclip``, the
        unCLIP for ``picture_tuning``.
    recipe
        Name of the recipe that the settings came from, for the record.
    resume
        Go on with a run that was stopped.
    device
        Where to train; of several GPUs each process takes its own.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the source is unfit, the folder is not empty, or the run to start from is missing.
    ValueError
        If the device is not there, or a batch cannot be divided among the processes.
    """
    # Pictures alone are enough to train what draws from tokens.
    prepared = None if isinstance(settings, SdxlUnclipTraining) else open_prepared(source)
    task = next(name for name, kind in TASKS.items() if type(settings) is kind)
    if init is None and task in _STARTS_FROM:
        raise ArtifactError(
            f"the task {task!r} starts from {_STARTS_FROM[task]}: give its folder with --init."
        )
    place = join_processes(device)
    if isinstance(settings, SdxlUnclipTraining) and own_share().count > 1:
        raise ValueError(
            f"the task {task!r} runs in one process, got {own_share().count}. Start it without "
            "torchrun."
        )
    recorded = record_path(init, folder=out) if init else None
    start = {"task": task, "recipe": recipe, "init": recorded}
    config: dict[str, object] = {**start, **plain(settings)}
    out = Path(out)

    def begin() -> None:
        keep_settings(claim_folder(out, resume=resume), config)

    on_main(begin)
    facts = _train(settings, source=source, prepared=prepared, init=init, out=out, device=place)
    facts["peak_memory_gib"] = round(peak_memory_gib(), 2)
    seal = on_main(lambda: write_manifest(out, stage="train", config=config, **facts))
    return seal or out / "manifest.json"


def _train(
    settings: TrainSettings,
    *,
    source: Path,
    prepared: Prepared | None,
    init: Path | None,
    out: Path,
    device: torch.device,
) -> dict[str, object]:
    if isinstance(settings, SdxlUnclipTraining):
        return train_unclip_sdxl(settings, source=source, out=out, device=device)
    assert prepared is not None
    if isinstance(settings, AutoencoderTraining):
        return train_autoencoder(settings, prepared=prepared, out=out, device=device)
    if isinstance(settings, UnclipTraining):
        assert init is not None
        return train_unclip(settings, prepared=prepared, out=out, init=init, device=device)
    if isinstance(settings, PictureTuning):
        assert init is not None
        return tune_pictures(settings, prepared=prepared, out=out, init=init, device=device)
    return _train_brain(settings, prepared=prepared, init=init, out=out, device=device)


def _train_brain(
    settings: SharedTraining | AdaptTraining,
    *,
    prepared: Prepared,
    init: Path | None,
    out: Path,
    device: torch.device,
) -> dict[str, object]:
    tokens = load_targets(prepared, settings.encoder)
    model: MindEye
    if isinstance(settings, SharedTraining):
        sizes = settings.model
        latents = _check_targets(sizes, prepared, tokens=tokens, encoder=settings.encoder)
        model, facts = train_shared(
            settings, prepared=prepared, tokens=tokens, latents=latents, out=out, device=device
        )
    else:
        assert init is not None
        start, expectation = load_run(init), load_forward_model(init)
        if expectation is not None:
            on_main(lambda: expectation.save(out))
        sizes = start.settings
        latents = _check_targets(sizes, prepared, tokens=tokens, encoder=settings.encoder)
        model, facts = train_adapt(
            settings,
            model=start.model.to(device),
            prepared=prepared,
            tokens=tokens,
            latents=latents,
            out=out,
            device=device,
        )
    facts["images"] = prepared.images_hash

    def save() -> None:
        save_run(out, model=model, settings=sizes, encoder=settings.encoder)
        _save_memories(settings, model, prepared, tokens=tokens, out=out, device=device)

    on_main(save)
    return facts


def _check_targets(
    sizes: ModelSettings, prepared: Prepared, *, tokens: TargetBank, encoder: str
) -> TargetBank | None:
    """Refuse targets that the model cannot predict; return those of its low-level head, if any."""
    expected = (sizes.n_tokens, sizes.n_features)
    if tokens.row_shape != expected:
        raise ArtifactError(
            f"the model predicts tokens of shape {expected} (model.n_tokens, model.n_features), "
            f"but the targets {encoder!r} of {prepared.folder} have shape {tokens.row_shape}. Set "
            f"these sizes, or the encoder that has them."
        )
    if sizes.lowlevel is None:
        return None
    latents = load_targets(prepared, "lowlevel")
    if latents.row_shape != sizes.lowlevel.latent_shape:
        raise ArtifactError(
            f"the low-level head predicts latents of shape {sizes.lowlevel.latent_shape} "
            f"(model.lowlevel), but the targets 'lowlevel' of {prepared.folder} have shape "
            f"{latents.row_shape}. Set model.lowlevel to that shape, or model.lowlevel=null."
        )
    return latents


def _save_memories(
    settings: SharedTraining | AdaptTraining,
    model: MindEye,
    prepared: Prepared,
    *,
    tokens: TargetBank,
    out: Path,
    device: torch.device,
) -> None:
    known, splits = model.subjects, settings.train_on
    if isinstance(settings, AdaptTraining):
        known = [settings.subject]
    for subject in known:
        trials = load_trials(
            prepared, subject, splits, sessions=settings.sessions, n_trials=settings.n_trials
        ).averaged()
        with torch.no_grad():
            predicted = model(trials.betas.to(device), subject=subject).backbone_tokens.cpu()
        captions = prepared.captions
        bank = TrainingBank(
            images=trials.images,
            preds=predicted,
            targets=tokens[trials.images],
            captions=captions and [captions[i] for i in trials.images.tolist()],
        )
        save_training_bank(out, subject, bank)
