"""Shared-subject training: closed-form start, training of the whole model, then the prior."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.processes import on_main, own_share
from mindeye2.core.runtime import generator, process_rng, progress
from mindeye2.core.settings import Settings
from mindeye2.data.prepared import Prepared
from mindeye2.models.closed_form import (
    choose_alpha,
    fit_ridge,
    image_folds,
    mean_reciprocal_rank,
    pca_components,
)
from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.models.forward_model import ForwardModel, choose_forward_model, fit_forward_model
from mindeye2.models.settings import ModelSettings
from mindeye2.stages.train.scores import identification
from mindeye2.training.batches import epoch_rows
from mindeye2.training.loop import OptimizerSettings, fit
from mindeye2.training.shared import BrainStep, LossSettings, PriorStep, draw_batch
from mindeye2.training.trials import SubjectTrials, TargetBank, all_images, load_trials

__all__ = ["PriorTraining", "SharedTraining", "train_shared"]


class PriorTraining(Settings):
    """Training of the diffusion prior on held-back predictions."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    """Trials a step, of all processes together."""

    n_folds: Annotated[int, Field(ge=2)] = 3
    """Folds over images. A ridge fitted to one fold predicts the others, so that the prior learns
    how wrong predictions are for pictures that were not fitted, by someone with few trials."""

    optimizer: OptimizerSettings = OptimizerSettings(steps=300, max_lr=2e-3, weight_decay=1e-2)
    """Optimiser and schedule."""


class SharedTraining(Settings):
    """Training of one model for several people."""

    seed: int = 0
    """Seeds weights, batches, mixing and dropout."""

    subjects: tuple[str, ...] | None = None
    """Whom to train on; everybody by default."""

    sessions: tuple[int, ...] | None = None
    """Sessions to use; all by default."""

    n_trials: Annotated[int, Field(ge=20)] | None = None
    """Only the first so many training trials of each person; None for all."""

    train_on: tuple[Literal["train", "validation"], ...] = ("train",)
    """Splits to train on. Baselines of one new person train on both, as adaptation does."""

    encoder: str = "lite0"
    """Whose tokens to predict."""

    model: ModelSettings = ModelSettings()
    """Sizes."""

    losses: LossSettings = LossSettings()
    """Weights of the losses."""

    closed_form_start: bool = True
    """Start ridges and output layer from their closed-form solutions, instead of at random."""

    per_subject: Annotated[int, Field(ge=1)] = 16
    """Trials of each subject in a step, of all processes together."""

    train_body: bool = True
    """Train at all; off, the closed-form solution is the result (the ridge baseline)."""

    optimizer: OptimizerSettings = OptimizerSettings(steps=200, max_lr=2e-4)
    """Optimiser and schedule."""

    validate_every: Annotated[int, Field(ge=0)] = 50
    """Steps between validations."""

    train_prior: bool = True
    """Train the prior."""

    prior: PriorTraining = PriorTraining()
    """Training of the prior."""


def train_shared(
    settings: SharedTraining,
    *,
    prepared: Prepared,
    tokens: TargetBank,
    latents: TargetBank | None,
    out: Path,
    device: torch.device,
) -> tuple[MindEye, dict[str, object]]:
    """Train one model for several people.

    Parameters
    ----------
    settings
        What to train.
    prepared
        The data set.
    tokens
        Target tokens of every image.
    latents
        Low-level latents of every image; None where the model has no low-level head.
    out
        Run folder.
    device
        Where to train.

    Returns
    -------
    tuple
        The model, and facts for the manifest.
    """
    subjects = settings.subjects or tuple(prepared.subjects)

    def load(subject: str, splits: Sequence[str], n_trials: int | None) -> SubjectTrials:
        return load_trials(
            prepared, subject, splits, sessions=settings.sessions, n_trials=n_trials
        )

    trials = {s: load(s, settings.train_on, settings.n_trials) for s in subjects}
    _check_shares(settings, trials)
    held = _validation_trials(settings, prepared, subjects)
    with process_rng(settings.seed, "model"):
        model = build_mindeye(settings.model, {s: prepared.n_voxels[s] for s in subjects})
    facts: dict[str, object] = {}
    if settings.closed_form_start:
        facts["penalties"] = start_closed_form(
            model, trials, tokens=tokens, latents=latents, seed=settings.seed
        )
    model.to(device)
    step_module = BrainStep(model, settings.losses)
    model.prior.requires_grad_(requires_grad=False)

    def batch_of(step: int) -> dict[str, object]:
        mixing = step < settings.losses.mixing_share * settings.optimizer.steps
        return draw_batch(
            trials,
            tokens=tokens,
            latents=latents,
            per_subject=settings.per_subject,
            step=step,
            mixing=mixing,
            seed=settings.seed,
            device=device,
            share=own_share(),
        )

    def judge() -> dict[str, float]:
        return identification(model, held, tokens=tokens, device=device)

    if settings.train_body:
        fit(
            step_module,
            batch_of,
            settings=settings.optimizer,
            seed=settings.seed,
            folder=out,
            device=device,
            label="shared-subject training",
            validate=judge if held else None,
            validate_every=settings.validate_every,
        )
    model.eval()
    if held:
        facts["validation"] = judge()
    several = len(subjects) > 1 and bool(held)
    if not (settings.train_prior or several):
        return model, facts
    predicted, shown = cross_fitted(
        model, trials, tokens=tokens, n_folds=settings.prior.n_folds, seed=settings.seed
    )
    if several:
        facts["expectation"] = _fit_expectation(
            model, held, predicted=predicted, shown=shown, tokens=tokens, out=out, device=device
        )
    if settings.train_prior:
        _fit_prior(
            settings,
            model,
            predicted=predicted,
            shown=shown,
            tokens=tokens,
            out=out,
            device=device,
        )
    return model, facts


def _validation_trials(
    settings: SharedTraining, prepared: Prepared, subjects: Sequence[str]
) -> dict[str, SubjectTrials]:
    """Load averaged validation trials of each subject that has some that are not trained on."""
    if "validation" in settings.train_on:
        return {}
    sessions = settings.sessions
    return {
        s: load_trials(prepared, s, ["validation"], sessions=sessions).averaged()
        for s in subjects
        if len(prepared.trials_of(s, "validation", sessions=sessions))
    }


def _check_shares(settings: SharedTraining, trials: Mapping[str, SubjectTrials]) -> None:
    share = own_share()
    for subject, own in trials.items():
        size = min(settings.per_subject, len(own))
        share.check(size, rows=f"trials of {subject}", setting="per_subject")
    share.check(settings.prior.batch_size, rows="trials", setting="prior.batch_size")


@torch.no_grad()
def start_closed_form(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    latents: TargetBank | None,
    seed: int,
) -> dict[str, float]:
    """Set ridges, output layer and low-level head to their closed-form solutions.

    The shared space starts as the principal components of the target tokens, so that each person's
    ridge is a ridge regression onto them and the output layer is their inverse; the residual
    blocks between them start as the identity.

    Parameters
    ----------
    model
        Changed in place.
    trials
        Training trials by subject.
    tokens
        Target tokens of every image.
    latents
        Low-level latents of every image.
    seed
        Draws the folds that choose each penalty.

    Returns
    -------
    dict
        The penalty of each subject.
    """
    images = all_images(trials)
    bank = tokens[images].flatten(1)
    n_components = min(model.ridge.n_latent, len(images) - 1)
    axes, mean = pca_components(bank, n_components=n_components)
    output = model.backbone.output
    output.weight.zero_()
    output.weight[:, :n_components] = axes
    output.bias.copy_(mean)
    # Of every image by its row in the data set; only training images are filled.
    codes = bank.new_zeros(len(tokens), n_components)
    codes[images] = (bank - mean) @ axes
    if model.lowlevel is not None and model.lowlevel.upsampler is None:
        assert latents is not None
        lowlevel = fit_ridge(codes[images], latents[images].flatten(1))
        # Codes have variances far above 1, so this penalty only guards against tiny ones.
        weights, bias = lowlevel.weights(alpha=float(len(images)))
        model.lowlevel.linear.weight.zero_()
        model.lowlevel.linear.weight[:, :n_components] = weights.T
        model.lowlevel.linear.bias.copy_(bias)
    penalties = {}
    for subject, own in progress(trials.items(), label="closed-form start"):
        targets = codes[own.images]
        penalty, _ = choose_alpha(
            own.betas, targets, own.images, generator=generator(seed, "folds", subject)
        )
        set_ridge(model, subject, betas=own.betas, targets=targets, penalty=penalty)
        penalties[subject] = penalty
    return penalties


@torch.no_grad()
def set_ridge(
    model: MindEye,
    subject: str,
    *,
    betas: Float[Tensor, "trials voxels"],
    targets: Float[Tensor, "trials components"],
    penalty: float,
) -> None:
    """Set one subject's ridge to the closed-form solution.

    Parameters
    ----------
    model
        Changed in place.
    subject
        Whose ridge.
    betas
        Training trials.
    targets
        What to predict, at most as wide as the shared space; the rest of it is set to zero.
    penalty
        Greater than 0.
    """
    weights, bias = fit_ridge(betas, targets).weights(penalty)
    layer = model.ridge.maps[subject]
    assert isinstance(layer, nn.Linear)
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[: weights.shape[1]] = weights.T
    layer.bias[: len(bias)] = bias


@torch.no_grad()
def cross_fitted(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    n_folds: int,
    seed: int,
) -> tuple[Float[Tensor, "trials latent"], Int[Tensor, " trials"]]:
    """Predict latents of trials from ridges that were fitted to other images.

    A prior that is trained on predictions of fitted trials trusts them too much. Half of the
    predictions are of single trials, half of the mean over an image's presentations.

    Parameters
    ----------
    model
        Gives the space: its output layer turns latents into tokens.
    trials
        Training trials by subject.
    tokens
        Target tokens of every image.
    n_folds
        A ridge is fitted to one fold and predicts all others.
    seed
        Draws the folds.

    Returns
    -------
    tuple
        Latents, and the image of each.
    """
    output = model.backbone.output
    bias, inverse = output.bias.cpu(), torch.linalg.pinv(output.weight.cpu())
    predicted, shown = [], []
    for subject, own in trials.items():
        images, row_of = own.images.unique(return_inverse=True)
        codes = ((tokens[images].flatten(1) - bias) @ inverse.T)[row_of]
        draws = generator(seed, "cross-fit", subject)
        penalty, _ = choose_alpha(own.betas, codes, own.images, generator=draws)
        for fold in image_folds(own.images, n_folds=n_folds, generator=draws):
            others = torch.ones(len(own), dtype=torch.bool)
            others[fold] = False
            ridge = fit_ridge(own.betas[fold], codes[fold])
            single = own.rows(others)
            for part in (single, single.averaged()):
                predicted.append(ridge.predict(part.betas, penalty))
                shown.append(part.images)
    return torch.cat(predicted), torch.cat(shown)


@torch.no_grad()
def _fit_expectation(
    model: MindEye,
    held: Mapping[str, SubjectTrials],
    *,
    predicted: Float[Tensor, "trials latent"],
    shown: Int[Tensor, " trials"],
    tokens: TargetBank,
    out: Path,
    device: torch.device,
) -> dict[str, float]:
    """Learn what brains make of a picture, where that identifies validation images better."""
    images = shown.unique()
    components, mean = pca_components(
        tokens[images].flatten(1), n_components=min(model.ridge.n_latent, len(images) - 1)
    )
    decoded = torch.cat(
        [model.heads(z.to(device)).backbone_tokens.flatten(1).cpu() for z in predicted.split(256)]
    )
    true = tokens[shown].flatten(1)
    judged = {
        s: model(own.betas.to(device), subject=s).backbone_tokens.cpu() for s, own in held.items()
    }

    def score(forward_model: ForwardModel | None) -> float:
        predict = forward_model or (lambda t: t)
        scores = [
            mean_reciprocal_rank(judged[s].flatten(1), predict(tokens[own.images]).flatten(1))
            for s, own in held.items()
        ]
        return sum(scores) / len(scores)

    # In units of the codes' summed squares, so that the choice does not depend on the trial count.
    unit = float(((true - mean) @ components).square().sum() / components.shape[1])
    best, scores = choose_forward_model(
        lambda p: fit_forward_model(
            decoded, true, mean=mean, components=components, alpha=p * unit
        ),
        score,
        alphas=(0.03, 0.1, 0.3, 1.0),
    )
    if best is not None:
        on_main(lambda: best.save(out))
    return scores


def _fit_prior(
    settings: SharedTraining,
    model: MindEye,
    *,
    predicted: Float[Tensor, "trials latent"],
    shown: Int[Tensor, " trials"],
    tokens: TargetBank,
    out: Path,
    device: torch.device,
) -> None:
    chosen, share = settings.prior, own_share()
    model.requires_grad_(requires_grad=False)
    model.prior.requires_grad_(requires_grad=True)

    def batch_of(step: int) -> dict[str, object]:
        rows = epoch_rows(len(shown), chosen.batch_size, step, seed=settings.seed, stream="prior")
        rows = share.of(rows)
        with torch.no_grad():
            condition = model.heads(predicted[rows].to(device)).backbone_tokens
        return {
            "tokens": tokens[shown[rows]].to(device),
            "condition": condition,
            "generator": generator(settings.seed, "prior", step),
            "share": share,
        }

    (out / "prior").mkdir(exist_ok=True)
    fit(
        PriorStep(model.prior),
        batch_of,
        settings=chosen.optimizer,
        seed=settings.seed,
        folder=out / "prior",
        device=device,
        label="prior",
    )
