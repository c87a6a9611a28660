"""Frozen networks whose features compare images: those of the paper, and small ones.

The published scores compare features of a reconstruction with features of its stimulus, after
resizing both, bilinear **without antialiasing** (its torchvision's default for tensors) and
without cropping, and normalising with ImageNet's mean and standard deviation. Give 256 x 256
images for exactly those scores.

EfficientNet-Lite serves machines without the published weights. Choose a variant that neither
trained the image decoder nor simulated responses, or its scores are too high.
"""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mindeye2.core.errors import ArtifactError, check_choice, require
from mindeye2.encoders.clip import CLIP_MEAN, CLIP_STD
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.evaluation_weights import Download

__all__ = ["FEATURE_EXTRACTORS", "layer_features", "load_feature_extractor", "metric_features"]

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
class FeatureExtractor:
    """One network, the layer that is compared, and the preprocessing of images."""

    build: Callable[[Path], nn.Module]
    """Builds the network from the file of its trained weights, if it has one."""
    layer: str
    """Name of the submodule whose output is compared; empty for the network's own output."""
    size: int | None
    """Pixels of the shorter side of its input; None if the network resizes by itself."""
    compared_by: Literal["two_way_identification", "correlation_distance"]
    """The metric that its published score uses."""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = _IMAGENET
    """Mean and standard deviation of RGB in [0, 1]; None if the network normalises by itself."""
    download: Download | None = None
    """The file that `build` reads; None if the weights come with a package."""


def metric_features(
    name: str,
    images: Float[Tensor, "images rgb height width"],
    *,
    network: nn.Module | None = None,
    batch: int = 32,
    antialias: bool = False,
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
    antialias
        Antialias where images are reduced to the input of the network. The published scores do
        not.

    Returns
    -------
    Tensor
        One flattened row per image.

    Raises
    ------
    ValueError
        If the name is unknown, there are no images, or the network is in training mode.
    """
    return layer_features((name,), images, network=network, batch=batch, antialias=antialias)[name]


def layer_features(
    names: Sequence[str],
    images: Float[Tensor, "images rgb height width"],
    *,
    network: nn.Module | None = None,
    batch: int = 32,
    antialias: bool = False,
) -> dict[str, Float[Tensor, "images _"]]:
    """Extract `metric_features` of several extractors that share network and preprocessing."""
    for name in names:
        check_choice("the feature extractor", name, FEATURE_EXTRACTORS)
    first = FEATURE_EXTRACTORS[names[0]]
    network = load_feature_extractor(names[0]).to(images.device) if network is None else network
    if network.training:
        raise ValueError(
            f"the network of {names[0]!r} is in training mode: call .eval() on it first."
        )
    if len(images) == 0:
        raise ValueError(f"{names[0]!r} was given no images.")
    layers = [FEATURE_EXTRACTORS[name].layer for name in names]
    with torch.inference_mode():
        parts = [
            _layer_outputs(network, layers, _preprocess(part, first, antialias=antialias))
            for part in images.split(batch)
        ]
    # Copies outside inference mode are ordinary tensors again.
    return {
        name: torch.cat(layer).clone()
        for name, layer in zip(names, zip(*parts, strict=True), strict=True)
    }


def load_feature_extractor(name: str, *, folder: Path | None = None) -> nn.Module:
    """Load a feature extractor with its trained weights.

    EfficientNet-Lite comes with its packages. The weights of the other networks are read from a
    folder or from PyTorch's cache; where neither has them they are downloaded once, after address,
    size, SHA-256 and licence were written to stderr.

    Parameters
    ----------
    name
        A key of `FEATURE_EXTRACTORS`.
    folder
        Folder that may hold the file of weights under its published name.

    Returns
    -------
    nn.Module
        In evaluation mode, frozen, on the CPU.

    Raises
    ------
    ValueError
        If the name is unknown.
    ArtifactError
        If the file is damaged, or of another network.
    """
    check_choice("the feature extractor", name, FEATURE_EXTRACTORS)
    extractor = FEATURE_EXTRACTORS[name]
    wanted = extractor.download
    path = Path() if wanted is None else wanted.find(folder) or wanted.fetch()
    try:
        network = extractor.build(path)
    except (RuntimeError, UnpicklingError, EOFError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ArtifactError(
            f"{path} does not hold the weights of the feature extractor {name!r} "
            f"({reason}). Remove it, and get it again."
        ) from error
    return network.eval().requires_grad_(requires_grad=False)


def _preprocess(images: Tensor, extractor: FeatureExtractor, *, antialias: bool) -> Tensor:
    rows, columns = images.shape[-2:]
    shorter = min(rows, columns)
    if extractor.size is not None and shorter != extractor.size:
        shape = [int(extractor.size * rows / shorter), int(extractor.size * columns / shorter)]
        images = F.interpolate(images, shape, mode="bilinear", antialias=antialias)
    if extractor.normalisation is None:
        return images
    mean, std = (images.new_tensor(x)[:, None, None] for x in extractor.normalisation)
    return (images - mean) / std


class _LastLayer(Exception):  # noqa: N818 - not an error
    """Ends a forward pass after the last layer that is compared."""


def _layer_outputs(network: nn.Module, layers: Sequence[str], x: Tensor) -> list[Tensor]:
    if isinstance(network, LiteFeatures):
        return [network.pooled(x)]
    if not layers[0]:
        output: Tensor = network(x)
        return [output.flatten(1)]
    x = x.contiguous(memory_format=torch.channels_last)  # convolutions take a quarter less time
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs.append(output.clone())  # because the next layer may work in place
        if len(outputs) == len(layers):
            raise _LastLayer

    handles = [network.get_submodule(layer).register_forward_hook(keep) for layer in layers]
    try:
        network(x)
    except _LastLayer:
        pass  # what follows it is not computed
    finally:
        for handle in handles:
            handle.remove()
    return [output.flatten(1) for output in outputs]


def _torchvision(model: str, path: Path) -> nn.Module:
    models: Any = require("torchvision.models", extra="demo", purpose=f"Features of {model}")
    # As torchvision builds the network for these weights.
    options = {"transform_input": True, "init_weights": False} if "inception" in model else {}
    network: nn.Module = models.get_model(model, weights=None, **options)
    network.load_state_dict(_read_state(path))
    return _fold(network)


def _swav(path: Path) -> nn.Module:
    models: Any = require("torchvision.models", extra="demo", purpose="Features of SwAV")
    network: nn.Module = models.get_model("resnet50", weights=None)
    state = {key.removeprefix("module."): value for key, value in _read_state(path).items()}
    # The checkpoint has a projection and prototypes instead of the classifier.
    missing, _ = network.load_state_dict(state, strict=False)
    if set(missing) - {"fc.weight", "fc.bias"}:
        raise RuntimeError(f"the SwAV checkpoint lacks {sorted(missing)}: it is another file.")
    return _fold(network)


def _fold(network: nn.Module) -> nn.Module:
    """Fold batch normalisations into convolutions and store weights as these read them.

    Inception takes a third less time; features change in the seventh digit.
    """
    for parent in network.eval().modules():
        for (name, layer), (following, norm) in pairwise(list(parent.named_children())):
            # In torchvision's networks, layers are defined in the order in which they are called.
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, following, nn.Identity())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _lite(variant: int, _: Path) -> nn.Module:
    return LiteFeatures(variant)


class _ClipImages(nn.Module):
    """CLIP's image tower as a network from images to embeddings."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        model: Any = require("open_clip.model", extra="evaluation", purpose="Features of CLIP")
        # Sizes are inferred from the shapes; OpenAI's networks use the quick GELU.
        clip = model.build_model_from_openai_state_dict(
            _read_state(path), quick_gelu=True, cast_dtype=torch.float32
        )
        self.visual = clip.float().visual

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.visual(x)
        return embedding


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, or the weights of OpenAI's TorchScript archive."""
    if zipfile.is_zipfile(path) and any(
        "constants.pkl" in n for n in zipfile.ZipFile(path).namelist()
    ):
        archive = torch.jit.load(path, map_location="cpu")
        return {name: value.float() for name, value in archive.state_dict().items()}
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


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
    "clip": FeatureExtractor(_ClipImages, "", 224, _TWO_WAY, (CLIP_MEAN, CLIP_STD), _CLIP_FILE),
    "effnet": FeatureExtractor(
        partial(_torchvision, "efficientnet_b1"), "avgpool", 255, _DISTANCE, download=_EFFNET
    ),
    "swav": FeatureExtractor(_swav, "avgpool", 224, _DISTANCE, download=_SWAV_FILE),
    **{
        f"lite{variant}": FeatureExtractor(partial(_lite, variant), "", None, _TWO_WAY, None)
        for variant in (0, 1, 2)
    },
}
"""Feature extractors by name. The first six are the published ones; a `LiteFeatures` of any size
may be passed as the network of the last three."""
