"""Kinds of things in composed scenes, with a calibrated probability each.

Linear discriminant analysis of decoded tokens: each kind has its own mean, all share the
covariance of the scenes and of the noise. It takes the photographs that it was fitted to for all
there are, so its evidence for other photographs is too strong, and counts by a weight below one,
which is fitted to scenes of photographs that were left out (temperature scaling, Guo et al. 2017,
arXiv:1706.04599).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = ["SceneKinds", "calibrate_kinds", "noise_of"]

_NOISE = 2.0
"""Variance of the noise of whitened decoded tokens in each direction, in units of mean variance
of the expected tokens."""

_WEIGHTS = torch.linspace(0.05, 1, 20)
"""Of the evidence; one is as strong as discriminant analysis takes it to be."""

_N_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class SceneKinds:
    """What decoded tokens say about the kind of one part of a scene."""

    names: Sequence[str]
    """Kinds."""

    shares: Float[Tensor, " kinds"]
    """Fraction of the scenes of each kind."""

    means: Float[Tensor, "kinds components"]
    """Mean standardised scores of each kind's scenes; weighted by the shares they sum to 0."""

    weight: float
    """Weight of the evidence of tokens against the shares, in [0, 1]."""

    def probabilities(
        self,
        products: Float[Tensor, "query components"],
        *,
        gram: Float[Tensor, "components components"],
    ) -> Float[Tensor, "query kinds"]:
        """Return the probability of each kind.

        Parameters
        ----------
        products
            Inner products of centred decoded tokens with the tokens that decoding is expected to
            give for each principal component, both whitened.
        gram
            Inner products of the latter with each other.

        Returns
        -------
        Tensor
            Probabilities; each row sums to 1.
        """
        identity = torch.eye(len(gram))
        within = identity - self.means.T @ (self.shares[:, None] * self.means)
        # Discriminants of tokens, written in their inner products by the push-through identity.
        solution = torch.linalg.solve(within @ gram + noise_of(gram) * identity, self.means.T)
        offsets = ((self.means @ gram) * solution.T).sum(dim=1) / 2
        evidence = products @ solution - offsets
        probabilities: Tensor = (self.weight * evidence + self.shares.log()).softmax(dim=1)
        return probabilities


def noise_of(gram: Float[Tensor, "components components"]) -> Tensor:
    """Return the variance of the noise of decoded tokens that are expected to have `gram`."""
    return _NOISE * gram.trace() / len(gram)


def fit_kinds(
    scores: Float[Tensor, "images components"],
    kinds: Shaped[np.ndarray, " images"],
    *,
    names: Sequence[str],
) -> SceneKinds:
    """Fit means and shares of kinds to standardised scores of true tokens, at full weight."""
    numbers = torch.tensor([names.index(kind) for kind in kinds])
    members = F.one_hot(numbers, len(names)).to(scores)
    counts = members.sum(dim=0).clamp_min(1)
    means = members.T @ (scores - scores.mean(dim=0)) / counts[:, None]
    return SceneKinds(names=names, shares=counts / counts.sum(), means=means, weight=1.0)


def calibrate_kinds(
    scores: Float[Tensor, "images components"],
    kinds: Shaped[np.ndarray, " images"],
    *,
    photographs: Shaped[np.ndarray, " images"],
    names: Sequence[str],
    gram: Float[Tensor, "components components"],
    generator: torch.Generator,
) -> SceneKinds:
    """Fit kinds, and the weight at which left-out photographs are described best.

    Decoding is simulated: the expected tokens of each scene and noise. A tenth of the photographs
    at a time is left out, and the weight has the smallest log loss on their scenes.

    Parameters
    ----------
    scores
        Standardised scores of the scenes' true tokens.
    kinds
        Kind of each scene.
    photographs
        What each scene shows of it, e.g. its background.
    names
        All kinds.
    gram
        As in `SceneKinds.probabilities`.
    generator
        Of noise and folds.

    Returns
    -------
    SceneKinds
        Means and shares of all scenes, and the weight.
    """
    variance = noise_of(gram)
    root = torch.linalg.cholesky(gram + 1e-6 * variance * torch.eye(len(gram)))
    noise = variance.sqrt() * torch.randn(scores.shape, generator=generator)
    products = scores @ gram + noise @ root.T
    sources, rows = np.unique(photographs, return_inverse=True)
    folds = torch.randperm(len(sources), generator=generator)[torch.from_numpy(rows)] % _N_FOLDS
    targets = torch.tensor([names.index(kind) for kind in kinds])
    losses = torch.zeros(len(_WEIGHTS))
    for fold in range(_N_FOLDS):
        held = folds == fold
        fitted = fit_kinds(scores[~held], kinds[~held.numpy()], names=names)
        for i, weight in enumerate(_WEIGHTS.tolist()):
            found = replace(fitted, weight=weight).probabilities(products[held], gram=gram)
            losses[i] += F.nll_loss(found.log(), targets[held], reduction="sum")
    best = float(_WEIGHTS[losses.argmin()])
    return replace(fit_kinds(scores, kinds, names=names), weight=best)
