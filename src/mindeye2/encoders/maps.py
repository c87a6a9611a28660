"""Teacher feature maps of clean or augmented images, as an encoder of the target bank."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.runtime import generator
from mindeye2.core.tensors import without_values
from mindeye2.encoders.augmentations import augment
from mindeye2.encoders.convnext import (
    ConvNextTeacher,
    build_convnext_teacher,
    infer_convnext_teacher,
)
from mindeye2.encoders.weights import WeightsFile

__all__ = ["load_teacher_maps"]

_SIDE = 224


class TeacherMaps(nn.Module):
    """Feature maps of `ConvNextTeacher`, an `ImageEncoder`.

    Parameters
    ----------
    teacher
        The network.
    seed
        Augment each image first, with a generator that this number and the image's pixels seed, so
        that the rest of the batch does not matter; None encodes clean images.
    weights_key
        Identifies the weights.

    Attributes
    ----------
    name
        ``"convnext"`` or ``"convnext-augmented"``.
    key
        Weights, size and seed.
    """

    def __init__(
        self, teacher: ConvNextTeacher, *, seed: int | None = None, weights_key: str = "published"
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.seed = seed
        self.name = "convnext" if seed is None else "convnext-augmented"
        inputs = "clean" if seed is None else f"augmented-{seed}"
        self.key = f"convnext-{_SIDE}-{inputs}-{weights_key}"

    def forward(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode RGB images in [0, 1], resized to 224 pixels, to maps; (49, 512) as published."""
        if images.shape[-2:] != (_SIDE, _SIDE):
            images = F.interpolate(images, (_SIDE, _SIDE), mode="bicubic", antialias=True)
            images = images.clamp(0, 1)
        if self.seed is not None:
            images = torch.stack([self._augmented(image, self.seed) for image in images])
        maps: Tensor = self.teacher(images)
        return maps

    def _augmented(self, image: Tensor, seed: int) -> Tensor:
        pixels = (image * 255).round().to("cpu", torch.uint8).numpy().tobytes()
        return augment(image, generator=generator(seed, "augmented", pixels))


def load_teacher_maps(weights: Path, *, seed: int | None = None) -> TeacherMaps:
    """Load the frozen teacher that ``mindeye2 import`` wrote; `seed` as in `TeacherMaps`.

    The published file is ``convnext_xlarge_alpha0.75_fullckpt.pth``.
    """
    file = WeightsFile(weights, kind="convnext_teacher")
    with without_values():
        teacher = build_convnext_teacher(**infer_convnext_teacher(file.read()))
    file.fill(teacher)
    teacher.float().eval().requires_grad_(requires_grad=False)
    return TeacherMaps(teacher, seed=seed, weights_key=file.key).eval()
