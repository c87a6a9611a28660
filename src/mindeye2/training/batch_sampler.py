"""The batch of a step, as a pure function of the step's number.

Everything random of a step is part of its batch: rows, mixing, noise on betas, noise levels and
noise of the prior. It is sampled for the whole batch from streams named by seed and step, and each
rank gets its rows, so any number of processes computes the same losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mindeye2.core.runtime import generator
from mindeye2.models.prior import DiffusionPrior
from mindeye2.training.batches import epoch_rows, to_device
from mindeye2.training.brain_step import LossSettings
from mindeye2.training.distributed import Shard
from mindeye2.training.mixing import Mix, concatenate_mixes, sample_mix
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = ["BatchSampler", "TrainingTargets"]


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

    distinct_images: bool = False
    """Sample every step anew, without two rows of one image, instead of going through epochs."""

    def __post_init__(self) -> None:
        """Refuse a batch that cannot be divided among the ranks."""
        for subject, own in self.trials.items():
            self.shard.check(self._size(own), rows=f"trials of {subject}", setting="per_subject")

    @property
    def batch_size(self) -> int:
        """Trials of a step, of all ranks together."""
        return sum(map(self._size, self.trials.values()))

    def __call__(self, step: int, *, mixing: bool, temperature: float) -> dict[str, object]:
        """Return keyword arguments of `BrainStep.forward`, and the trials they are of.

        The batch is a function of step and seed; `mixing` mixes the betas, `temperature` is that
        of the contrastive loss.
        """
        betas, chosen_rows, images, partners, mixes = {}, {}, [], [], []
        whole_images: list[Tensor] = []
        for subject, own in self.trials.items():
            size = self._size(own)
            if self.distinct_images:
                taken = torch.cat(whole_images) if whole_images else None
                rows = self._distinct_rows(subject, step, taken=taken)
            else:
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
            chosen_rows[subject] = self.shard.of(rows)
            whole_images.append(shown)
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
            "trials": chosen_rows,
        }

    def _distinct_rows(self, subject: str, step: int, *, taken: Tensor | None) -> Tensor:
        """Sample trials of images that neither each other nor the batch so far shows."""
        own, random = self.trials[subject], generator(self.seed, "distinct", step, subject)
        order = torch.randperm(len(own), generator=random)
        images = own.images[order].tolist()
        seen = set() if taken is None else set(taken.tolist())
        rows = []
        for row, image in zip(order.tolist(), images, strict=True):
            if image not in seen:
                seen.add(image)
                rows.append(row)
        size = self._size(own)
        if len(rows) < size:
            raise ValueError(
                f"a batch of {size} trials of {subject} without repeated images needs {size} "
                f"images that the batch does not show yet, but there are {len(rows)}. Lower "
                "per_subject, or add --set distinct_images=false."
            )
        return torch.tensor(rows[:size])

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
