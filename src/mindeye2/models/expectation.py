"""What brains make of a picture: the tokens to expect from decoding, given the true ones.

Decoding blurs: dimensions of the tokens that brains carry badly come out small, whoever's brain it
is. A candidate picture is therefore compared not by its true tokens but by those that decoding
would give for it. The map between the two is learned from the people of pretraining, who have many
trials, and serves a new person, who has few and could not learn it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.tensors import save_tensors

__all__ = ["Expectation", "choose_expectation", "fit_expectation", "load_expectation"]

FILE = "expectation.safetensors"


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """An affine map of tokens, of the rank of the shared space."""

    mean: Float[Tensor, " features"]
    """Mean of the true tokens."""

    axes: Float[Tensor, "features codes"]
    """Orthonormal axes of the true tokens."""

    weights: Float[Tensor, "codes codes"]
    """From true codes to expected codes."""

    bias: Float[Tensor, " codes"]
    """Expected codes of the mean picture."""

    def __call__(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Return the tokens that decoding is expected to give.

        Parameters
        ----------
        tokens
            True tokens of candidate pictures.

        Returns
        -------
        Tensor
            Expected tokens, to be compared with predicted ones.
        """
        codes = (tokens.flatten(1) - self.mean) @ self.axes @ self.weights + self.bias
        return (codes @ self.axes.T + self.mean).view_as(tokens)

    def save(self, folder: Path) -> None:
        """Write the map into a run folder.

        Parameters
        ----------
        folder
            Run folder.
        """
        save_tensors({f.name: getattr(self, f.name).half() for f in fields(self)}, folder / FILE)


def load_expectation(folder: Path) -> Expectation | None:
    """Read the map of a run.

    Parameters
    ----------
    folder
        Run folder.

    Returns
    -------
    Expectation or None
        None where the run has none, as after training on one person.
    """
    if not (folder / FILE).exists():
        return None
    return Expectation(**{k: v.float() for k, v in load_file(folder / FILE).items()})


def fit_expectation(
    predicted: Float[Tensor, "trials features"],
    true: Float[Tensor, "trials features"],
    *,
    mean: Float[Tensor, " features"],
    axes: Float[Tensor, "features codes"],
    penalty: float,
) -> Expectation:
    """Regress predicted tokens of held-back trials on the true ones.

    Parameters
    ----------
    predicted
        Predictions for images that the predicting ridge was not fitted to.
    true
        True tokens of the same trials.
    mean
        Mean of the true tokens.
    axes
        Orthonormal axes of the true tokens.
    penalty
        Of the regression, greater than 0.

    Returns
    -------
    Expectation
        The map.
    """
    X, Y = (true - mean) @ axes, (predicted - mean) @ axes
    x_mean, y_mean = X.mean(dim=0), Y.mean(dim=0)
    X, Y = X - x_mean, Y - y_mean
    gram = X.T @ X
    gram.diagonal().add_(penalty)
    weights = torch.linalg.solve(gram, X.T @ Y)
    return Expectation(mean=mean, axes=axes, weights=weights, bias=y_mean - x_mean @ weights)


def choose_expectation(
    fit: Callable[[float], Expectation],
    score: Callable[[Expectation | None], float],
    *,
    penalties: Sequence[float],
) -> tuple[Expectation | None, dict[str, float]]:
    """Choose the penalty, or no map at all, by identification of validation images.

    Parameters
    ----------
    fit
        Makes the map of a penalty.
    score
        Scores a map, or None for the true tokens as they are; higher is better.
    penalties
        Penalties to choose from.

    Returns
    -------
    tuple
        The best map or None, and all scores by penalty (``"none"`` for no map).
    """
    scores = {"none": score(None)}
    best: Expectation | None = None
    for penalty in penalties:
        candidate = fit(penalty)
        scores[f"{penalty:g}"] = score(candidate)
        if scores[f"{penalty:g}"] > max(s for p, s in scores.items() if p != f"{penalty:g}"):
            best = candidate
    return best, scores
