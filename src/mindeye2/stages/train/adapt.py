"""Adaptation of a pretrained model to a new person with little data.

A ladder of three rungs, each starting where the one below ended: the closed-form ridge into the
shared space, that ridge trained through the frozen body, and the body trained with it. The rung is
chosen on images of the new person that were held back, and then fitted again on all of them.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.core.processes import exchange, own_share
from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.data.prepared import Prepared
from mindeye2.models.closed_form import choose_alpha, image_folds
from mindeye2.models.decoder import MindEye
from mindeye2.stages.train.scores import identification
from mindeye2.stages.train.shared import set_ridge
from mindeye2.training.loop import OptimizerSettings, fit
from mindeye2.training.shared import BrainStep, LossSettings, draw_batch
from mindeye2.training.trials import SubjectTrials, TargetBank, load_trials

__all__ = ["RUNGS", "AdaptTraining", "train_adapt"]

Rung = Literal["closed_form", "ridge", "body"]

RUNGS: tuple[Rung, ...] = ("closed_form", "ridge", "body")
"""What is fitted to the new person, from least to most."""


class AdaptTraining(Settings):
    """Adaptation to one new person."""

    seed: int = 0
    """Seeds folds, batches, mixing and dropout."""

    subject: str = "subj08"
    """The new person."""

    sessions: tuple[int, ...] | None = (1,)
    """Sessions to adapt with; None for all."""

    n_trials: Annotated[int, Field(ge=20)] | None = None
    """Only the first so many trials of them; None for all."""

    train_on: tuple[Literal["train", "validation"], ...] = ("train", "validation")
    """Splits to adapt with. The validation images of pretraining are ordinary images for a person
    that it never saw."""

    encoder: str = "lite0"
    """Whose tokens to predict; the pretrained model's."""

    losses: LossSettings = LossSettings()
    """Weights of the losses."""

    batch_size: Annotated[int, Field(ge=2)] = 48
    """Trials a step, of all processes together."""

    held_back: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the person's images that chooses the rung."""

    rungs: tuple[Rung, ...] = RUNGS
    """Rungs to choose from, in this order; a single one is taken without choosing."""

    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much better (reciprocal rank) a higher rung must be on the held-back images."""

    ridge: OptimizerSettings = OptimizerSettings(steps=200, max_lr=5e-4)
    """Training of the new ridge through the frozen body."""

    body: OptimizerSettings = OptimizerSettings(steps=120, max_lr=1e-4)
    """Training of everything after that."""


def train_adapt(
    settings: AdaptTraining,
    *,
    model: MindEye,
    prepared: Prepared,
    tokens: TargetBank,
    latents: TargetBank | None,
    out: Path,
    device: torch.device,
) -> tuple[MindEye, dict[str, object]]:
    """Adapt a pretrained model to a new person.

    Parameters
    ----------
    settings
        Whom to adapt to, and how.
    model
        The pretrained model; its prior is kept as it is.
    prepared
        Data set with the new person.
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
        The model with the new person's ridge, and facts for the manifest.

    Raises
    ------
    ArtifactError
        If the pretrained model knows the person by another number of voxels.
    """
    subject = settings.subject
    own = load_trials(
        prepared,
        subject,
        settings.train_on,
        sessions=settings.sessions,
        n_trials=settings.n_trials,
    )
    n_voxels = own.betas.shape[1]
    known = model.ridge.n_voxels.get(subject, n_voxels)
    if known != n_voxels:
        raise ArtifactError(
            f"the pretrained run knows {subject} by {known} voxels, the data set "
            f"{prepared.folder} has {n_voxels}. It is a run of another data set."
        )
    if subject not in model.ridge.maps:
        with torch.no_grad():
            model.ridge.add_subject(subject, n_voxels=n_voxels)
    n_folds = max(2, round(1 / settings.held_back))
    held = image_folds(own.images, n_folds=n_folds, generator=generator(settings.seed, "held"))[0]
    kept = torch.ones(len(own), dtype=torch.bool)
    kept[held] = False
    for trials in (own, own.rows(kept)):
        size = min(settings.batch_size, len(trials))
        own_share().check(size, rows=f"trials of {subject}")
    fitted, judged = own.rows(kept), {subject: own.rows(held).averaged()}

    climb = _Climb(settings, prepared=prepared, latents=latents, tokens=tokens, device=device)
    scores: dict[Rung, dict[str, float]] = {}
    rung = settings.rungs[-1]
    if len(settings.rungs) > 1:
        trial_model = copy.deepcopy(model)
        for name in settings.rungs:
            climb.to(name, trial_model, fitted, folder=out / "choice" / name)
            scores[name] = identification(trial_model, judged, tokens=tokens, device=device)
        # Machines may differ in the last digits, and all must climb as high.
        chosen = RUNGS.index(_choose(scores, margin=settings.margin))
        rung = RUNGS[int(exchange(chosen)[0][0])]
    for name in RUNGS[: RUNGS.index(rung) + 1]:
        if name in settings.rungs or name == "closed_form":
            climb.to(name, model, own, folder=out if name == rung else out / name)
    model.eval()
    facts: dict[str, object] = {
        "rung": rung,
        "held_back": scores,
        "trials": len(own),
        "penalty": climb.penalty,
    }
    return model, facts


def _choose(scores: Mapping[Rung, Mapping[str, float]], *, margin: float) -> Rung:
    best, *higher = scores
    for name in higher:
        if scores[name]["reciprocal_rank"] > scores[best]["reciprocal_rank"] + margin:
            best = name
    return best


class _Climb:
    """Takes a model one rung up."""

    def __init__(
        self,
        settings: AdaptTraining,
        *,
        prepared: Prepared,
        latents: TargetBank | None,
        tokens: TargetBank,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.prepared = prepared
        self.latents = latents
        self.tokens = tokens
        self.device = device
        self.penalty = 0.0

    def to(self, rung: Rung, model: MindEye, own: SubjectTrials, *, folder: Path) -> None:
        """Fit one rung to `own` trials, starting from the model as it is."""
        if rung == "closed_form":
            self._closed_form(model, own)
            return
        settings = self.settings
        chosen = settings.ridge if rung == "ridge" else settings.body
        model.requires_grad_(requires_grad=rung == "body")
        model.prior.requires_grad_(requires_grad=False)
        model.ridge.requires_grad_(requires_grad=False)
        model.ridge.maps[settings.subject].requires_grad_(requires_grad=True)
        folder.mkdir(parents=True, exist_ok=True)

        def batch_of(step: int) -> dict[str, object]:
            return draw_batch(
                {settings.subject: own},
                tokens=self.tokens,
                latents=self.latents,
                per_subject=settings.batch_size,
                step=step,
                mixing=step < settings.losses.mixing_share * chosen.steps,
                seed=settings.seed,
                device=self.device,
                share=own_share(),
            )

        fit(
            BrainStep(model, settings.losses),
            batch_of,
            settings=chosen,
            seed=settings.seed,
            folder=folder,
            device=self.device,
            label=f"adaptation: {rung}",
        )

    @torch.no_grad()
    def _closed_form(self, model: MindEye, own: SubjectTrials) -> None:
        """Regress betas onto latents whose tokens, through the body, come nearest the truth."""
        output = model.backbone.output
        flat = self.tokens[own.images].flatten(1)
        # The trunk starts as the identity and stays near it, so the output layer's inverse is
        # where the search for the best latents would end, but for a small correction.
        targets = (flat - output.bias.cpu()) @ torch.linalg.pinv(output.weight.cpu()).T

        def read_out(latents: Tensor) -> Tensor:
            tokens: Tensor = model.heads(latents.to(self.device)).backbone_tokens
            return tokens.flatten(1).cpu()

        model.eval()
        self.penalty, _ = choose_alpha(
            own.betas,
            targets,
            own.images,
            generator=generator(self.settings.seed, "folds", self.settings.subject),
            read_out=read_out,
            read_out_targets=flat,
        )
        set_ridge(
            model, self.settings.subject, betas=own.betas, targets=targets, penalty=self.penalty
        )
