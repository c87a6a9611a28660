"""Random image augmentations of the low-level branch's contrastive loss."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import require

__all__ = ["augment"]

_AREA = 0.9
"""Fraction of the image's area inside the random crop."""


def augment(
    image: Float[Tensor, "rgb height width"], *, generator: torch.Generator
) -> Float[Tensor, "rgb height width"]:
    """Jitter colours and crop an image, as the published training does.

    Brightness, contrast, saturation (up to 40, 40 and 20 %) and hue (up to a tenth of the circle)
    in random order with probability .8, greyscale with .1, solarisation with .1, and always a
    square crop of 90 % of the area, resized back.

    Parameters
    ----------
    image
        RGB in [0, 1].
    generator
        Source of all randomness, on the CPU.

    Returns
    -------
    Tensor
        RGB in [0, 1], of the same size.
    """
    purpose = "Image augmentation"
    color: Any = require("torchvision.transforms.functional", extra="sdxl", purpose=purpose)

    def uniform(low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    if uniform() < 0.8:
        steps = [
            (color.adjust_brightness, uniform(0.6, 1.4)),
            (color.adjust_contrast, uniform(0.6, 1.4)),
            (color.adjust_saturation, uniform(0.8, 1.2)),
            (color.adjust_hue, uniform(-0.1, 0.1)),
        ]
        for i in torch.randperm(len(steps), generator=generator).tolist():
            function, amount = steps[i]
            image = function(image, amount)
    if uniform() < 0.1:
        image = color.rgb_to_grayscale(image, num_output_channels=3)
    if uniform() < 0.1:
        threshold, brighter = uniform(0.4, 0.6), uniform(-0.1, 0.1)
        image = (image + brighter).clamp(0, 1)
        image = torch.where(image < threshold, image, 1 - image)
    rows, columns = image.shape[-2:]
    side = round((_AREA * rows * columns) ** 0.5)
    top, left = int(uniform(0, rows - side + 1)), int(uniform(0, columns - side + 1))
    crop = image[:, top : top + side, left : left + side]
    return F.interpolate(crop[None], (rows, columns), mode="bilinear")[0]
