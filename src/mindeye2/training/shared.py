"""One step of shared-subject training, and of the prior."""

from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.models.decoder import MindEye
from mindeye2.models.prior import DiffusionPrior
from mindeye2.training.batches import epoch_rows
from mindeye2.training.losses import bimixco_loss, soft_clip_loss
from mindeye2.training.mixing import Mix, concatenate_mixes, draw_mix
from mindeye2.training.trials import SubjectTrials

__all__ = ["BrainStep", "LossSettings", "PriorStep", "draw_batch"]


class LossSettings(Settings):
    """Weights of the losses and the schedule of the contrastive one."""

    tokens: Annotated[float, Field(ge=0)] = 1.0
    """Mean squared error of the backbone tokens."""

    contrastive: Annotated[float, Field(ge=0)] = 0.3
    """BiMixCo in the first share of the steps, SoftCLIP after it, on the retrieval tokens."""

    lowlevel: Annotated[float, Field(ge=0)] = 0.2
    """L1 of the low-level latents."""

    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides every cosine of the contrastive losses."""

    mixing_share: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Share of the steps, from the first, in which betas and their targets are mixed."""

    beta_noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of noise that is added to z-scored betas in training. A ridge that was
    fitted to few trials reproduces them, so that the body behind it sees clean latents only; noise
    shows it what latents of pictures that were not fitted look like."""


class BrainStep(nn.Module):
    """Losses of one batch of several subjects.

    Parameters
    ----------
    model
        The model; its prior is not used here.
    settings
        Weights of the losses.
    """

    def __init__(self, model: MindEye, settings: LossSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def forward(
        self,
        betas: Mapping[str, Float[Tensor, "_ _"]],
        tokens: Float[Tensor, "batch tokens features"],
        latents: Float[Tensor, "batch channels height width"],
        *,
        mix: Mix | None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Parameters
        ----------
        betas
            Betas by subject; mixed already where `mix` is given.
        tokens
            True tokens of all trials, subject after subject, not mixed.
        latents
            True low-level latents of all trials, not mixed.
        mix
            How the betas were mixed.

        Returns
        -------
        dict
            ``loss`` and its terms.
        """
        weights = self.settings
        if self.training and weights.beta_noise:
            betas = {s: b + weights.beta_noise * torch.randn_like(b) for s, b in betas.items()}
        shared = torch.cat([self.model.ridge(b, subject=s) for s, b in betas.items()])
        out = self.model.heads(shared)
        # A mixed response is regressed onto the equally mixed target; the released code regresses
        # it onto the target of the first partner alone.
        mixed = (tokens, latents) if mix is None else (mix.apply(tokens), mix.apply(latents))
        terms = {"tokens": F.mse_loss(out.backbone_tokens, mixed[0])}
        if weights.lowlevel and out.lowlevel_latents is not None:
            terms["lowlevel"] = F.l1_loss(out.lowlevel_latents, mixed[1])
        if weights.contrastive:
            predicted, true = out.retrieval_tokens.flatten(1), tokens.flatten(1)
            if mix is None:
                contrast = soft_clip_loss(predicted, true, temperature=weights.temperature)
            else:
                contrast = bimixco_loss(predicted, true, mix, temperature=weights.temperature)
            terms["contrastive"] = contrast
        loss = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}


class PriorStep(nn.Module):
    """Loss of the diffusion prior on tokens that were predicted for held-back trials.

    Parameters
    ----------
    prior
        The prior.
    """

    def __init__(self, prior: DiffusionPrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens features"],
        condition: Float[Tensor, "batch tokens features"],
        *,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Compute the loss.

        Parameters
        ----------
        tokens
            True tokens.
        condition
            Tokens predicted from the brain.
        generator
            Source of noise, noise levels and condition dropout.

        Returns
        -------
        dict
            ``loss``.
        """
        return {"loss": self.prior.loss(tokens, condition, generator=generator)}


def draw_batch(
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: Float[Tensor, "images tokens features"],
    latents: Float[Tensor, "images channels height width"],
    per_subject: int,
    step: int,
    mixing: bool,
    seed: int,
    device: torch.device,
) -> dict[str, object]:
    """Draw the batch of one step: equally many trials of every subject.

    Parameters
    ----------
    trials
        Training trials by subject.
    tokens
        True tokens of every image of the data set.
    latents
        True low-level latents of every image.
    per_subject
        Trials of each subject.
    step
        The step; the batch is a function of it and the seed.
    mixing
        Mix the betas.
    seed
        Seed of the run.
    device
        Where the batch goes.

    Returns
    -------
    dict
        Keyword arguments of `BrainStep.forward`.
    """
    betas, images, mixes = {}, [], []
    for subject, own in trials.items():
        size = min(per_subject, len(own))
        rows = epoch_rows(len(own), size, step, seed=seed, stream=subject)
        chosen = own.betas[rows]
        if mixing:
            mix = draw_mix(size, generator=generator(seed, "mixco", step, subject))
            chosen = mix.apply(chosen)
            mixes.append(mix)
        betas[subject] = chosen.to(device)
        images.append(own.images[rows])
    shown = torch.cat(images)
    return {
        "betas": betas,
        "tokens": tokens[shown].to(device),
        "latents": latents[shown].to(device),
        "mix": concatenate_mixes(mixes) if mixing else None,
    }
