"""The losses of one training step of the brain decoder, and of its prior alone."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.settings import Settings
from mindeye2.models.decoder import MindEye, MindEyeOutput
from mindeye2.models.prior import DiffusionPrior
from mindeye2.training.distributed import gather_rows
from mindeye2.training.losses import (
    bimixco_loss,
    soft_clip_loss,
    soft_clip_temperatures,
    soft_contrastive_loss,
)
from mindeye2.training.micro_batches import split_rows, take_rows
from mindeye2.training.mixing import Mix

__all__ = [
    "BrainStep",
    "LossSettings",
    "PriorStep",
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
    """Temperature of BiMixCo, by which every cosine is divided. Released: 0.006."""

    soft_temperatures: tuple[float, float] = (0.1, 0.1)
    """Temperatures of SoftCLIP in its first and last epoch, with a cosine schedule between them.
    Released: 0.004 and 0.0075."""

    maps_temperature: Annotated[float, Field(gt=0)] = 0.2
    """Temperature of the contrastive loss of feature maps."""

    mixing_fraction: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Fraction of the training, from its start, in which betas are mixed."""

    mixed_targets: bool = True
    """Mix regression targets with the weights of the betas. Released: false, so that mixed betas
    are regressed onto the targets of one of their images."""

    released_labels: bool = False
    """Label mixed trials as the released code does, which names wrong partners in a batch of
    several subjects, and does not sum to one where a trial is its own partner."""

    beta_noise: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of noise added to z-scored betas in training. A ridge that was fitted to
    few trials reproduces them, so that the body behind it gets clean latents only; noise gives it
    latents like those of images that were not fitted."""


def contrastive_phase(
    losses: LossSettings, step: int, *, n_steps: int, steps_per_epoch: int | None = None
) -> tuple[bool, float]:
    """Return whether a step (from 0) mixes betas, and the temperature of its contrastive loss.

    Both change with the epoch, as released, where `steps_per_epoch` is given, else with the step.
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
    """Losses of one batch of several subjects; parameters that no loss reaches are frozen."""

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
        embed: bool = False,
        gradients: Mapping[str, Tensor] | None = None,
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
        maps
            The teacher's feature maps of the images.
        maps_augmented
            The teacher's feature maps of augmented images.
        prior
            Keyword arguments of `DiffusionPrior.loss`.
        embed
            Return the embeddings that `compare` takes instead.
        gradients
            Gradient of `compare` at the embeddings of these rows: its terms are left out, and
            ``surrogate`` has their gradient.

        Returns
        -------
        dict
            ``loss`` and its terms, unweighted.
        """
        weights, targets = self.settings, tokens if token_targets is None else token_targets
        shared = torch.cat([self.model.ridge(b, subject=s) for s, b in betas.items()])
        out = self.model.heads(shared)
        embeddings = self._embeddings(out)
        if embed:
            return embeddings
        terms = {}
        if weights.tokens:
            terms["tokens"] = F.mse_loss(out.backbone_tokens.float(), targets)
        if weights.prior:
            assert prior is not None
            terms["prior"] = self.model.prior.loss(targets, out.backbone_tokens, **prior)
        if weights.lowlevel and out.lowlevel_latents is not None:
            assert latents is not None
            terms["lowlevel"] = F.l1_loss(out.lowlevel_latents.float(), latents)
        if gradients is not None:
            products = [(embeddings[n].float() * g).sum() for n, g in gradients.items()]
            return {**self._weighted(terms), "surrogate": torch.stack(products).sum()}
        given = {"maps": maps, "maps_augmented": maps_augmented}
        terms |= self._comparisons(embeddings, tokens, mix, temperature=temperature, **given)
        return self._weighted(terms)

    def split(
        self, batch: Mapping[str, Any], n: int
    ) -> tuple[list[Int[Tensor, " _"]], list[dict[str, Any]]]:
        """Return the rows of `n` micro-batches, an equal part of every subject's, and these."""
        betas: Mapping[str, Tensor] = batch["betas"]
        of_subjects = [split_rows(len(b), n, of=f" of {s}") for s, b in betas.items()]
        whole = torch.arange(sum(map(len, betas.values())))
        subjects = whole.split([len(b) for b in betas.values()])
        rows, parts = [], []
        for i in range(n):
            own = [chunks[i] for chunks in of_subjects]
            rows.append(torch.cat([s[o] for s, o in zip(subjects, own, strict=True)]))
            part = {k: take_rows(v, rows[-1]) for k, v in batch.items() if k != "betas"}
            pairs = zip(betas.items(), own, strict=True)
            part["betas"] = {subject: take_rows(b, o) for (subject, b), o in pairs}
            parts.append(part)
        return rows, parts

    def compare(
        self, embeddings: Mapping[str, Tensor], batch: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Compute the terms that compare rows, from the embeddings of all of this rank's rows."""
        names = ("mix", "temperature", "maps", "maps_augmented")
        given: dict[str, Any] = {name: batch.get(name) for name in names}
        return self._weighted(self._comparisons(embeddings, batch["tokens"], **given))

    def _embeddings(self, out: MindEyeOutput) -> dict[str, Tensor]:
        """Return what the terms that compare rows are computed from."""
        embeddings = {}
        if self.settings.contrastive:
            embeddings["contrastive"] = out.retrieval_tokens.flatten(1)
        if self.settings.maps and out.lowlevel_maps is not None:
            embeddings["maps"] = out.lowlevel_maps
        return embeddings

    def _comparisons(
        self,
        embeddings: Mapping[str, Tensor],
        tokens: Tensor,
        mix: Mix | None,
        *,
        temperature: float,
        maps: Tensor | None,
        maps_augmented: Tensor | None,
    ) -> dict[str, Tensor]:
        """Compute the terms that compare the rows of all ranks."""
        terms = {}
        if "contrastive" in embeddings:
            preds, targets = gather_rows(embeddings["contrastive"]), gather_rows(tokens.flatten(1))
            if mix is None:
                terms["contrastive"] = soft_clip_loss(preds, targets, temperature=temperature)
            else:
                released = self.settings.released_labels
                terms["contrastive"] = bimixco_loss(
                    preds, targets, mix, temperature=temperature, released=released
                )
        if "maps" in embeddings:
            assert maps is not None
            assert maps_augmented is not None
            terms["maps"] = soft_contrastive_loss(
                gather_rows(embeddings["maps"]),
                gather_rows(maps),
                gather_rows(maps_augmented),
                temperature=self.settings.maps_temperature,
            )
        return terms

    def _weighted(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted sum of terms as ``loss``, and the terms."""
        weighted = [getattr(self.settings, name) * term for name, term in terms.items()]
        loss = torch.stack(weighted).sum() if weighted else self._zero()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def _zero(self) -> Tensor:
        return torch.zeros((), device=next(self.parameters()).device)


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
