"""Images inside the page: each distinct one is stored once, as a WebP data URI."""

import base64
import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, features

__all__ = ["ImageStore"]

# Tried in turn until the images fit: longer side in pixels, quality of WebP.
SIZES = ((224, 82), (160, 78), (112, 75), (96, 60), (64, 50))


class ImageStore:
    """Images of a page by number; equal images share a number.

    All are resized alike until their data URIs fit `budget_bytes`, or to 64 pixels at least.
    """

    def __init__(self, *, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._images: list[np.ndarray] = []
        self._numbers: dict[bytes, int] = {}

    def add(self, image: np.ndarray, *, name: str) -> int:
        """Return the number of an RGB image of 8 bits, (height, width, 3)."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"{name} must be a uint8 array of shape (height, width, 3), "
                f"got {image.dtype} {image.shape}. "
                "Scale floats in [0, 1] with (255 * image).round().astype('uint8')."
            )
        if 0 in image.shape:
            raise ValueError(f"{name} is empty: it has shape {image.shape}. Leave it out.")
        image = np.ascontiguousarray(image)
        key = hashlib.blake2b(repr(image.shape).encode() + image.tobytes()).digest()
        if key not in self._numbers:
            self._numbers[key] = len(self._images)
            self._images.append(image)
        return self._numbers[key]

    def encode(self) -> list[str]:
        """Return all images as data URIs, by number."""
        # A sample shows which sizes cannot fit, so that hundreds of images are encoded once.
        sample = self._images[:: max(1, len(self._images) // 40)]
        fraction = len(sample) / max(1, len(self._images))
        encoded: list[str] = []
        for size in SIZES:
            last = size == SIZES[-1]
            if not last and _total(sample, size) > fraction * self.budget_bytes:
                continue
            encoded = [_data_uri(p, size) for p in self._images]
            if sum(map(len, encoded)) <= self.budget_bytes:
                break
        return encoded


def _total(images: Sequence[np.ndarray], size: tuple[int, int]) -> int:
    return sum(len(_data_uri(p, size)) for p in images)


def _data_uri(image: np.ndarray, size: tuple[int, int]) -> str:
    """Encode one image, downscaled where its longer side exceeds that of `size`."""
    side, quality = size
    resized = Image.fromarray(image)
    resized.thumbnail((side, side), Image.Resampling.LANCZOS)
    # Pillow can be built without WebP; every build has JPEG.
    kind = "webp" if features.check("webp") else "jpeg"
    with io.BytesIO() as stream:
        # Method 2 is twice as fast as the default and makes files 4 % larger.
        resized.save(stream, kind, quality=quality, method=2)
        return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
