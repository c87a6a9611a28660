"""What every training of a brain decoder has in common: losses, length and schedule."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mindeye2.core.settings import Settings
from mindeye2.models.decoder import MindEye
from mindeye2.training.brain_step import BrainStep, LossSettings, contrastive_phase
from mindeye2.training.mixing import Mix, concatenate_mixes
from mindeye2.training.optimizer import OptimizerSettings
from mindeye2.training.trainer import Trainer

__all__ = ["BrainTraining", "replay"]

RELEASED_EPOCH = 30_000
"""Trials of an epoch of several subjects in the released code, of all subjects together."""

RELEASED_SESSION = 750
"""Trials that the released code counts for each session of a single subject."""


class BrainTraining(Settings):
    """Losses, length and schedule of a training of the brain decoder."""

    losses: LossSettings = LossSettings()
    """Weights of the losses."""

    optimizer: OptimizerSettings = OptimizerSettings(steps=200, max_lr=2e-4)
    """Optimiser and schedule; its `steps` and `warmup` hold where no `epochs` are given."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    """Length in epochs, instead of `optimizer.steps`; mixing and temperature then change by
    epoch."""

    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None
    """Steps of an epoch; by default as in the released code: 30,000 trials of several subjects, or
    750 of each session of a single one."""

    warmup_epochs: Annotated[float, Field(gt=0)] | None = None
    """Epochs in which the learning rate rises, instead of `optimizer.warmup`. Released: 2."""

    @model_validator(mode="after")
    def _check_epochs(self) -> "BrainTraining":
        if self.epochs is None and (self.steps_per_epoch or self.warmup_epochs):
            raise ValueError("steps_per_epoch and warmup_epochs need epochs; set it too")
        if self.epochs is not None and (self.warmup_epochs or 0) > self.epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} is more than epochs={self.epochs}: set both, "
                f"e.g. --set warmup_epochs={self.epochs / 10}"
            )
        return self

    def epoch_length(self, *, n_subjects: int, n_sessions: int, batch_size: int) -> int | None:
        """Return the steps of an epoch, or None where the length is given in steps."""
        if self.epochs is None or self.steps_per_epoch is not None:
            return self.steps_per_epoch
        n_trials = RELEASED_EPOCH if n_subjects > 1 else RELEASED_SESSION * n_sessions
        return max(1, n_trials // batch_size)

    def resolved_optimizer(self, steps_per_epoch: int | None) -> OptimizerSettings:
        """Return the optimiser's settings with the length in steps."""
        if self.epochs is None or steps_per_epoch is None:
            return self.optimizer
        changes: dict[str, object] = {"steps": self.epochs * steps_per_epoch}
        if self.warmup_epochs is not None:
            changes["warmup"] = self.warmup_epochs / self.epochs
        return self.optimizer.model_copy(update=changes)


def replay(
    model: MindEye, settings: BrainTraining, batches: Iterable[Mapping[str, Any]]
) -> list[dict[str, float]]:
    """Train a model on given batches with given randomness, and return what each step gave.

    For comparing with another implementation, step by step.

    Parameters
    ----------
    model
        Trained in place, in the mode that it is in.
    settings
        Losses and schedule; `steps_per_epoch` must be given where `epochs` is.
    batches
        One mapping a step: ``betas`` (by subject, not mixed), ``mix`` (a `Mix` by subject, or
        None), ``tokens``, ``latents``, ``maps``, ``maps_augmented`` (subject after subject), and
        ``prior_times`` and ``prior_noise``. Only what the losses use is needed.

    Returns
    -------
    list of dict
        Loss, its unweighted terms, learning rate and gradient norm of each step.

    Raises
    ------
    ValueError
        If there are epochs without `steps_per_epoch`, or other batches than the schedule's.
    """
    given = list(batches)
    if settings.epochs is not None and settings.steps_per_epoch is None:
        raise ValueError("replay needs steps_per_epoch where epochs are given.")
    optimizer = settings.resolved_optimizer(settings.steps_per_epoch)
    if len(given) > optimizer.steps:
        raise ValueError(f"the schedule has {optimizer.steps} steps, got {len(given)} batches.")
    device = next(model.parameters()).device
    step_module = BrainStep(model, settings.losses)
    trainer = Trainer(step_module, optimizer, device=device, seed=0, label="replay")
    trace = []
    for step, batch in enumerate(given):
        _, temperature = contrastive_phase(
            settings.losses,
            step,
            n_steps=optimizer.steps,
            steps_per_epoch=settings.steps_per_epoch,
        )
        arguments = _arguments(batch, settings.losses, temperature=temperature)
        trace.append(trainer(_moved(arguments, device), step))
    return trace


def _moved(value: Any, device: torch.device) -> Any:  # noqa: ANN401 - a tree of tensors
    if isinstance(value, Mapping):
        return {name: _moved(part, device) for name, part in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def _arguments(
    batch: Mapping[str, Any], losses: LossSettings, *, temperature: float
) -> dict[str, Any]:
    """Turn a given batch into keyword arguments of `BrainStep.forward`."""
    mixes: Mapping[str, Mix] | None = batch["mix"]
    betas: Mapping[str, Tensor] = batch["betas"]
    if mixes is not None:
        betas = {s: mixes[s].apply(values) for s, values in betas.items()}
    arguments: dict[str, Any] = {
        "betas": betas,
        "tokens": batch["tokens"],
        "temperature": temperature,
    }
    if mixes is not None:
        subjects = [mixes[s] for s in betas]
        arguments["mix"] = concatenate_mixes(subjects, released=losses.released_labels)
        if losses.mixed_targets:
            mix = concatenate_mixes(subjects)
            arguments["token_targets"] = mix.apply(arguments["tokens"])
    for name in ("latents", "maps", "maps_augmented"):
        if batch.get(name) is not None:
            arguments[name] = batch[name]
    if losses.prior:
        kept = torch.ones(len(batch["prior_times"]), dtype=torch.bool)
        arguments["prior"] = {
            "times": batch["prior_times"],
            "noise": batch["prior_noise"],
            # Masks that drop nothing let the learned embeddings decay, as in training.
            "keep_condition": kept,
            "keep_target": kept,
        }
    return arguments
