"""Reference scenes: sharp images near what was decoded, for an image decoder whose own are soft.

Tokens decoded from betas are uncertain, and the mean of all images that they could stand for is
blurred. One of these images is not. So fine detail is taken from the training scene whose visual
features are nearest to those expected from the decoded tokens: retrieval-augmented decoding, as in
Blattmann et al. 2022, arXiv:2204.11824. Only training photographs are shown in the scenes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.tensors import save_tensors
from mindeye2.data.scenes import render_references
from mindeye2.encoders.bank import to_float
from mindeye2.generation.scene_kinds import SceneKinds, noise_of

__all__ = [
    "PARTS",
    "DescribedScene",
    "ReferenceScenes",
    "TokenEvidence",
    "add_detail",
    "compared_components",
    "load_reference_scenes",
]

COARSE = 14
"""Cells along each side of an image, below which detail begins."""

SURE = 0.5
"""Probability below which a caption leaves a kind out: it is named if more likely than not."""


@dataclass(frozen=True)
class DescribedScene:
    """The most probable kind of each part of a scene."""

    kinds: Mapping[str, str]
    """Kinds by part, of `PARTS`: e.g. ``"animal"`` of ``"object"``."""

    probabilities: Mapping[str, float]
    """Probability of each of them."""

    def caption(self) -> str:
        """Return what is more likely than not, e.g. ``"something in front of mountains"``."""
        words = {
            part: PARTS[part][kind]
            for part, kind in self.kinds.items()
            if self.probabilities[part] > SURE and PARTS[part][kind]
        }
        start = "two things" if "number" in words else "something"
        if "object" in words:
            start = " ".join(words[part] for part in ("object", "number") if part in words)
        named = " ".join([start, words["setting"]] if "setting" in words else [start])
        return f"{named}, {words['light']}" if "light" in words else named

    def columns(self) -> dict[str, str | float]:
        """Return kinds and probabilities as columns of a table."""
        return {
            name: value
            for part, kind in self.kinds.items()
            for name, value in ((part, kind), (f"{part}_probability", self.probabilities[part]))
        }


@dataclass(frozen=True)
class TokenEvidence:
    """Whitened decoded tokens, as far as principal components of true tokens explain them."""

    products: Float[Tensor, "query components"]
    """Inner products of centred decoded tokens with what decoding is expected to give for each
    component."""

    gram: Float[Tensor, "components components"]
    """Inner products of the latter with each other."""


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

    kinds: Mapping[str, SceneKinds]
    """Kinds of each of `PARTS`."""

    def weigh(
        self,
        preds: Float[Tensor, "query tokens features"],
        *,
        mean: Float[Tensor, "tokens features"],
        forward_model: Callable[[Tensor], Tensor],
        whiten: Callable[[Tensor], Tensor],
    ) -> TokenEvidence:
        """Return what decoded tokens say, for `rank` and `describe`.

        Parameters
        ----------
        preds
            Decoded tokens.
        mean
            Mean decoded tokens of training images.
        forward_model
            Affine map from true tokens to those that decoding is expected to give.
        whiten
            Affine map from decoded tokens to what is compared of them.

        Returns
        -------
        TokenEvidence
            One row per image.
        """
        loadings = compared_components(
            self.token_components,
            mean=self.token_mean,
            shape=preds.shape[1:],
            forward_model=forward_model,
            whiten=whiten,
        )
        centred = (whiten(preds.float()) - whiten(mean[None].float())).flatten(1)
        return TokenEvidence(centred @ loadings.T, loadings @ loadings.T)

    def rank(self, evidence: TokenEvidence, *, k: int) -> Int[Tensor, "query _"]:
        """Return the numbers of the `k` scenes nearest to decoded tokens, nearest first.

        Features are expected by linear regression on decoded tokens and compared by cosine.
        """
        gram = evidence.gram
        regularised = gram + noise_of(gram) * torch.eye(len(gram))
        found = evidence.products @ torch.linalg.solve(regularised, self.covariance)
        near = F.normalize(found, dim=1) @ F.normalize(self.features, dim=1).T
        return near.topk(k, dim=1).indices

    def render(
        self, scenes: Int[Tensor, " batch"], *, size: int
    ) -> Float[Tensor, "batch rgb height width"]:
        """Compose scenes by their numbers: RGB in [0, 1], `size` pixels a side."""
        return to_float(render_references(scenes.tolist(), size=size))

    def describe(self, evidence: TokenEvidence) -> list[DescribedScene]:
        """Describe what decoded tokens show."""
        best = {
            part: kinds.probabilities(evidence.products, gram=evidence.gram).max(dim=1)
            for part, kinds in self.kinds.items()
        }
        return [
            DescribedScene(
                {part: self.kinds[part].names[int(b.indices[i])] for part, b in best.items()},
                # Rounded: other numbers of threads change the last digits.
                {part: round(float(b.values[i]), 3) for part, b in best.items()},
            )
            for i in range(len(evidence.products))
        ]

    def save(self, path: Path) -> None:
        """Write 8-bit integers with a scale for each row or column, and kinds as numbers."""
        tensors: dict[str, Tensor] = {"token_mean": self.token_mean.half()}
        for name, dim in (("token_components", 1), ("features", 0)):
            values: Tensor = getattr(self, name)
            scale = values.abs().amax(dim=dim, keepdim=True) / 127
            tensors[name] = (values / scale).round().to(torch.int8)
            tensors[f"{name}_scale"] = scale
        tensors["covariance"] = self.covariance
        for part, kinds in self.kinds.items():
            tensors[f"{part}_shares"], tensors[f"{part}_means"] = kinds.shares, kinds.means
            tensors[f"{part}_weight"] = torch.tensor(kinds.weight)
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
        kinds={part: _load_kinds(stored, part, names=list(PARTS[part])) for part in PARTS},
    )


def compared_components(
    components: Float[Tensor, "components features"],
    *,
    mean: Float[Tensor, " features"],
    shape: Sequence[int],
    forward_model: Callable[[Tensor], Tensor],
    whiten: Callable[[Tensor], Tensor],
) -> Float[Tensor, "components features2"]:
    """Return components of true tokens as they are expected to be decoded, and whitened.

    Parameters
    ----------
    components
        Principal components of true tokens.
    mean
        Mean true tokens.
    shape
        Number of tokens, and their width.
    forward_model
        Affine map from true tokens to those that decoding is expected to give.
    whiten
        Affine map from decoded tokens to what is compared of them.

    Returns
    -------
    Tensor
        Expected change of what is compared for each component.
    """
    true = torch.cat([mean[None], mean + components])
    expected = whiten(forward_model(true.unflatten(1, tuple(shape)))).flatten(1)
    return expected[1:] - expected[0]


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


def _load_kinds(stored: Mapping[str, Tensor], part: str, *, names: list[str]) -> SceneKinds:
    return SceneKinds(
        names=names,
        shares=stored[f"{part}_shares"],
        means=stored[f"{part}_means"],
        weight=float(stored[f"{part}_weight"]),
    )


PARTS = {
    "object": {
        "animal": "an animal",
        "building": "a building",
        "food": "food",
        "object": "an object",
        "person": "a person",
        "planet": "a planet",
        "plant": "a plant",
        "tool": "a tool",
        "vehicle": "a vehicle",
    },
    "number": {"one": "", "two": "and something else"},
    "setting": {
        "building": "in front of a building",
        "city": "in a city",
        "coast": "at a coast",
        "interior": "indoors",
        "landscape": "in a landscape",
        "mountain": "in front of mountains",
        "sky": "in the sky",
        "space": "in space",
        "underwater": "under water",
    },
    "light": {"dark": "in dim light", "middle": "", "bright": "in bright light"},
}
"""Words of captions for each kind, by the part of the scene that it is a kind of: the largest
object, the number of objects, the setting and the light."""
