"""Ridge weights for a new subject's voxels from the most similar voxels of other subjects.

A pretrained run keeps a linear encoding model of each voxel: how it responds to images. Whether a
new voxel is like a known one shows in how well the known voxel's model predicts the new voxel's
responses, to whatever images the new subject saw; no image is shared and no anatomy is needed. The
weights of the most similar voxels, averaged, are what a new ridge shrinks towards instead of zero.
With few trials most of the new ridge's weights are not determined by data, and these are a better
guess. Brain-IT starts new voxels from similar ones likewise, by learned voxel embeddings.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.tensors import save_tensors
from mindeye2.models.closed_form import RidgeProblem, mean_by_image
from mindeye2.models.moments import Rows

__all__ = [
    "EncodingModels",
    "copy_encoding_models",
    "fit_encoding_models",
    "load_encoding_models",
    "similar_weights",
]

N_COMPONENTS = 60
"""Principal components of latents that encoding models are fitted to."""

N_NEIGHBOURS = 40
"""Similar voxels that are averaged. 20 do as well for 75 and 300 trials of the demo."""

_N_COMPARED = 256
"""New voxels that are compared with all known ones at once; so few stay in the cache."""

_ALPHA = 30.0
"""L2 penalty of encoding models, for standardised scores."""

_FILE = "encoding_models.safetensors"


@dataclass(frozen=True, kw_only=True)
class EncodingModels:
    """Linear encoding models of the voxels of several subjects."""

    mean: Float[Tensor, " latent"]
    """Mean latents of training images."""

    components: Float[Tensor, "latent components"]
    """From centred latents to standardised principal scores."""

    weights: Mapping[str, Float[Tensor, "components voxels"]]
    """Change of each voxel's response with the scores, by subject."""

    def scores(
        self, latents: Float[Tensor, "images latent"]
    ) -> Float[Tensor, "images components"]:
        """Return standardised principal scores of images from their latents."""
        return (latents - self.mean) @ self.components

    def save(self, folder: Path) -> None:
        """Write them into a run folder, in half precision."""
        tensors = {f"weights.{s}": w.half().contiguous() for s, w in self.weights.items()}
        save_tensors({"mean": self.mean, "components": self.components, **tensors}, folder / _FILE)


def load_encoding_models(folder: Path) -> EncodingModels | None:
    """Read the encoding models of a run; None if it has none."""
    if not (folder / _FILE).exists():
        return None
    stored = load_file(folder / _FILE)
    return EncodingModels(
        mean=stored.pop("mean"),
        components=stored.pop("components"),
        weights={n.removeprefix("weights."): w.float() for n, w in stored.items()},
    )


def copy_encoding_models(run: Path, out: Path) -> None:
    """Give a run the encoding models of the one that it starts from, if that has any."""
    if (run / _FILE).exists():
        shutil.copyfile(run / _FILE, out / _FILE)


def fit_encoding_models(
    latents: Float[Tensor, "images latent"],
    trials: Mapping[str, tuple[Rows, Int[Tensor, " trials"]]],
) -> EncodingModels:
    """Fit an encoding model of each voxel by ridge regression.

    Parameters
    ----------
    latents
        Latents of training images, at least two.
    trials
        Betas, (trials, voxels), and the row of `latents` of each trial's image, by subject.

    Returns
    -------
    EncodingModels
        On the CPU.
    """
    mean = latents.mean(dim=0)
    centred = latents - mean
    eigenvalues, vectors = torch.linalg.eigh(centred.T @ centred / len(latents))
    largest = eigenvalues.flip(0)[: min(N_COMPONENTS, len(latents) - 1)].clamp_min(1e-12)
    components = vectors.flip(1)[:, : len(largest)] / largest.sqrt()
    scores = centred @ components
    weights = {}
    for subject, (betas, rows) in trials.items():
        ridge = RidgeProblem(scores[rows], betas, device=scores.device).fit()
        weights[subject] = ridge.weights(_ALPHA)[0].cpu()
    return EncodingModels(mean=mean.cpu(), components=components.cpu(), weights=weights)


def similar_weights(
    betas: Float[Tensor, "trials voxels"],
    images: Int[Tensor, " trials"],
    scores: Float[Tensor, "trials components"],
    *,
    encoding: Float[Tensor, "components _"],
    ridges: Float[Tensor, "_ latent"],
    n_neighbours: int = N_NEIGHBOURS,
) -> Float[Tensor, "voxels latent"]:
    """Return the mean ridge weights of the known voxels most similar to each new one.

    Similarity is the correlation, over images, of a new voxel's responses with those that the
    encoding model of a known voxel predicts. Each weight counts in proportion to how far its
    similarity is above that of the most similar voxel that is left out.

    Parameters
    ----------
    betas
        Trials of the new subject.
    images
        Image of each; repeats are averaged.
    scores
        Standardised principal scores of each trial's image.
    encoding
        Encoding models of known voxels, of all pretraining subjects together.
    ridges
        Ridge weights of the same voxels.
    n_neighbours
        Known voxels that are averaged; all but the least similar one, if there are fewer.

    Returns
    -------
    Tensor
        Ridge weights for the new voxels, of the scale of the known ones.
    """
    responses, _ = mean_by_image(betas, images)
    shown, _ = mean_by_image(scores, images)
    responses = F.normalize(responses - responses.mean(dim=0), dim=0)
    shown = shown - shown.mean(dim=0)
    # Correlations with predicted responses, without forming these.
    spread = ((shown.T @ shown @ encoding) * encoding).sum(dim=0).clamp_min(1e-12).sqrt()
    profile, encoding = responses.T @ shown, encoding / spread
    weights = torch.empty(len(profile), ridges.shape[1], device=betas.device)
    k = min(n_neighbours + 1, len(ridges))
    for voxels in torch.arange(len(profile)).split(_N_COMPARED):
        near = (profile[voxels] @ encoding).topk(k, dim=1)
        # Above the first that is left out: which of two nearly equal ones that is may differ
        # between processors.
        above = (near.values - near.values[:, -1:].clamp_min(0)).clamp_min(0)
        share = above / above.sum(dim=1, keepdim=True).clamp_min(1e-12)
        weights[voxels] = F.embedding_bag(
            near.indices, ridges, per_sample_weights=share, mode="sum"
        )
    return weights
