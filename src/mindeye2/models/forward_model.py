"""The forward model: an affine map from true tokens to the tokens that decoding gives for them.

Decoding shrinks token components with little signal in the voxels, for all subjects alike. So
decoded tokens are compared with those that the forward model predicts for each candidate image,
rather than with the candidate's true tokens. It is fitted to subjects with many trials and applied
to a new subject with few.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from mindeye2.core.tensors import save_tensors
from mindeye2.models.moments import Moments

__all__ = ["ForwardModel", "choose_forward_model", "fit_forward_model", "load_forward_model"]

_FILE = "expectation.safetensors"


@dataclass(frozen=True, kw_only=True)
class ForwardModel:
    """An affine map between PCA scores of tokens."""

    mean: Float[Tensor, " features"]
    """Mean of the true tokens."""

    components: Float[Tensor, "features components"]
    """Orthonormal PCA components of the true tokens."""

    weights: Float[Tensor, "components components"]
    """From the PCA scores of true tokens to those of decoded tokens."""

    bias: Float[Tensor, " components"]
    """PCA scores decoded for the mean image."""

    def __call__(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Predict the decoded tokens of images from their true tokens."""
        scores = (tokens.flatten(1) - self.mean) @ self.components @ self.weights + self.bias
        return (scores @ self.components.T + self.mean).view_as(tokens)

    def save(self, folder: Path, *, output: nn.Linear | None = None) -> None:
        """Write the map into a run folder as float16.

        Mean and components are left out where they are bias and weights of the output layer of the
        model in that folder.
        """
        tensors = {"weights": self.weights, "bias": self.bias}
        if output is None or not self._is_of(output):
            tensors |= {"mean": self.mean, "axes": self.components}
        save_tensors({name: tensor.half() for name, tensor in tensors.items()}, folder / _FILE)

    def _is_of(self, output: nn.Linear) -> bool:
        own = output.weight[:, : self.components.shape[1]]
        same = torch.equal(self.mean, output.bias.to(self.mean))
        return same and torch.equal(self.components, own.to(self.components))


def load_forward_model(folder: Path) -> ForwardModel | None:
    """Read the forward model of a run; None if it has none, as after training on one subject."""
    if not (folder / _FILE).exists():
        return None
    tensors = {name: tensor.float() for name, tensor in load_file(folder / _FILE).items()}
    if "axes" not in tensors:
        with safe_open(folder / "model.safetensors", "pt") as model:
            n_components = len(tensors["bias"])
            output = model.get_slice("backbone.output.weight")
            tensors["axes"] = output[:, :n_components].float()
            tensors["mean"] = model.get_tensor("backbone.output.bias").float()
    return ForwardModel(components=tensors.pop("axes"), **tensors)


def fit_forward_model(
    scores: Moments,
    *,
    mean: Float[Tensor, " features"],
    components: Float[Tensor, "features components"],
    alpha: float,
) -> ForwardModel:
    """Fit a ridge from PCA scores of true tokens (x) to those of held-out decoded tokens (y).

    `mean` and `components` are the PCA of true tokens; `alpha` is above 0.
    """
    gram, products = scores.centred()
    gram.diagonal().add_(alpha)
    weights = torch.linalg.solve(gram, products)
    bias = scores.y_mean - scores.x_mean @ weights
    return ForwardModel(
        mean=mean, components=components, weights=weights.to(mean), bias=bias.to(mean)
    )


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
