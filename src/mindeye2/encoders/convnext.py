"""ConvNeXt teacher of the low-level branch: feature maps of clean and augmented images.

VICRegL's ConvNeXt (Bardes et al. 2022, arXiv:2210.01571; Liu et al. 2022, arXiv:2201.03545)
without layer scale, and the projector of its feature maps. Parameters are named as in the
published file.
"""

import itertools
import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ConvNextTeacher", "build_convnext_teacher", "infer_convnext_teacher"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.228, 0.224, 0.225)
"""The red value is the published training's; ImageNet's is .229."""


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the parent's argument
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class _Block(nn.Module):
    """Depthwise 7 x 7 convolution and an MLP per position, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.norm(self.dwconv(x).movedim(1, -1))
        change: Tensor = self.pwconv2(F.gelu(self.pwconv1(maps)))
        return x + change.movedim(-1, 1)


class _Backbone(nn.Module):
    """Four stages; the first at 1/4 of the resolution, each later one at half of the previous."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), _ChannelNorm(widths[0]))
        later = (
            nn.Sequential(_ChannelNorm(narrow), nn.Conv2d(narrow, wide, 2, stride=2))
            for narrow, wide in itertools.pairwise(widths)
        )
        self.downsample_layers = nn.ModuleList([first, *later])
        self.stages = nn.ModuleList(
            nn.Sequential(*(_Block(width) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        for reduce, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(reduce(x))
        out: Tensor = self.norm(x.flatten(2).transpose(1, 2))
        return out


class ConvNextTeacher(nn.Module):
    """Projected feature maps of images, one vector per position.

    Parameters
    ----------
    backbone
        Maps normalised images to one vector per position.
    maps_projector
        Maps those vectors to the width of the contrastive loss.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, backbone: nn.Module, maps_projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.maps_projector = maps_projector
        for name, values in (("mean", _MEAN), ("std", _STD)):
            # On the CPU even where the network is described on the meta device.
            constant = torch.tensor(values, device="cpu").view(3, 1, 1)
            self.register_buffer(name, constant, persistent=False)

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Compute projected maps of RGB images in [0, 1], row by row; 224 pixels give 7 x 7."""
        maps: Tensor = self.maps_projector(self.backbone((images - self.mean) / self.std))
        return maps


def build_convnext_teacher(
    *, depths: Sequence[int], widths: Sequence[int], projector: Sequence[int]
) -> ConvNextTeacher:
    """Build a ConvNeXt teacher; as published depths 3, 3, 27, 3 and widths 256, 512, 1024, 2048.

    `projector` holds the widths of the projector's layers, three times 512 as published.
    """
    layers: list[nn.Module] = []
    width = widths[-1]
    for wide in projector[:-1]:
        layers += [nn.Linear(width, wide), nn.LayerNorm(wide), nn.ReLU()]
        width = wide
    layers.append(nn.Linear(width, projector[-1], bias=False))
    return ConvNextTeacher(
        backbone=_Backbone(depths, widths), maps_projector=nn.Sequential(*layers)
    )


def infer_convnext_teacher(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Infer the arguments of `build_convnext_teacher` from the shapes of its weights."""
    blocks = [
        m for n in state if (m := re.fullmatch(r"backbone\.stages\.(\d+)\..*dwconv\.bias", n))
    ]
    stages = sorted({int(m[1]) for m in blocks})
    if not stages:
        raise ValueError("this is not VICRegL's ConvNeXt: no 'backbone.stages.*.dwconv.bias'.")
    return {
        "depths": [sum(int(m[1]) == stage for m in blocks) for stage in stages],
        "widths": [
            next(len(state[m.string]) for m in blocks if int(m[1]) == stage) for stage in stages
        ],
        "projector": [
            value.shape[0]
            for name, value in sorted(state.items())
            if name.startswith("maps_projector.") and value.ndim == 2
        ],
    }
