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
from dataclasses import dataclass, replace
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

    def in_components(
        self,
        basis: Float[Tensor, "components _"],
        *,
        mean: Float[Tensor, " features"],
        components: Float[Tensor, "features components"],
    ) -> "ForwardModel":
        """Return the map of tokens that this one is in coordinates of.

        Coordinates are inner products with the orthonormal ``components @ basis``.
        """
        basis = basis.double()
        exact = ForwardModel(
            mean=mean,
            components=components,
            weights=basis @ self.weights.double() @ basis.T,
            bias=self.bias.double() @ basis.T,
            whitening=None if self.whitening is None else basis @ self.whitening.double(),
        )
        return _rounded(exact)

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
    identity: float = 0.0,
    squares: Float[Tensor, "_ _"] | None = None,
) -> ForwardModel:
    """Fit a ridge from scores of true tokens (x) to those of held-out decoded tokens (y).

    Parameters
    ----------
    scores
        Inner products of tokens less `mean` with the components; y is about the offset 0 where
        `squares` is given.
    mean
        Subtracted from tokens.
    components
        Span the decoded tokens.
    alpha
        L2 penalty, above 0.
    identity
        Weight of the true tokens themselves in what is expected, in [0, 1), scaled to the spread
        of what the ridge predicts. From few trials the ridge is estimated so badly that this
        identifies more images.
    squares
        Sum of the outer products of y with itself, from which decoding's errors about the expected
        tokens follow; with it the model whitens by these.

    Returns
    -------
    ForwardModel
        Of tokens, by way of the components.
    """
    gram, products = scores.centred()
    eye = torch.eye(len(gram)).to(gram)
    weights = torch.linalg.solve(gram + alpha * eye, products)
    if identity:
        spread = ((gram @ weights) * weights).sum() / gram.trace()
        weights = (1 - identity) * weights + identity * spread.sqrt() * eye
    bias = scores.y_mean - scores.x_mean @ weights
    whitening = None
    if squares is not None:
        explained = weights.T @ products
        errors = squares - torch.outer(scores.y_sum, scores.y_sum) / scores.n
        errors = errors - explained - explained.T + weights.T @ gram @ weights
        whitening = whitening_map(errors / scores.n)
    exact = ForwardModel(
        mean=mean, components=components, weights=weights, bias=bias, whitening=whitening
    )
    return _rounded(exact)


def _rounded(exact: ForwardModel) -> ForwardModel:
    """Return a map that was computed in double precision in the precision of tokens."""
    whitening = exact.whitening
    return replace(
        exact,
        weights=exact.weights.to(exact.mean),
        bias=exact.bias.to(exact.mean),
        whitening=None if whitening is None else whitening.to(exact.mean),
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
    fit: Callable[[float, float, bool], ForwardModel],
    score: Callable[[ForwardModel | None], float],
    *,
    alphas: Sequence[float],
    identities: Sequence[float],
) -> tuple[ForwardModel | None, dict[str, float]]:
    """Choose a forward model, or none at all, by identification of validation images.

    First alpha, then the weight of the identity together with whether the model whitens.

    Parameters
    ----------
    fit
        Fits a model with an alpha, a weight of the identity, and whether it whitens.
    score
        Given a forward model, or None for the true tokens; higher is better, and of equal ones the
        first is taken.
    alphas
        To choose from.
    identities
        Weights above 0 to choose from, beside 0.

    Returns
    -------
    tuple
        The best model or None; scores by choice, ``"none"`` for no model.
    """
    best, scores = None, {"none": score(None)}

    def consider(name: str, alpha: float, identity: float, *, whitens: bool) -> None:
        nonlocal best
        model = fit(alpha, identity, whitens)
        found = score(model)
        if found > max(scores.values()):
            best = model
        scores[name] = found

    for alpha in alphas:
        consider(f"{alpha:g}", alpha, 0.0, whitens=False)
    alpha = max(alphas, key=lambda a: scores[f"{a:g}"])
    consider(f"{alpha:g}, whitened", alpha, 0.0, whitens=True)
    for identity in identities:
        name = f"{alpha:g}, identity {identity:g}"
        consider(name, alpha, identity, whitens=False)
        consider(f"{name}, whitened", alpha, identity, whitens=True)
    return best, scores
