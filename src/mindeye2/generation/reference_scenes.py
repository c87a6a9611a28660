"""Reference scenes: sharp images near what was decoded, for an image decoder whose own are soft.

Tokens decoded from betas are uncertain, and the mean of all images that they could stand for is
blurred. One of these images is not. So fine detail is taken from the training scene whose visual
features are nearest to those expected from the decoded tokens: retrieval-augmented decoding, as in
Blattmann et al. 2022, arXiv:2204.11824. Only training photographs are shown in the scenes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.tensors import save_tensors
from mindeye2.data.scenes import render_references
from mindeye2.encoders.bank import to_float

__all__ = ["ReferenceScenes", "add_detail", "load_reference_scenes"]

NOISE = 1 / 3
"""Variance of the noise of decoded tokens in each principal component, in units of the mean
variance of the expected tokens. From a tenth to one, references hardly change."""

COARSE = 14
"""Cells along each side of an image, below which detail begins."""

VOTERS = 100
"""References whose kinds of object and setting make up a caption."""


@dataclass(frozen=True, kw_only=True)
class ReferenceScenes:
    """Training scenes, their features, and the regression of features on tokens."""

    token_mean: Float[Tensor, " features"]
    """Mean true tokens."""

    token_components: Float[Tensor, "components features"]
    """Principal components of the true tokens times the standard deviations of their scores."""

    features: Float[Tensor, "images features2"]
    """Principal scores of each scene's pooled EfficientNet-Lite0 features."""

    covariance: Float[Tensor, "components features2"]
    """Covariance of the tokens' standardised scores with the features."""

    objects: Shaped[np.ndarray, " images"]
    """Kind of the largest object of each scene, e.g. ``"animal"``."""

    settings: Shaped[np.ndarray, " images"]
    """Kind of the background of each scene, e.g. ``"mountain"``."""

    def rank(
        self,
        preds: Float[Tensor, "query tokens features"],
        *,
        mean: Float[Tensor, "tokens features"],
        forward_model: Callable[[Tensor], Tensor],
        k: int,
    ) -> Int[Tensor, "query _"]:
        """Return the `k` scenes nearest to decoded tokens, nearest first.

        Features are expected by the linear regression on decoded tokens, of which `forward_model`
        gives the part that the image determines, and compared by cosine.

        Parameters
        ----------
        preds
            Decoded tokens.
        mean
            Mean decoded tokens of training images.
        forward_model
            Affine map from true tokens to those that decoding is expected to give.
        k
            At most the number of scenes.

        Returns
        -------
        Tensor
            Numbers of scenes.
        """
        shape = preds.shape[1:]
        true = torch.cat([self.token_mean[None], self.token_mean + self.token_components])
        expected = forward_model(true.unflatten(1, shape)).flatten(1)
        loadings = expected[1:] - expected[0]
        gram = loadings @ loadings.T
        gram.diagonal().add_(NOISE * gram.trace() / len(gram))
        scores = (preds - mean).flatten(1).float() @ loadings.T
        found = scores @ torch.linalg.solve(gram, self.covariance)
        near = F.normalize(found, dim=1) @ F.normalize(self.features, dim=1).T
        return near.topk(k, dim=1).indices

    def render(
        self, scenes: Int[Tensor, " batch"], *, size: int
    ) -> Float[Tensor, "batch rgb height width"]:
        """Compose scenes by their numbers: RGB in [0, 1], `size` pixels a side."""
        return to_float(render_references(scenes.tolist(), size=size))

    def describe(self, ranked: Int[Tensor, "query _"]) -> list[str]:
        """Describe images by the most frequent kinds among their nearest scenes.

        Frequent kinds do not win by being frequent: each counts by its share over all scenes, to
        the power 1/2.
        """
        captions = []
        for scenes in ranked[:, :VOTERS].numpy():
            kind = _elect(self.objects, scenes)
            captions.append(f"{_OBJECTS[kind]} {_SETTINGS[_elect(self.settings, scenes)]}")
        return captions

    def save(self, path: Path) -> None:
        """Write 8-bit integers with a scale for each row or column, and kinds as numbers."""
        tensors: dict[str, Tensor] = {"token_mean": self.token_mean.half()}
        for name, dim in (("token_components", 1), ("features", 0)):
            values: Tensor = getattr(self, name)
            scale = values.abs().amax(dim=dim, keepdim=True) / 127
            tensors[name] = (values / scale).round().to(torch.int8)
            tensors[f"{name}_scale"] = scale
        tensors["covariance"] = self.covariance
        for name, names in (("objects", _OBJECTS), ("settings", _SETTINGS)):
            codes = [list(names).index(kind) for kind in getattr(self, name)]
            tensors[name] = torch.tensor(codes, dtype=torch.uint8)
        save_tensors(tensors, path)


def load_reference_scenes(path: Path | None = None) -> ReferenceScenes:
    """Load the shipped reference scenes, or those in a file."""
    if path is None:
        path = Path(str(resources.files("mindeye2") / "assets" / "scenes" / "scenes.safetensors"))
    stored = load_file(path)
    return ReferenceScenes(
        token_mean=stored["token_mean"].float(),
        token_components=stored["token_components"] * stored["token_components_scale"],
        features=stored["features"] * stored["features_scale"],
        covariance=stored["covariance"],
        objects=np.array(list(_OBJECTS))[stored["objects"].numpy()],
        settings=np.array(list(_SETTINGS))[stored["settings"].numpy()],
    )


def add_detail(
    coarse: Float[Tensor, "batch rgb _ _"],
    detailed: Float[Tensor, "batch rgb height width"],
    *,
    weight: float = 0.5,
) -> Float[Tensor, "batch rgb height width"]:
    """Move the colours and light of detailed images towards those of coarse ones.

    Parameters
    ----------
    coarse
        RGB in [0, 1].
    detailed
        RGB in [0, 1], of any size; all structure finer than 1/14 of the side is theirs.
    weight
        Weight of the coarse image in what is coarser, in [0, 1].

    Returns
    -------
    Tensor
        RGB in [0, 1].
    """
    side = detailed.shape[-2:]
    difference = F.adaptive_avg_pool2d(coarse, COARSE) - F.adaptive_avg_pool2d(detailed, COARSE)
    change = F.interpolate(difference, side, mode="bicubic", align_corners=False)
    return (detailed + weight * change).clamp(0, 1)


def _elect(kinds: Shaped[np.ndarray, " images"], scenes: Shaped[np.ndarray, " _"]) -> str:
    """Return the kind that is most frequent among scenes, relative to its root share."""
    total, votes = Counter(kinds.tolist()), Counter(kinds[scenes].tolist())
    return str(max(votes, key=lambda kind: votes[kind] / total[kind] ** 0.5))


_OBJECTS = {
    "animal": "an animal",
    "building": "a building",
    "food": "food",
    "object": "an object",
    "person": "a person",
    "planet": "a planet",
    "plant": "a plant",
    "tool": "a tool",
    "vehicle": "a vehicle",
}
"""Words for the kinds of objects."""

_SETTINGS = {
    "building": "in front of a building",
    "city": "in a city",
    "coast": "at a coast",
    "interior": "indoors",
    "landscape": "in a landscape",
    "mountain": "in front of mountains",
    "sky": "in the sky",
    "space": "in space",
    "underwater": "under water",
}
"""Words for the kinds of backgrounds."""
