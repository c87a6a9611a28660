"""Pictures inside the page: each distinct one is stored once, as a WebP data URI."""

import base64
import hashlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, features

__all__ = ["PictureBook"]

# Tried in turn until the pictures fit: longer side in pixels, quality of WebP.
SIZES = ((224, 82), (160, 78), (112, 75), (96, 60), (64, 50))


class PictureBook:
    """Collects the pictures of a page and numbers them; equal pictures get one number.

    Parameters
    ----------
    budget_bytes
        What all data URIs together may take. Pictures are made smaller, all alike, until they
        fit, or until they are 64 pixels wide.
    """

    def __init__(self, *, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._pictures: list[np.ndarray] = []
        self._numbers: dict[bytes, int] = {}

    def add(self, picture: np.ndarray, *, name: str) -> int:
        """Return the number of a picture, the same for equal pictures.

        Parameters
        ----------
        picture
            RGB, (height, width, 3), uint8.
        name
            What the picture is, for the message.

        Returns
        -------
        int
            Its place in `encode`.

        Raises
        ------
        ValueError
            If it is not such an array.
        """
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"{name} must be a uint8 array of shape (height, width, 3), "
                f"got {picture.dtype} {picture.shape}. "
                "Scale floats in [0, 1] with (255 * picture).round().astype('uint8')."
            )
        if 0 in picture.shape:
            raise ValueError(f"{name} is empty: it has shape {picture.shape}. Leave it out.")
        picture = np.ascontiguousarray(picture)
        key = hashlib.blake2b(repr(picture.shape).encode() + picture.tobytes()).digest()
        if key not in self._numbers:
            self._numbers[key] = len(self._pictures)
            self._pictures.append(picture)
        return self._numbers[key]

    def encode(self) -> list[str]:
        """Return all pictures as data URIs, by number.

        Returns
        -------
        list of str
            ``data:image/...;base64,...``
        """
        # A sample tells which sizes cannot fit, so that hundreds of pictures are encoded once.
        sample = self._pictures[:: max(1, len(self._pictures) // 40)]
        share = len(sample) / max(1, len(self._pictures))
        encoded: list[str] = []
        for size in SIZES:
            last = size == SIZES[-1]
            if not last and _total(sample, size) > share * self.budget_bytes:
                continue
            encoded = [_data_uri(p, size) for p in self._pictures]
            if sum(map(len, encoded)) <= self.budget_bytes:
                break
        return encoded


def _total(pictures: Sequence[np.ndarray], size: tuple[int, int]) -> int:
    return sum(len(_data_uri(p, size)) for p in pictures)


def _data_uri(picture: np.ndarray, size: tuple[int, int]) -> str:
    """Encode one picture, made smaller where its longer side is above that of `size`."""
    side, quality = size
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    # Pillow can be built without WebP; every build has JPEG.
    kind = "webp" if features.check("webp") else "jpeg"
    with io.BytesIO() as stream:
        # Method 2 is twice as fast as the default and makes files 4 % larger.
        image.save(stream, kind, quality=quality, method=2)
        return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
