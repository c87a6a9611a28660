"""One training step of the brain decoder: its losses, and the batch that they are computed on.

Everything random of a step is part of its batch: rows, mixing, noise on betas, noise levels and
noise of the prior. It is sampled for the whole batch from streams named by seed and step, and each
rank gets its rows, so any number of processes computes the same losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.models.decoder import MindEye
from mindeye2.models.prior import DiffusionPrior
from mindeye2.training.batches import epoch_rows, to_device
from mindeye2.training.distributed import Shard, gather_rows
from mindeye2.training.losses import (
    bimixco_loss,
    soft_clip_loss,
    soft_clip_temperatures,
    soft_contrastive_loss,
)
from mindeye2.training.mixing import Mix, concatenate_mixes, sample_mix
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = [
    "BatchSampler",
    "BrainStep",
    "LossSettings",
    "PriorStep",
    "TrainingTargets",
    "contrastive_phase",
]


class LossSettings(Settings):
    """Weights of the losses and the schedule of the contrastive one."""

    tokens: Annotated[float, Field(ge=0)] = 1.0
    """Mean squared error of the backbone tokens. Released: 0."""

    prior: Annotated[float, Field(ge=0)] = 0.0
    """Mean squared error of the prior, whose gradient reaches backbone and ridges; 0 trains the
    prior afterwards or not at all. Released: 30."""

    contrastive: Annotated[float, Field(ge=0)] = 0.3
    """BiMixCo in the first part of the training, SoftCLIP after it, on the retrieval tokens.
    Released: 1."""

    lowlevel: Annotated[float, Field(ge=0)] = 0.2
    """L1 of the low-level latents. Released: 0.5."""

    maps: Annotated[float, Field(ge=0)] = 0.0
    """Soft contrastive loss between the low-level head's feature maps and the teacher's. Released:
    0.05."""

    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides every cosine of BiMixCo. Released: 0.006."""

    soft_temperatures: tuple[float, float] = (0.1, 0.1)
    """Temperatures of SoftCLIP in its first and last epoch, half a cosine between them. Released:
    0.004 and 0.0075."""

    maps_temperature: Annotated[float, Field(gt=0)] = 0.2
    """Divides every cosine between feature maps."""

    mixing_fraction: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Fraction of the training, from its start, in which betas are mixed."""

    mixed_targets: bool = True
    """Mix regression targets like the betas. Released: false, so that mixed betas are regressed
    onto the targets of one of their images."""

    released_labels: bool = False
    """Label mixed trials as the released code does, which names wrong partners in a batch of
    several subjects, and does not sum to one where a trial is its own partner."""

    beta_noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of noise added to z-scored betas in training. A ridge that was fitted to
    few trials reproduces them, so that the body behind it gets clean latents only; noise gives it
    latents like those of images that were not fitted."""


@dataclass(frozen=True, kw_only=True)
class TrainingTargets:
    """Memory-mapped targets of every image of a data set."""

    tokens: TargetBank
    """Image tokens, (tokens, features)."""

    latents: TargetBank | None = None
    """Autoencoder latents for the low-level head."""

    maps: TargetBank | None = None
    """Teacher's feature maps of the images."""

    maps_augmented: TargetBank | None = None
    """Teacher's feature maps of augmented images."""


def contrastive_phase(
    losses: LossSettings, step: int, *, n_steps: int, steps_per_epoch: int | None = None
) -> tuple[bool, float]:
    """Return whether a step mixes betas, and the temperature of its contrastive loss.

    Parameters
    ----------
    losses
        Schedule.
    step
        From 0.
    n_steps
        Length of the training.
    steps_per_epoch
        Both change with the epoch, as released; without epochs, with the step.
    """
    epoch, n_epochs = step, n_steps
    if steps_per_epoch is not None:
        epoch, n_epochs = step // steps_per_epoch, n_steps // steps_per_epoch
    n_mixing = losses.mixing_fraction * n_epochs
    if epoch < (int(n_mixing) if steps_per_epoch is not None else n_mixing):
        return True, losses.temperature
    first, last = losses.soft_temperatures
    if first == last:
        return False, first
    temperatures = soft_clip_temperatures(
        n_epochs, mixup_fraction=losses.mixing_fraction, start=first, end=last
    )
    return False, temperatures[epoch - int(n_mixing)]


class BrainStep(nn.Module):
    """Losses of one batch of several subjects.

    Parameters
    ----------
    model
        The brain decoder. Parameters that no loss reaches are frozen.
    settings
        Weights of the losses.
    """

    def __init__(self, model: MindEye, settings: LossSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        unused: list[nn.Module | None] = []
        if not settings.contrastive:
            unused.append(model.projector)
        if not settings.prior:
            unused.append(model.prior)
        if model.lowlevel is not None:
            if not (settings.lowlevel or settings.maps):
                unused.append(model.lowlevel)
            if not settings.maps:
                unused.append(model.lowlevel.maps)
            if not settings.lowlevel:
                unused.append(model.lowlevel.upsampler)
        for module in unused:
            if module is not None:
                module.requires_grad_(requires_grad=False)

    def forward(
        self,
        betas: Mapping[str, Float[Tensor, "_ _"]],
        tokens: Float[Tensor, "batch tokens features"],
        *,
        temperature: float,
        mix: Mix | None = None,
        token_targets: Float[Tensor, "batch tokens features"] | None = None,
        latents: Float[Tensor, "batch channels height width"] | None = None,
        maps: Float[Tensor, "batch tokens2 features2"] | None = None,
        maps_augmented: Float[Tensor, "batch tokens2 features2"] | None = None,
        prior: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of this rank's rows.

        Parameters
        ----------
        betas
            Betas by subject, mixed already where `mix` is given.
        tokens
            Image tokens, subject after subject, not mixed: the contrastive targets.
        temperature
            Of the contrastive loss.
        mix
            How the betas of all ranks were mixed, in the order of `gather_rows`.
        token_targets
            Regression targets of backbone tokens and prior; `tokens` by default.
        latents
            Targets of the low-level head.
        maps, maps_augmented
            The teacher's feature maps of the images, and of augmented images.
        prior
            Keyword arguments of `DiffusionPrior.loss`.

        Returns
        -------
        dict
            ``loss`` and its terms, unweighted.
        """
        weights, targets = self.settings, tokens if token_targets is None else token_targets
        shared = torch.cat([self.model.ridge(b, subject=s) for s, b in betas.items()])
        out = self.model.heads(shared)
        terms = {}
        if weights.tokens:
            terms["tokens"] = F.mse_loss(out.backbone_tokens.float(), targets)
        if weights.prior:
            assert prior is not None
            terms["prior"] = self.model.prior.loss(targets, out.backbone_tokens, **prior)
        if weights.contrastive:
            terms["contrastive"] = self._contrastive(
                out.retrieval_tokens, tokens, mix, temperature=temperature
            )
        if weights.lowlevel and out.lowlevel_latents is not None:
            assert latents is not None
            terms["lowlevel"] = F.l1_loss(out.lowlevel_latents.float(), latents)
        if weights.maps and out.lowlevel_maps is not None:
            assert maps is not None
            assert maps_augmented is not None
            terms["maps"] = soft_contrastive_loss(
                gather_rows(out.lowlevel_maps),
                gather_rows(maps),
                gather_rows(maps_augmented),
                temperature=weights.maps_temperature,
            )
        loss = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def _contrastive(
        self, preds: Tensor, targets: Tensor, mix: Mix | None, *, temperature: float
    ) -> Tensor:
        preds, targets = gather_rows(preds.flatten(1)), gather_rows(targets.flatten(1))
        if mix is None:
            return soft_clip_loss(preds, targets, temperature=temperature)
        released = self.settings.released_labels
        return bimixco_loss(preds, targets, mix, temperature=temperature, released=released)


class PriorStep(nn.Module):
    """Loss of the diffusion prior alone, on tokens predicted for held-out trials.

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
        times: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch tokens features"],
        keep_condition: Bool[Tensor, " batch"],
        keep_target: Bool[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        """Compute the loss from tokens, predicted tokens and `DiffusionPrior.sample_noise`."""
        loss = self.prior.loss(
            tokens,
            condition,
            times=times,
            noise=noise,
            keep_condition=keep_condition,
            keep_target=keep_target,
        )
        return {"loss": loss}


@dataclass(frozen=True, kw_only=True)
class BatchSampler:
    """Samples the batch of a step: equally many trials of every subject, and all randomness."""

    trials: Mapping[str, SubjectTrials]
    """Training trials by subject."""

    targets: TrainingTargets
    """Targets of every image."""

    losses: LossSettings
    """Decides what the batch holds."""

    prior: DiffusionPrior
    """Gives noise levels and noise where `losses` train it."""

    per_subject: int
    """Trials of each subject, of all ranks together; fewer where a subject has fewer."""

    seed: int
    """Seed of the run."""

    device: torch.device
    """Device of the batch."""

    shard: Shard
    """This rank's part of each subject's trials."""

    def __post_init__(self) -> None:
        """Refuse a batch that cannot be divided among the ranks."""
        for subject, own in self.trials.items():
            self.shard.check(self._size(own), rows=f"trials of {subject}", setting="per_subject")

    @property
    def batch_size(self) -> int:
        """Trials of a step, of all ranks together."""
        return sum(map(self._size, self.trials.values()))

    def __call__(self, step: int, *, mixing: bool, temperature: float) -> dict[str, object]:
        """Return keyword arguments of `BrainStep.forward`.

        Parameters
        ----------
        step
            The batch is a function of it and the seed.
        mixing
            Mix the betas.
        temperature
            Of the contrastive loss.
        """
        betas, images, partners, mixes = {}, [], [], []
        for subject, own in self.trials.items():
            size = self._size(own)
            rows = epoch_rows(len(own), size, step, seed=self.seed, stream=subject)
            chosen, shown = own.betas[rows], own.images[rows]
            mix = _no_mix(size)
            if mixing:
                mix = sample_mix(size, generator=generator(self.seed, "mixco", step, subject))
                chosen = mix.apply(chosen)
            if self.losses.beta_noise:
                random = generator(self.seed, "beta noise", step, subject)
                chosen = chosen + self.losses.beta_noise * torch.randn(
                    chosen.shape, generator=random
                )
            betas[subject] = to_device(self.shard.of(chosen), self.device)
            images.append(self.shard.of(shown))
            partners.append(self.shard.of(shown[mix.permutation]))
            mixes.append(mix)
        weights = torch.cat([self.shard.of(mix.kept) for mix in mixes])
        batch = self._targets(torch.cat(images), torch.cat(partners), weights)
        if self.losses.prior:
            n = sum(map(len, mixes))
            noise = self.prior.sample_noise(n, generator=generator(self.seed, "prior", step))
            sizes = [len(mix) for mix in mixes]
            batch["prior"] = {k: self._of_subjects(v, sizes) for k, v in noise.items()}
        whole = concatenate_mixes(mixes, released=self.losses.released_labels)
        mix_of_ranks = _in_order_of_ranks(whole, [len(m) for m in mixes], self.shard.world_size)
        return {
            "betas": betas,
            "mix": mix_of_ranks if mixing else None,
            "temperature": temperature,
            **batch,
        }

    def _size(self, own: SubjectTrials) -> int:
        return min(self.per_subject, len(own))

    def _of_subjects(self, whole: Tensor, sizes: Sequence[int]) -> Tensor:
        return torch.cat([self.shard.of(part) for part in whole.split(list(sizes))])

    def _targets(self, images: Tensor, partners: Tensor, weights: Tensor) -> dict[str, object]:
        """Read the targets of this rank's rows; regression targets are mixed like the betas."""

        def read(bank: TargetBank, *, mixed: bool) -> Tensor:
            values = bank[images]
            rows = (weights < 1).nonzero()[:, 0]
            if mixed and self.losses.mixed_targets and len(rows):
                kept = weights[rows].view(-1, *[1] * (values.ndim - 1))
                values[rows] = kept * values[rows] + (1 - kept) * bank[partners[rows]]
            return to_device(values, self.device)

        batch: dict[str, object] = {
            "tokens": read(self.targets.tokens, mixed=False),
            "token_targets": read(self.targets.tokens, mixed=True),
        }
        if self.targets.latents is not None:
            batch["latents"] = read(self.targets.latents, mixed=True)
        if self.targets.maps is not None:
            batch["maps"] = read(self.targets.maps, mixed=False)
        if self.targets.maps_augmented is not None:
            batch["maps_augmented"] = read(self.targets.maps_augmented, mixed=False)
        return batch


def _no_mix(n: int) -> Mix:
    nobody = torch.zeros(n, dtype=torch.bool)
    return Mix(permutation=torch.arange(n), weights=torch.ones(n), selected=nobody)


def _in_order_of_ranks(mix: Mix, sizes: Sequence[int], world_size: int) -> Mix:
    """Reorder a mix from subject after subject to the order in which ranks are gathered."""
    if world_size == 1:
        return mix
    parts = [part.chunk(world_size) for part in torch.arange(len(mix)).split(list(sizes))]
    order = torch.cat([part[rank] for rank in range(world_size) for part in parts])
    return Mix(
        permutation=order.argsort()[mix.permutation[order]],
        weights=mix.weights[order],
        selected=mix.selected[order],
    )
