"""The forward model: an affine map from true tokens to the tokens that decoding gives for them.

Decoding shrinks token components with little signal in the voxels, for all subjects alike. So
decoded tokens are compared with those that the forward model predicts for each candidate image,
rather than with the candidate's true tokens. How decoding errs beyond that is alike for all
subjects too: by the covariance of these errors both are whitened before they are compared, so that
directions in which decoding errs much count less (linear discriminant analysis, Fisher 1936). Both
are fitted to subjects with many trials and applied to a new subject with few.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from mindeye2.core.tensors import save_tensors
from mindeye2.models.moments import Moments

__all__ = [
    "ForwardModel",
    "choose_forward_model",
    "copy_forward_model",
    "fit_forward_model",
    "load_forward_model",
    "remove_forward_model",
    "whitening_map",
]

_FILE = "expectation.safetensors"


@dataclass(frozen=True, kw_only=True)
class ForwardModel:
    """An affine map from true tokens to decoded ones, by way of few components."""

    mean: Float[Tensor, " features"]
    """Subtracted from tokens: the bias of the output layer, or the mean of true tokens."""

    components: Float[Tensor, "features components"]
    """Span the decoded tokens: weights of the output layer, or PCA components."""

    weights: Float[Tensor, "components components"]
    """From inner products of true tokens with the components to coefficients of decoded ones."""

    bias: Float[Tensor, " components"]
    """Coefficients of the tokens that are decoded for the mean."""

    whitening: Float[Tensor, "components _"] | None = None
    """From inner products of decoded tokens with the components to coordinates in which decoding
    errs alike in every direction; None compares tokens as they are."""

    @torch.no_grad()
    def __call__(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Predict the decoded tokens of images from their true tokens, on the tokens' device."""
        decoded = []
        for part in tokens.flatten(1).split(64):
            scores = (part.to(self.mean) - self.mean) @ self.components
            coefficients = scores @ self.weights + self.bias
            decoded.append((coefficients @ self.components.T + self.mean).to(tokens.device))
        return torch.cat(decoded).view(tokens.shape)

    @torch.no_grad()
    def whiten(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images ..."]:
        """Map decoded tokens, or those that are expected, to what is compared of them."""
        if self.whitening is None:
            return tokens
        parts = [
            ((part.to(self.mean) - self.mean) @ self.components @ self.whitening).to(tokens.device)
            for part in tokens.flatten(1).split(64)
        ]
        return torch.cat(parts)

    def save(self, folder: Path) -> None:
        """Write the map into a run folder, without what is the output layer's."""
        tensors = {"weights": self.weights, "bias": self.bias}
        if self.whitening is not None:
            tensors["whitening"] = self.whitening
        save_tensors(tensors, folder / _FILE)


def load_forward_model(folder: Path, output: nn.Linear) -> ForwardModel | None:
    """Read the forward model of a run whose output layer is given; None if it has none."""
    if not (folder / _FILE).exists():
        return None
    tensors = {n: tensor.to(output.weight) for n, tensor in load_file(folder / _FILE).items()}
    # Runs of earlier versions have principal components of their own.
    mean = tensors.pop("mean", output.bias.detach())
    components = tensors.pop("axes", output.weight.detach()[:, : len(tensors["bias"])])
    return ForwardModel(mean=mean, components=components, **tensors)


def copy_forward_model(run: Path, out: Path) -> None:
    """Give a run the forward model of the one that it starts from, if that has one.

    Its latents become tokens by the output layer of the new run, as those of new trials do.
    """
    if (run / _FILE).exists():
        shutil.copyfile(run / _FILE, out / _FILE)


def remove_forward_model(run: Path) -> None:
    """Remove the forward model of a run, if it has one."""
    (run / _FILE).unlink(missing_ok=True)


def fit_forward_model(
    scores: Moments,
    *,
    mean: Float[Tensor, " features"],
    components: Float[Tensor, "features components"],
    alpha: float,
    basis: Float[Tensor, "components _"] | None = None,
) -> ForwardModel:
    """Fit a ridge from scores of true tokens (x) to coefficients of held-out decoded tokens (y).

    Coefficients are those of `components`, about `mean`. Scores are inner products with the
    components times `basis`, which makes components orthonormal that are not. `alpha` is above 0.
    """
    gram, products = scores.centred()
    gram.diagonal().add_(alpha)
    weights = torch.linalg.solve(gram, products)
    bias = scores.y_mean - scores.x_mean @ weights
    if basis is not None:
        weights = basis.to(weights) @ weights
    return ForwardModel(
        mean=mean, components=components, weights=weights.to(mean), bias=bias.to(mean)
    )


def whitening_map(
    covariance: Float[Tensor, "components components"],
) -> Float[Tensor, "components components"]:
    """Return a map after which errors of a covariance, shrunken by half, have the covariance 1.

    The covariance is averaged with its mean variance: of a new subject with fewer trials it is
    another one, and without that, directions in which decoding seems to err little would decide.
    """
    variances, directions = torch.linalg.eigh(covariance)
    shrunken = (variances.clamp_min(0) + variances.mean()) / 2
    whitening: Tensor = directions / shrunken.clamp_min(torch.finfo(shrunken.dtype).tiny).sqrt()
    return whitening


def choose_forward_model(
    fit: Callable[[float], ForwardModel],
    score: Callable[[ForwardModel | None], float],
    *,
    alphas: Sequence[float],
) -> tuple[ForwardModel | None, dict[str, float]]:
    """Choose alpha, or no forward model at all, by identification of validation images.

    `score` is given a forward model, or None for the true tokens; higher is better, and of equal
    ones the first is taken. All scores are returned by alpha, ``"none"`` for no model.
    """
    best, best_score = None, score(None)
    scores = {"none": best_score}
    for alpha in alphas:
        model = fit(alpha)
        scores[f"{alpha:g}"] = score(model)
        if scores[f"{alpha:g}"] > best_score:
            best, best_score = model, scores[f"{alpha:g}"]
    return best, scores
