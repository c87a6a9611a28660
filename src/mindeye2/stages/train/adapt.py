"""Adaptation of a pretrained brain decoder to a new subject with little data.

Nested adaptation levels, each initialised from the previous one: the closed-form ridge into the
shared latent space; that ridge trained through the frozen model; with it low-rank adapters on
backbone and prior; with it everything. A level trains those of its modules that a loss with a
weight reaches, the prior thus where `losses.prior` is above 0. The level is chosen on held-out
images of the new subject, then fitted again on all of them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from accelerate.utils import broadcast_object_list
from pydantic import Field, model_validator

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.data.prepared import Prepared
from mindeye2.models.closed_form import image_folds
from mindeye2.models.decoder import MindEye
from mindeye2.models.encoding_models import EncodingModels
from mindeye2.models.forward_model import (
    ForwardModel,
    load_forward_model,
    remove_forward_model,
)
from mindeye2.stages.train.lora import LoraTraining, add_adapters
from mindeye2.stages.train.new_ridge import NewRidge, fit_new_ridge
from mindeye2.stages.train.scores import identification
from mindeye2.stages.train.training_targets import TargetSettings
from mindeye2.training.batch_sampler import BatchSampler, TrainingTargets
from mindeye2.training.brain_step import BrainStep, LossSettings, contrastive_phase
from mindeye2.training.distributed import current_shard, run_on_rank0
from mindeye2.training.loop import OptimizerSettings, fit
from mindeye2.training.trials import SubjectTrials

__all__ = ["AdaptTraining", "train_adapt"]

Level = Literal["closed_form", "ridge", "lora", "full"]

LEVELS: tuple[Level, ...] = ("closed_form", "ridge", "lora", "full")
"""What is fitted to the new subject, from least to most."""


class AdaptTraining(Settings):
    """Adaptation to one new subject."""

    seed: int = 0
    """Seeds folds, batches, mixing and dropout."""

    subject: str = "subj08"
    """The new subject."""

    sessions: tuple[int, ...] | None = None
    """Sessions to adapt with; all by default."""

    n_trials: Annotated[int, Field(ge=10)] | None = None
    """Number of trials of these sessions, the first ones; all by default."""

    train_on: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    """Splits to adapt with. The validation images of pretraining are ordinary images for a subject
    that is new to the model."""

    leave_out_cluster: Annotated[int, Field(ge=0, le=4)] | None = None
    """Leave out the training images of one of five clusters of similar images (k-means on the
    tokens; numbered by size, largest first), to see how an unseen kind of image is decoded:
    `evaluate --set battery=true` scores each cluster."""

    targets: TargetSettings | None = None
    """Encoders of the targets; the pretrained model's by default."""

    losses: LossSettings = LossSettings()
    """Weights of the losses."""

    batch_size: Annotated[int, Field(ge=2)] = 48
    """Trials per step, of all processes together."""

    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the subject's images held out to choose the adaptation level."""

    levels: tuple[Level, ...] = ("closed_form", "ridge", "full")
    """Adaptation levels to choose from, in the order `closed_form`, `ridge`, `lora`, `full`; a
    single one is taken without choosing. `lora` needs the library peft."""

    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much better (reciprocal rank) a higher level must be on the held-out images."""

    n_bank: Annotated[int, Field(ge=2)] = 2000
    """Training images of each subject, at random, in the run's training bank, which calibrates
    retrieval and supplies captions. At the published size 300 take 0.5 GiB."""

    ridge: OptimizerSettings = OptimizerSettings(steps=200, max_lr=5e-4)
    """Training of the new ridge through the frozen model."""

    lora: LoraTraining = LoraTraining()
    """Training of ridge and low-rank adapters of backbone and prior after that."""

    full: OptimizerSettings = OptimizerSettings(steps=120, max_lr=1e-4)
    """Training of everything after that; of the prior where `losses.prior` is above 0."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Return the new subject, as the only one that is trained."""
        return (self.subject,)

    @model_validator(mode="after")
    def _ordered_levels(self) -> "AdaptTraining":
        ordered = tuple(level for level in LEVELS if level in self.levels)
        if self.levels != ordered or not ordered:
            raise ValueError(
                f"levels must be one or more of {list(LEVELS)}, in this order and each once, got "
                f"{list(self.levels)}"
            )
        return self


def train_adapt(
    settings: AdaptTraining,
    *,
    trials: SubjectTrials,
    model: MindEye,
    encoding_models: EncodingModels | None,
    prepared: Prepared,
    targets: TrainingTargets,
    out: Path,
    device: torch.device,
) -> tuple[MindEye, dict[str, object]]:
    """Adapt a pretrained model on `device`; return it and facts for the manifest.

    `encoding_models` are those of the pretraining subjects' voxels, if the run has them. The
    forward model, a copy in `out`, is removed where it identifies fewer held-out images than none.

    Raises ArtifactError if the model has a ridge for the subject with another number of voxels.
    """
    subject = settings.subject
    _add_subject(model, subject, n_voxels=trials.betas.shape[1], prepared=prepared)
    n_folds = max(2, round(1 / settings.held_out))
    n_images = len(trials.images.unique())
    if n_images < n_folds:
        raise ArtifactError(
            f"{subject} has {n_images} training images, but held_out={settings.held_out} splits "
            f"them into {n_folds} folds of one image at least. Train on more (settings sessions, "
            "n_trials, train_on), or raise --set held_out, to .5 at most."
        )
    folds = image_folds(trials.images, n_folds=n_folds, generator=generator(settings.seed, "held"))
    kept = torch.ones(len(trials), dtype=torch.bool)
    kept[folds[0]] = False
    fitted = trials.rows(kept)
    for part in (trials, fitted):
        size = min(settings.batch_size, len(part))
        current_shard().check(size, rows=f"trials of {subject}")
    forward_model = load_forward_model(out, model.backbone.output)
    adapter = _Adapter(settings, targets, device, encoding_models, forward_model)
    scores: dict[Level, dict[str, float]] = {}
    level = settings.levels[-1]
    if len(settings.levels) > 1:
        held_out = trials.rows(folds[0]).averaged()
        scores = adapter.score_levels(model, fitted, held_out, folder=out / "choice")
        level = _choose(scores, margin=settings.margin)
    for name in LEVELS[: LEVELS.index(level) + 1]:
        if name in settings.levels or name == "closed_form":
            adapter.fit(name, model, trials, folder=out if name == level else out / name)
    model.eval()
    keeps_forward_model = adapter.new_ridge.keeps_forward_model

    def settle() -> None:
        if not keeps_forward_model:
            remove_forward_model(out)

    # Called by all ranks, whose choices may differ in a near tie; that of rank 0 counts.
    run_on_rank0(settle)
    return model, {
        "level": level,
        "held_out": scores,
        "held_out_images": len(trials.rows(folds[0]).images.unique()),
        "alpha": adapter.new_ridge.alpha,
        "similar_voxels": adapter.new_ridge.strength,
        "forward_model": keeps_forward_model,
    }


def _add_subject(model: MindEye, subject: str, *, n_voxels: int, prepared: Prepared) -> None:
    known = model.ridge.n_voxels.get(subject)
    if known is None:
        with torch.no_grad():
            model.ridge.add_subject(subject, n_voxels=n_voxels)
    elif known != n_voxels:
        raise ArtifactError(
            f"the pretrained run has a ridge of {known} voxels for {subject}, the data set "
            f"{prepared.folder} has {n_voxels}. It is a run of another data set: give a run "
            "without this subject, or one that was trained on this data set, with --init."
        )


def _choose(scores: Mapping[Level, Mapping[str, float]], *, margin: float) -> Level:
    """Return the highest level that beats those below it by the margin."""
    best, *higher = scores
    for name in higher:
        if scores[name]["reciprocal_rank"] > scores[best]["reciprocal_rank"] + margin:
            best = name
    # Results may differ in the last digits between ranks; all follow rank 0.
    chosen: list[Level] = broadcast_object_list([best])
    return chosen[0]


@dataclass
class _Adapter:
    """Fits one adaptation level."""

    settings: AdaptTraining
    targets: TrainingTargets
    device: torch.device
    encoding_models: EncodingModels | None
    forward_model: ForwardModel | None
    new_ridge: NewRidge = field(default_factory=NewRidge)

    def score_levels(
        self, model: MindEye, fitted: SubjectTrials, held_out: SubjectTrials, *, folder: Path
    ) -> dict[Level, dict[str, float]]:
        """Fit a copy of the model by one level after the other, and score each on held-out images.

        The model itself makes room for its copy on the device meanwhile.
        """
        candidate = copy.deepcopy(model)
        model.cpu()
        scores = {}
        for name in self.settings.levels:
            self.fit(name, candidate, fitted, folder=folder / name)
            scores[name] = identification(
                candidate,
                {self.settings.subject: held_out},
                tokens=self.targets.tokens,
                device=self.device,
            )
        del candidate
        model.to(self.device)
        return scores

    def fit(self, level: Level, model: MindEye, trials: SubjectTrials, *, folder: Path) -> None:
        """Fit one level to trials, starting from the model as it is."""
        settings = self.settings
        if level == "closed_form":
            folder.mkdir(parents=True, exist_ok=True)
            self.new_ridge = fit_new_ridge(
                model,
                settings.subject,
                trials,
                tokens=self.targets.tokens,
                encoding_models=self.encoding_models,
                forward_model=self.forward_model,
                seed=settings.seed,
                folder=folder,
            )
            return
        optimizers = {"ridge": settings.ridge, "lora": settings.lora, "full": settings.full}
        optimizer = optimizers[level]
        # What no loss reaches is frozen by BrainStep.
        model.requires_grad_(requires_grad=level == "full")
        merge = add_adapters(model, settings.lora, seed=settings.seed) if level == "lora" else None
        model.ridge.requires_grad_(requires_grad=False)
        model.ridge.maps[settings.subject].requires_grad_(requires_grad=True)
        folder.mkdir(parents=True, exist_ok=True)
        sample = BatchSampler(
            trials={settings.subject: trials},
            targets=self.targets,
            losses=settings.losses,
            prior=model.prior,
            per_subject=settings.batch_size,
            seed=settings.seed,
            device=self.device,
            shard=current_shard(),
        )

        def batch_of(step: int) -> dict[str, object]:
            mixing, temperature = contrastive_phase(settings.losses, step, n_steps=optimizer.steps)
            return sample(step, mixing=mixing, temperature=temperature)

        fit(
            BrainStep(model, settings.losses),
            batch_of,
            settings=optimizer,
            seed=settings.seed,
            folder=folder,
            device=self.device,
            label=f"adaptation: level {level}",
        )
        if merge is not None:
            merge()
