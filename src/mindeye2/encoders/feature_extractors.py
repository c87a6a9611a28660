"""Frozen networks whose features compare images: those of the paper, and small ones.

The published scores compare features of a reconstruction with features of its stimulus, after
resizing both, bilinear **without antialiasing** (its torchvision's default for tensors) and
without cropping, and normalising with ImageNet's mean and standard deviation. Give 256 x 256
images for exactly those scores.

EfficientNet-Lite serves machines without the published weights. Choose a variant that neither
trained the image decoder nor simulated responses, or its scores are too high.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.errors import check_choice, require
from mindeye2.encoders.clip import CLIP_MEAN, CLIP_STD
from mindeye2.encoders.efficientnet import LiteFeatures

__all__ = ["FEATURE_EXTRACTORS", "load_feature_extractor", "metric_features"]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_TWO_WAY: Literal["two_way_identification"] = "two_way_identification"
_DISTANCE: Literal["correlation_distance"] = "correlation_distance"
_HUB = "https://download.pytorch.org/models"
_CLIP_URL = (
    "https://openaipublic.azureedge.net/clip/models/"
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt"
)
_SWAV_URL = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


@dataclass(frozen=True)
class Download:
    """Source of a feature extractor's weights, printed before they are fetched."""

    url: str
    """The publisher's file; open_clip may take the same weights from the hub."""
    megabytes: int
    """Its size, roughly."""
    sha256: str
    """As far as the publisher states it; the first digits are in torchvision's file names, and
    are compared after the download."""
    licence: str
    """Of the weights."""

    @property
    def is_here(self) -> bool:
        """Whether PyTorch's cache has the file; open_clip may have it elsewhere."""
        return Path(torch.hub.get_dir(), "checkpoints", Path(self.url).name).exists()


@dataclass(frozen=True)
class FeatureExtractor:
    """One network, the layer that is compared, and the preprocessing of images."""

    build: Callable[[], nn.Module]
    """Builds the network with its trained weights; may download them."""
    layer: str
    """Name of the submodule whose output is compared; empty for the network's own output."""
    size: int | None
    """Pixels of the shorter side of its input; None if the network resizes by itself."""
    compared_by: Literal["two_way_identification", "correlation_distance"]
    """The metric that its published score uses."""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = _IMAGENET
    """Mean and standard deviation of RGB in [0, 1]; None if the network normalises by itself."""
    download: Download | None = None
    """What `build` fetches once; None if the weights come with a package."""


def metric_features(
    name: str,
    images: Float[Tensor, "images rgb height width"],
    *,
    network: nn.Module | None = None,
    batch: int = 32,
) -> Float[Tensor, "images features"]:
    """Extract the features by which one network compares images.

    Parameters
    ----------
    name
        A key of `FEATURE_EXTRACTORS`.
    images
        RGB in [0, 1]; 256 x 256 for the published scores.
    network
        The network in evaluation mode, on the device of the images. By default
        `load_feature_extractor` loads it; pass it to load once and call often.
    batch
        Images per forward pass.

    Returns
    -------
    Tensor
        One flattened row per image.

    Raises
    ------
    ValueError
        If the name is unknown, there are no images, or the network is in training mode.
    """
    check_choice("the feature extractor", name, FEATURE_EXTRACTORS)
    extractor = FEATURE_EXTRACTORS[name]
    network = load_feature_extractor(name).to(images.device) if network is None else network
    if network.training:
        raise ValueError(f"the network of {name!r} is in training mode: call .eval() on it first.")
    if len(images) == 0:
        raise ValueError(f"{name!r} was given no images.")
    with torch.inference_mode():
        parts = [
            _layer_output(network, extractor.layer, _preprocess(part, extractor))
            for part in images.split(batch)
        ]
    # A copy outside inference mode is an ordinary tensor again.
    return torch.cat(parts).clone()


def load_feature_extractor(name: str) -> nn.Module:
    """Load a feature extractor with its trained weights.

    EfficientNet-Lite comes with its packages. The other networks are downloaded once by
    torchvision or open_clip; address, size, SHA-256 and licence are written to stderr before.

    Parameters
    ----------
    name
        A key of `FEATURE_EXTRACTORS`.

    Returns
    -------
    nn.Module
        In evaluation mode, frozen, on the CPU.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    check_choice("the feature extractor", name, FEATURE_EXTRACTORS)
    wanted = FEATURE_EXTRACTORS[name].download
    if wanted is not None and not wanted.is_here:
        sys.stderr.write(
            f"The feature extractor {name!r} needs {wanted.url}: about {wanted.megabytes} MB, "
            f"SHA-256 {wanted.sha256}, licence {wanted.licence}. It is downloaded once.\n"
        )
    return FEATURE_EXTRACTORS[name].build().eval().requires_grad_(requires_grad=False)


def _preprocess(images: Tensor, extractor: FeatureExtractor) -> Tensor:
    rows, columns = images.shape[-2:]
    shorter = min(rows, columns)
    if extractor.size is not None and shorter != extractor.size:
        shape = [int(extractor.size * rows / shorter), int(extractor.size * columns / shorter)]
        images = F.interpolate(images, shape, mode="bilinear", antialias=False)
    if extractor.normalisation is None:
        return images
    mean, std = (images.new_tensor(x)[:, None, None] for x in extractor.normalisation)
    return (images - mean) / std


def _layer_output(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    if isinstance(network, LiteFeatures):
        return network.pooled(x)
    if not layer:
        output: Tensor = network(x)
        return output.flatten(1)
    outputs: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(
        # Cloned, because the next layer may work in place.
        lambda _module, _inputs, output: outputs.append(output.clone())
    )
    try:
        network(x)
    finally:
        handle.remove()
    return outputs[0].flatten(1)


def _torchvision(model: str, *, weights: str | None = "DEFAULT") -> nn.Module:
    models: Any = require("torchvision.models", extra="demo", purpose=f"Features of {model}")
    network: nn.Module = models.get_model(model, weights=weights)
    return network


def _swav() -> nn.Module:
    network = _torchvision("resnet50", weights=None)
    state = torch.hub.load_state_dict_from_url(_SWAV_URL, map_location="cpu", weights_only=True)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    # The checkpoint has a projection and prototypes instead of the classifier.
    missing, _ = network.load_state_dict(state, strict=False)
    if set(missing) != {"fc.weight", "fc.bias"}:
        raise RuntimeError(f"the SwAV checkpoint lacks {sorted(missing)}: it is another file.")
    return network


class _ClipImages(nn.Module):
    """CLIP's image tower as a network from images to embeddings."""

    def __init__(self, model: str, pretrained: str | None) -> None:
        super().__init__()
        open_clip: Any = require("open_clip", extra="sdxl", purpose="Features of CLIP")
        self.clip = open_clip.create_model(model, pretrained=pretrained)

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.clip.encode_image(x)
        return embedding


_BSD = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms allow research only"

_ALEXNET = Download(f"{_HUB}/alexnet-owt-7be5be79.pth", 233, "7be5be79...", _BSD)
_INCEPTION = Download(f"{_HUB}/inception_v3_google-0cc3c7bd.pth", 104, "0cc3c7bd...", _BSD)
_EFFNET = Download(f"{_HUB}/efficientnet_b1-c27df63c.pth", 30, "c27df63c...", _BSD)
_CLIP_FILE = Download(_CLIP_URL, 933, Path(_CLIP_URL).parent.name, "MIT")
_SWAV_FILE = Download(_SWAV_URL, 113, "not stated by its publisher", "CC BY-NC 4.0")


FEATURE_EXTRACTORS: dict[str, FeatureExtractor] = {
    "alexnet2": FeatureExtractor(
        partial(_torchvision, "alexnet"), "features.4", 256, _TWO_WAY, download=_ALEXNET
    ),
    "alexnet5": FeatureExtractor(
        partial(_torchvision, "alexnet"), "features.11", 256, _TWO_WAY, download=_ALEXNET
    ),
    "inception": FeatureExtractor(
        partial(_torchvision, "inception_v3"), "avgpool", 342, _TWO_WAY, download=_INCEPTION
    ),
    "clip": FeatureExtractor(
        partial(_ClipImages, "ViT-L-14-quickgelu", "openai"),
        "",
        224,
        _TWO_WAY,
        (CLIP_MEAN, CLIP_STD),
        _CLIP_FILE,
    ),
    "effnet": FeatureExtractor(
        partial(_torchvision, "efficientnet_b1"), "avgpool", 255, _DISTANCE, download=_EFFNET
    ),
    "swav": FeatureExtractor(_swav, "avgpool", 224, _DISTANCE, download=_SWAV_FILE),
    **{
        f"lite{variant}": FeatureExtractor(
            partial(LiteFeatures, variant), "", None, _TWO_WAY, None
        )
        for variant in (0, 1, 2)
    },
}
"""Feature extractors by name. The first six are the published ones; a `LiteFeatures` of any size
may be passed as the network of the last three."""
