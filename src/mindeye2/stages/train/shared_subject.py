"""Shared-subject training: one brain decoder for several subjects, and its prior."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from mindeye2.core.runtime import generator, process_rng
from mindeye2.core.settings import Settings
from mindeye2.data.prepared import Prepared
from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.models.encoding_models import fit_encoding_models
from mindeye2.models.model_settings import ModelSettings
from mindeye2.stages.train.closed_form_start import cross_fitted, latent_targets, start_closed_form
from mindeye2.stages.train.forward_model_fit import fit_on_held_out
from mindeye2.stages.train.scores import identification
from mindeye2.stages.train.training_targets import TargetSettings
from mindeye2.training.batch_sampler import BatchSampler, TrainingTargets
from mindeye2.training.batches import epoch_rows
from mindeye2.training.brain_step import BrainStep, PriorStep, contrastive_phase
from mindeye2.training.brain_training import BrainTraining
from mindeye2.training.distributed import current_shard, run_on_rank0
from mindeye2.training.loop import OptimizerSettings, fit
from mindeye2.training.trials import SubjectTrials, TargetBank, all_images, load_trials

__all__ = ["PriorTraining", "SharedTraining", "train_shared"]


_N_VALIDATION = 300
"""Validation images of a subject, at random where there are more."""


class PriorTraining(Settings):
    """Training of the diffusion prior on cross-fitted predictions, after the rest of the model."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    """Trials per step, of all processes together."""

    n_folds: Annotated[int, Field(ge=2)] = 3
    """Folds over images. A ridge fitted to one fold predicts the others, so that the prior learns
    the errors of predictions for new images, from a subject with few trials."""

    optimizer: OptimizerSettings = OptimizerSettings(steps=300, max_lr=2e-3, weight_decay=1e-2)
    """Optimiser and schedule."""


class SharedTraining(BrainTraining):
    """Training of one brain decoder for several subjects."""

    seed: int = 0
    """Seeds weights, batches, mixing and dropout."""

    subjects: tuple[str, ...] | None = None
    """Training subjects; all of the data set by default."""

    sessions: tuple[int, ...] | None = None
    """Training sessions; all by default."""

    n_trials: Annotated[int, Field(ge=10)] | None = None
    """Number of training trials of each subject, the first ones; all by default."""

    train_on: tuple[Literal["train", "validation"], ...] = ("train",)
    """Splits to train on. Baselines of one new subject train on both, as adaptation does."""

    leave_out_cluster: Annotated[int, Field(ge=0, le=4)] | None = None
    """Leave out the training images of one of five clusters of similar images (k-means on the
    tokens; numbered by size, largest first), to see how an unseen kind of image is decoded:
    `evaluate --set battery=true` scores each cluster."""

    targets: TargetSettings = TargetSettings()
    """Encoders of the targets."""

    model: ModelSettings = ModelSettings()
    """Sizes; those of the pretrained model where one is given."""

    released_bias: bool = False
    """Start the ridge of a new subject with the bias of the pretrained model's first subject, as
    the released code does."""

    closed_form_start: bool = True
    """Start ridges and output layer from their closed-form solutions, instead of at random."""

    n_pca_images: Annotated[int, Field(ge=2)] = 10_000
    """Training images, at random, whose tokens give the principal components of the closed-form
    start; more than `model.n_latent`."""

    per_subject: Annotated[int, Field(ge=1)] = 16
    """Trials of each subject in a step, of all processes together."""

    n_bank: Annotated[int, Field(ge=2)] = 2000
    """Training images of each subject, at random, in the run's training bank, which calibrates
    retrieval and supplies captions. At the published size 300 take 0.5 GiB."""

    train_body: bool = True
    """Train with gradients; false keeps the closed-form solution (the ridge baseline)."""

    distinct_images: bool = False
    """Sample batches without repeated images, anew at every step, as the released code does, which
    skips batches that show an image twice; instead of going through all trials in epochs."""

    validate_every: Annotated[int, Field(ge=0)] = 50
    """Steps between validations."""

    train_prior: bool = True
    """Train the prior by itself on cross-fitted predictions, unless `losses.prior` trains it."""

    prior: PriorTraining = PriorTraining()
    """Training of the prior by itself."""


def train_shared(
    settings: SharedTraining,
    *,
    trials: dict[str, SubjectTrials],
    prepared: Prepared,
    targets: TrainingTargets,
    out: Path,
    device: torch.device,
    pretrained: MindEye | None = None,
) -> tuple[MindEye, dict[str, object]]:
    """Train one brain decoder for several subjects; return it and facts for the manifest.

    Where a `pretrained` model is given, e.g. for fine-tuning everything for one new subject, it is
    changed and returned.
    """
    subjects = tuple(trials)
    validation = _validation_trials(settings, prepared, subjects)
    current_shard().check(settings.prior.batch_size, rows="trials", setting="prior.batch_size")
    n_voxels = {s: prepared.n_voxels[s] for s in subjects}
    with process_rng(settings.seed, "model"):
        if pretrained is None:
            model = build_mindeye(settings.model, n_voxels)
        else:
            model = pretrained
            model.ridge.replace_subjects(n_voxels, first_bias=settings.released_bias)
    facts: dict[str, object] = {}
    alphas = None
    model.to(device)
    if settings.closed_form_start:
        facts["alphas"] = alphas = start_closed_form(
            model,
            trials,
            tokens=targets.tokens,
            latents=targets.latents,
            n_pca_images=settings.n_pca_images,
            seed=settings.seed,
            folder=out / "closed_form",
            known_images=prepared.known_images,
        )

    def validate() -> dict[str, float]:
        return identification(model, validation, tokens=targets.tokens, device=device)

    if settings.train_body:
        _fit_body(
            settings,
            model,
            trials,
            targets=targets,
            out=out,
            device=device,
            validate=validate if validation else None,
        )
    model.eval()
    if validation:
        facts["validation"] = validate()
    if len(subjects) > 1:
        run_on_rank0(lambda: _keep_encoding_models(model, trials, tokens=targets.tokens, out=out))
    prior_alone = settings.train_prior and not settings.losses.prior
    several = len(subjects) > 1 and bool(validation)
    if not (prior_alone or several):
        return model, facts
    preds, images = cross_fitted(
        model,
        trials,
        tokens=targets.tokens,
        n_folds=settings.prior.n_folds,
        seed=settings.seed,
        folder=out / "closed_form",
        alphas=alphas,
    )
    if several:
        facts["forward_model"] = run_on_rank0(
            lambda: fit_on_held_out(
                model,
                validation,
                preds=preds,
                images=images,
                tokens=targets.tokens,
                out=out,
            )
        )
    if prior_alone:
        _fit_prior(
            settings,
            model,
            preds=preds,
            images=images,
            tokens=targets.tokens,
            out=out,
            device=device,
        )
    return model, facts


@torch.no_grad()
def _keep_encoding_models(
    model: MindEye, trials: Mapping[str, SubjectTrials], *, tokens: TargetBank, out: Path
) -> None:
    """Write how each voxel responds to images, from which new subjects' ridges start."""
    images = all_images(trials)
    latents = latent_targets(model, images, tokens=tokens, folder=out)[images]
    fit_encoding_models(
        latents.to(model.backbone.output.weight.device),
        {s: (own.betas, torch.searchsorted(images, own.images)) for s, own in trials.items()},
    ).save(out)


def _validation_trials(
    settings: SharedTraining, prepared: Prepared, subjects: Sequence[str]
) -> dict[str, SubjectTrials]:
    """Load averaged validation trials of each subject that has some that are not trained on."""
    if "validation" in settings.train_on:
        return {}
    sessions = settings.sessions
    return {
        s: load_trials(prepared, s, ["validation"], sessions=sessions)
        .averaged()
        .at_most(_N_VALIDATION, seed=settings.seed)
        for s in subjects
        if len(prepared.trials_of(s, "validation", sessions=sessions))
    }


def _fit_body(
    settings: SharedTraining,
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    targets: TrainingTargets,
    out: Path,
    device: torch.device,
    validate: Callable[[], dict[str, float]] | None,
) -> None:
    """Train all but what no loss reaches, on batches of every subject."""
    sample = BatchSampler(
        trials=trials,
        targets=targets,
        losses=settings.losses,
        prior=model.prior,
        per_subject=settings.per_subject,
        seed=settings.seed,
        device=device,
        shard=current_shard(),
        distinct_images=settings.distinct_images,
    )
    steps_per_epoch = settings.epoch_length(
        n_subjects=len(trials),
        n_sessions=max(len(own.sessions.unique()) for own in trials.values()),
        batch_size=sample.batch_size,
    )
    optimizer = settings.resolved_optimizer(steps_per_epoch)

    def batch_of(step: int) -> dict[str, object]:
        mixing, temperature = contrastive_phase(
            settings.losses, step, n_steps=optimizer.steps, steps_per_epoch=steps_per_epoch
        )
        return sample(step, mixing=mixing, temperature=temperature)

    fit(
        BrainStep(model, settings.losses),
        batch_of,
        settings=optimizer,
        seed=settings.seed,
        folder=out,
        device=device,
        label="shared-subject training",
        validate=validate,
        validate_every=settings.validate_every,
    )


def _fit_prior(
    settings: SharedTraining,
    model: MindEye,
    *,
    preds: TargetBank,
    images: Int[Tensor, " trials"],
    tokens: TargetBank,
    out: Path,
    device: torch.device,
) -> None:
    """Train the prior alone, conditioned on cross-fitted predictions."""
    chosen, shard = settings.prior, current_shard()
    model.requires_grad_(requires_grad=False)
    model.prior.requires_grad_(requires_grad=True)

    def batch_of(step: int) -> dict[str, object]:
        rows = epoch_rows(len(images), chosen.batch_size, step, seed=settings.seed, stream="prior")
        random = generator(settings.seed, "prior", step)
        noise = model.prior.sample_noise(len(rows), generator=random)
        own = shard.of(rows)
        with torch.no_grad():
            condition = model.heads(preds[own].to(device)).backbone_tokens
        return {
            "tokens": tokens[images[own]].to(device),
            "condition": condition,
            **{name: shard.of(values) for name, values in noise.items()},
        }

    run_on_rank0(lambda: (out / "prior").mkdir(exist_ok=True))
    fit(
        PriorStep(model.prior),
        batch_of,
        settings=chosen.optimizer,
        seed=settings.seed,
        folder=out / "prior",
        device=device,
        label="prior",
    )
