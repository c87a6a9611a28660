"""MixCo: convex combinations of the trials of one subject, with partners and weights.

A mix is sampled once a step and subject. It is applied to the betas and to the regression targets
of the same trials, and gives the labels of `mindeye2.training.losses.bimixco_loss`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Mix", "concatenate_mixes", "sample_mix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Partner and weight of each mixed trial.

    Where row ``i`` is selected, it becomes ``weights[i] * x[i] + (1 - weights[i]) *
    x[permutation[i]]``; the other rows stay as they are.
    """

    permutation: Int[Tensor, " batch"]
    """Row of each trial's partner."""

    weights: Float[Tensor, " batch"]
    """Weight of the trial itself in [0, 1], for the selected rows."""

    selected: Bool[Tensor, " batch"]
    """Rows that are mixed at all."""

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.permutation)

    @property
    def kept(self) -> Float[Tensor, " batch"]:
        """Weight of each trial in its own mix: 1 where it is not selected."""
        return torch.where(self.selected, self.weights, torch.ones_like(self.weights))

    def apply(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Mix betas, or any target that may be averaged, into a new tensor: one row per trial.

        Raises ``ValueError`` if `x` has another number of rows than the mix.
        """
        if len(x) != len(self):
            raise ValueError(f"this mix is for {len(self)} trials, got {len(x)} rows.")
        kept = self.kept.to(x.device, x.dtype).view(-1, *[1] * (x.ndim - 1))
        return kept * x + (1 - kept) * x[self.permutation.to(x.device)]


def sample_mix(
    n_trials: int, *, beta: float = 0.15, probability: float = 0.5, generator: torch.Generator
) -> Mix:
    """Sample partners and weights for the trials of one subject.

    Parameters
    ----------
    n_trials
        Number of trials; all of one subject, because betas of two subjects cannot be averaged.
    beta
        Both parameters of the Beta distribution of the weights, greater than 0. At 0.15 most
        weights are close to 0 or 1.
    probability
        Probability with which a trial is mixed, in [0, 1].
    generator
        Source of the randomness, on the CPU.

    Returns
    -------
    Mix
        On the CPU; `Mix.apply` moves what it needs.

    Raises
    ------
    ValueError
        If `beta` or `probability` is out of range.

    References
    ----------
    Kim et al. 2020, "MixCo: Mix-up Contrastive Learning for Visual Representation",
    arXiv:2010.06300.
    """
    if beta <= 0:
        raise ValueError(f"beta must be greater than 0, got {beta}.")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be in [0, 1], got {probability}.")
    permutation = torch.randperm(n_trials, generator=generator)
    selected = torch.rand(n_trials, generator=generator) < probability
    # torch's Beta distribution takes no generator, NumPy's does.
    seed = int(torch.randint(2**62, (), generator=generator))
    weights = np.random.default_rng(seed).beta(beta, beta, n_trials)
    return Mix(
        permutation=permutation,
        weights=torch.from_numpy(weights).float(),
        selected=selected,
    )


def concatenate_mixes(mixes: Sequence[Mix], *, released: bool = False) -> Mix:
    """Join the mixes of several subjects into the mix of their concatenated batch.

    Parameters
    ----------
    mixes
        One per subject, in the order in which their trials are concatenated.
    released
        Leave the partners' rows as they were within each subject. The released code does so: in a
        batch of several subjects all labels but the first subject's then name a wrong partner.

    Returns
    -------
    Mix
        Its permutation points at rows of the concatenated batch.

    Raises
    ------
    ValueError
        If there is no mix.
    """
    if not mixes:
        raise ValueError("there is no mix to concatenate; give one per subject of the batch.")
    offset, permutations = 0, []
    for mix in mixes:
        permutations.append(mix.permutation if released else mix.permutation + offset)
        offset += len(mix)
    return Mix(
        permutation=torch.cat(permutations),
        weights=torch.cat([mix.weights for mix in mixes]),
        selected=torch.cat([mix.selected for mix in mixes]),
    )
