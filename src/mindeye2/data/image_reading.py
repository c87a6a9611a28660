"""Reading of image files, and resizing of images to squares."""

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mindeye2.core.errors import ArtifactError

__all__ = ["IMAGE_SUFFIXES", "Fit", "read_image", "resize_to_square"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Suffixes of image files, in the order in which they are tried for a name without one."""

Fit = Literal["crop", "pad", "stretch"]
"""How an image becomes square: keep its middle, add grey, or distort it."""

_GREY = (127, 127, 127)


def read_image(file: Path | BytesIO, *, name: object) -> Image.Image:
    """Read an image of any format of Pillow as upright RGB, with transparent parts in grey.

    Raises ``ArtifactError``, with `name`, if the file is damaged, is no image, or has more pixels
    than Pillow accepts.
    """
    try:
        with Image.open(file) as opened:
            # Cameras store the image as recorded, and how to turn it in its EXIF data.
            image = ImageOps.exif_transpose(opened)
            if not image.has_transparency_data:
                return image.convert("RGB")
            rgba = image.convert("RGBA")
    except Image.DecompressionBombError as error:
        raise ArtifactError(
            f"{name} is too large: {error}. Give the image in at most {Image.MAX_IMAGE_PIXELS:,} "
            "pixels; it is reduced to a small square anyway."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise ArtifactError(
            f"{name} cannot be read as an image ({error}). Give a complete file of one of the "
            f"formats {', '.join(IMAGE_SUFFIXES)}."
        ) from error
    background = Image.new("RGBA", rgba.size, (*_GREY, 255))
    return Image.alpha_composite(background, rgba).convert("RGB")


def resize_to_square(
    image: Image.Image, size: int, *, fit: Fit = "crop"
) -> UInt8[np.ndarray, "height width rgb"]:
    """Resize an RGB image to (`size`, `size`) pixels with Pillow's antialiased bicubic filter."""
    side, bicubic = (size, size), Image.Resampling.BICUBIC
    if fit == "crop":
        square = ImageOps.fit(image, side, bicubic)
    elif fit == "pad":
        square = ImageOps.pad(image, side, bicubic, color=_GREY)
    else:
        square = image.resize(side, bicubic)
    return np.asarray(square, dtype=np.uint8)
