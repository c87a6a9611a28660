"""One step of shared-subject training, and of the prior."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.processes import WHOLE, Share, gather_rows
from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.models.decoder import MindEye
from mindeye2.models.prior import DiffusionPrior
from mindeye2.training.batches import epoch_rows
from mindeye2.training.losses import bimixco_loss, soft_clip_loss
from mindeye2.training.mixing import Mix, concatenate_mixes, draw_mix
from mindeye2.training.trials import SubjectTrials, TargetBank

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
        The model; its prior is not used here. Heads that no loss reaches are frozen.
    settings
        Weights of the losses.
    """

    def __init__(self, model: MindEye, settings: LossSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        if not settings.contrastive:
            model.projector.requires_grad_(requires_grad=False)
        if model.lowlevel is not None:
            unused = model.lowlevel.maps if settings.lowlevel else model.lowlevel
            if unused is not None:
                unused.requires_grad_(requires_grad=False)

    def forward(
        self,
        betas: Mapping[str, Float[Tensor, "_ _"]],
        tokens: Float[Tensor, "batch tokens features"],
        latents: Float[Tensor, "batch channels height width"] | None,
        *,
        mix: Mix | None,
        share: Share = WHOLE,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Parameters
        ----------
        betas
            Betas by subject, of the share of this process; mixed already where `mix` is given.
        tokens
            True tokens of all trials, subject after subject, not mixed.
        latents
            True low-level latents of all trials, not mixed; None without a low-level head.
        mix
            How the betas of all trials were mixed.
        share
            Which trials of each subject are this process's. Tokens, latents and mix are of all,
            because predictions of all are compared with all tokens.

        Returns
        -------
        dict
            ``loss`` and its terms.
        """
        weights = self.settings
        sizes = [share.count * len(b) for b in betas.values()]
        if self.training and weights.beta_noise:
            betas = {s: b + weights.beta_noise * _noise_like(b, share) for s, b in betas.items()}
        shared = torch.cat([self.model.ridge(b, subject=s) for s, b in betas.items()])
        with _dropout_of_the_whole(self.model, share, sizes):
            out = self.model.heads(shared)
        # A mixed response is regressed onto the equally mixed target; the released code regresses
        # it onto the target of the first partner alone.

        def target(whole: Tensor) -> Tensor:
            return share.of(whole if mix is None else mix.apply(whole), sizes)

        terms = {"tokens": F.mse_loss(out.backbone_tokens, target(tokens))}
        if weights.lowlevel and out.lowlevel_latents is not None:
            assert latents is not None
            terms["lowlevel"] = F.l1_loss(out.lowlevel_latents, target(latents))
        if weights.contrastive:
            own, true = out.retrieval_tokens.flatten(1), tokens.flatten(1)
            predicted = gather_rows(own, share=share, sizes=sizes)
            if mix is None:
                contrast = soft_clip_loss(predicted, true, temperature=weights.temperature)
            else:
                contrast = bimixco_loss(predicted, true, mix, temperature=weights.temperature)
            terms["contrastive"] = contrast
        loss = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}


def _noise_like(own: Tensor, share: Share) -> Tensor:
    shape = (share.count * len(own), *own.shape[1:])
    return share.of(torch.randn(shape, dtype=own.dtype, device=own.device))


@contextmanager
def _dropout_of_the_whole(module: nn.Module, share: Share, sizes: Sequence[int]) -> Iterator[None]:
    """Let dropouts draw for the whole batch, as one process would, and keep this one's rows."""

    def widen(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (own,) = inputs
        rows = share.of(torch.arange(sum(sizes), device=own.device), sizes)
        return own.new_zeros((sum(sizes), *own.shape[1:])).index_copy(0, rows, own)

    def narrow(_: nn.Module, __: tuple[Tensor], whole: Tensor) -> Tensor:
        return share.of(whole, sizes)

    with ExitStack() as hooks:
        for part in module.modules():
            if share.count > 1 and isinstance(part, nn.Dropout):
                hooks.enter_context(part.register_forward_pre_hook(widen))
                hooks.enter_context(part.register_forward_hook(narrow))
        yield


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
        share: Share = WHOLE,
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
        share
            Which rows of the batch these are.

        Returns
        -------
        dict
            ``loss``.
        """
        return {"loss": self.prior.loss(tokens, condition, generator=generator, share=share)}


def draw_batch(
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    latents: TargetBank | None,
    per_subject: int,
    step: int,
    mixing: bool,
    seed: int,
    device: torch.device,
    share: Share = WHOLE,
) -> dict[str, object]:
    """Draw the batch of one step: equally many trials of every subject.

    Parameters
    ----------
    trials
        Training trials by subject.
    tokens
        True tokens of every image of the data set.
    latents
        True low-level latents of every image, or None.
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
    share
        Which of each subject's trials are this process's; the whole is the same for any share.

    Returns
    -------
    dict
        Keyword arguments of `BrainStep.forward`.

    Raises
    ------
    ValueError
        If a subject's trials cannot be divided equally among the processes.
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
        betas[subject] = share.of(chosen).to(device)
        images.append(own.images[rows])
    shown = torch.cat(images)
    return {
        "betas": betas,
        "tokens": tokens[shown].to(device),
        "latents": None if latents is None else latents[shown].to(device),
        "mix": concatenate_mixes(mixes) if mixing else None,
        "share": share,
    }
