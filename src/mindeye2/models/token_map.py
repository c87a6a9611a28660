"""A linear map between two spaces of image features, fitted on images without brain responses."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["TokenMap", "fit_token_map"]

_ALPHAS = tuple(10.0**exponent for exponent in range(-5, 3))
"""Penalties to choose from, relative to the mean eigenvalue of the products of images."""


@dataclass(frozen=True)
class TokenMap:
    """Kernel ridge from flattened tokens of one encoder to those of another."""

    mean: Float[Tensor, " features"]
    """Mean tokens of the images that it was fitted on."""
    images: Float[Tensor, "bank features"]
    """Their tokens, centred."""
    weights: Float[Tensor, "bank features2"]
    """Weight of each image in each feature of the other encoder."""
    bias: Float[Tensor, " features2"]
    """Mean of the other encoder's features."""

    def __call__(
        self,
        tokens: Float[Tensor, "images2 ..."],
        *,
        mean: Float[Tensor, " features"] | None = None,
    ) -> Float[Tensor, "images2 features2"]:
        """Map tokens; `mean` is subtracted from them in place of that of the true tokens."""
        centred = tokens.flatten(1) - (self.mean if mean is None else mean)
        return centred @ self.images.T @ self.weights + self.bias


def fit_token_map(tokens: Float[Tensor, "bank ..."], features: Float[Tensor, "_ ..."]) -> TokenMap:
    """Fit ridge regression by kernels, with the penalty of the least exact leave-one-out error.

    Parameters
    ----------
    tokens
        Tokens of images by one encoder.
    features
        Features of the same images by another.

    Returns
    -------
    TokenMap
        From the first to the second.

    Raises
    ------
    ValueError
        If numbers of images differ, or there are fewer than 3.
    """
    if len(tokens) != len(features) or len(tokens) < 3:
        raise ValueError(
            "a map between encoders needs the same images from both, at least 3, got "
            f"{len(tokens)} and {len(features)}."
        )
    x, y = tokens.flatten(1).float(), features.flatten(1).float()
    mean, bias = x.mean(dim=0), y.mean(dim=0)
    x, y = x - mean, y - bias
    values, vectors = torch.linalg.eigh((x @ x.T).double())
    values = values.clamp_min(0)
    rotated = vectors.T @ y.double()
    best, chosen = float("inf"), torch.empty(0)
    for alpha in _ALPHAS:
        inverse = 1 / (values + alpha * values.mean().clamp_min(1e-12))
        dual = vectors @ (inverse[:, None] * rotated)
        # The bias counts: leaving an image out moves the mean too.
        leverage = vectors.square() @ inverse
        error = float((dual / leverage[:, None]).square().sum())
        if error < best:
            best, chosen = error, dual
    return TokenMap(mean=mean, images=x, weights=chosen.float(), bias=bias)
