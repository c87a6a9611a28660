"""The published random changes of a picture that the low-level teacher sees as well."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import require

__all__ = ["augment"]

_KEPT = 0.9
"""Share of the picture's area that the random crop keeps."""


def augment(
    image: Float[Tensor, "rgb height width"], *, generator: torch.Generator
) -> Float[Tensor, "rgb height width"]:
    """Change colours and crop a little, as the published training does.

    Brightness, contrast, saturation (up to 40, 40 and 20 %) and hue (up to a tenth of the circle)
    in random order with probability .8, grey with .1, solarised with .1, and always a square crop
    of 90 % of the area, resized back.

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
    purpose = "The altered picture of the low-level teacher"
    change: Any = require("torchvision.transforms.functional", extra="sdxl", purpose=purpose)

    def draw(low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    if draw() < 0.8:
        steps = [
            (change.adjust_brightness, draw(0.6, 1.4)),
            (change.adjust_contrast, draw(0.6, 1.4)),
            (change.adjust_saturation, draw(0.8, 1.2)),
            (change.adjust_hue, draw(-0.1, 0.1)),
        ]
        for i in torch.randperm(len(steps), generator=generator).tolist():
            function, amount = steps[i]
            image = function(image, amount)
    if draw() < 0.1:
        image = change.rgb_to_grayscale(image, num_output_channels=3)
    if draw() < 0.1:
        threshold, brighter = draw(0.4, 0.6), draw(-0.1, 0.1)
        image = (image + brighter).clamp(0, 1)
        image = torch.where(image < threshold, image, 1 - image)
    rows, columns = image.shape[-2:]
    side = round((_KEPT * rows * columns) ** 0.5)
    top, left = int(draw(0, rows - side + 1)), int(draw(0, columns - side + 1))
    crop = image[:, top : top + side, left : left + side]
    return F.interpolate(crop[None], (rows, columns), mode="bilinear")[0]
