"""OpenCLIP's patch tokens, the targets of the published model: ViT-bigG/14 gives 256 of 1664.

The published code passes images in [0, 1] to an embedder that expects [-1, 1], so that the
network receives values in [.5, 1]. Its checkpoints, the image decoder and the captioner were
trained on those: ``scaling="released"`` keeps them. ``"clean"`` normalises images as OpenCLIP's
training did.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.errors import check_choice, require
from mindeye2.core.tensors import without_values
from mindeye2.encoders.weights import WeightsFile

__all__ = ["CLIP_MEAN", "CLIP_STD", "ClipTokens", "load_clip_tokens"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of RGB in [0, 1] that CLIP's inputs are normalised with."""
_MODEL = "ViT-bigG-14"
_PRETRAINED = "laion2b_s39b_b160k"
_SIDE = 224


class ClipTokens(nn.Module):
    """Patch tokens of an OpenCLIP image tower, an `ImageEncoder`.

    Parameters
    ----------
    visual
        ``open_clip.transformer.VisionTransformer`` that was made with ``output_tokens=True``.
    scaling
        ``"released"`` or ``"clean"``; see the module.
    weights_key
        Identifies the weights, e.g. a hash of their file; by default a hash of some of their
        values.

    Attributes
    ----------
    name
        ``"bigg"`` or ``"bigg-clean"``.
    key
        Scaling and weights.

    Raises
    ------
    ValueError
        If the scaling is unknown, or the tower returns no tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        visual: nn.Module,
        *,
        scaling: str = "released",
        weights_key: str | None = None,
    ) -> None:
        check_choice("scaling", scaling, ("released", "clean"))
        if not getattr(visual, "output_tokens", False):
            raise ValueError(
                "the image tower returns no tokens: build it with output_tokens=True, or set "
                "visual.output_tokens = True."
            )
        super().__init__()
        self.visual = visual
        self.scaling = scaling
        self.name = "bigg" if scaling == "released" else "bigg-clean"
        self.key = f"clip-{scaling}-{_SIDE}-{weights_key or _fingerprint(visual)}"
        for name, values in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode RGB images in [0, 1] to one token per patch, after the last layer norm."""
        if self.scaling == "released":
            inputs = _resize_as_released(images) / 2 + 0.5
        else:
            inputs = F.interpolate(images, (_SIDE, _SIDE), mode="bicubic", antialias=True)
        weight = next(self.visual.parameters())
        normalised = ((inputs - self.mean) / self.std).to(weight.dtype)
        _, tokens = self.visual(normalised)
        out: Tensor = tokens.float()
        return out


def load_clip_tokens(
    weights: Path | None = None, *, scaling: str = "released", head_width: int = 104
) -> ClipTokens:
    """Load OpenCLIP ViT-bigG/14's image tower.

    Parameters
    ----------
    weights
        Folder or file that ``mindeye2 import`` wrote (of the published unCLIP checkpoint, which
        holds the tower, or of OpenCLIP's own file). By default OpenCLIP downloads them, 10 GB,
        unless they are in its cache.
    scaling
        ``"released"`` or ``"clean"``.
    head_width
        Width of an attention head, which cannot be inferred from shapes; bigG's by default.

    Returns
    -------
    ClipTokens
        In evaluation mode, frozen, on the CPU.

    Raises
    ------
    MissingExtraError
        If open_clip is not installed.
    ArtifactError
        If the file cannot be read, or holds something else.
    """
    open_clip: Any = require("open_clip", extra="sdxl", purpose="OpenCLIP")
    if weights is None:
        visual = open_clip.create_model(_MODEL, pretrained=_PRETRAINED).visual
        visual.output_tokens = True
        key = _PRETRAINED
    else:
        file = WeightsFile(weights, kind="clip_tokens")
        visual = _build_tower(file.read(), head_width=head_width)
        file.fill(visual)
        key = file.key
    visual.eval().requires_grad_(requires_grad=False)
    return ClipTokens(visual, scaling=scaling, weights_key=key).eval()


def _build_tower(state: Mapping[str, Tensor], *, head_width: int) -> nn.Module:
    """Build a tower on the meta device, with sizes inferred from its weights."""
    transformer: Any = require("open_clip.transformer", extra="sdxl", purpose="OpenCLIP")
    width, _, patch, _ = state["conv1.weight"].shape
    with without_values():
        tower: nn.Module = transformer.VisionTransformer(
            image_size=patch * math.isqrt(len(state["positional_embedding"]) - 1),
            patch_size=patch,
            width=width,
            layers=sum(name.endswith(".ln_1.weight") for name in state),
            heads=width // head_width,
            mlp_ratio=len(state["transformer.resblocks.0.mlp.c_fc.bias"]) / width,
            output_dim=state["proj"].shape[1],
            output_tokens=True,
        )
    return tower


def _resize_as_released(images: Tensor) -> Tensor:
    """Resize as the published preprocessing does: bicubic, corners aligned, blurred to shrink.

    Kornia, which it used, blurs with a Gaussian before shrinking; images of 224 pixels are not
    changed.
    """
    factors = [side / _SIDE for side in images.shape[-2:]]
    if max(factors) > 1:
        images = _blur(images, [max((factor - 1) / 2, 0.001) for factor in factors])
    return F.interpolate(images, (_SIDE, _SIDE), mode="bicubic", align_corners=True)


def _blur(images: Tensor, sigmas: list[float]) -> Tensor:
    for axis, sigma in zip((-2, -1), sigmas, strict=True):
        reach = max(int(4 * sigma), 3) // 2
        offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
        kernel = (-(offsets**2) / (2 * sigma**2)).exp()
        shape = (1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1)
        pad = (0, 0, reach, reach) if axis == -2 else (reach, reach, 0, 0)
        weight = (kernel / kernel.sum()).view(shape).expand(images.shape[1], *(-1,) * 3)
        images = F.conv2d(F.pad(images, pad, mode="reflect"), weight, groups=images.shape[1])
    return images


def _fingerprint(network: nn.Module) -> str:
    """Hash names, shapes and a few values of each weight: all of bigG would take too long."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        few = value.detach().flatten()[:64].cpu().double()
        digest.update(f"{name}{tuple(value.shape)}".encode() + few.numpy().tobytes())
    return digest.hexdigest()[:16]
