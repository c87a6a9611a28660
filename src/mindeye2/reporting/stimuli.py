"""Stimuli as pictures for a page; cards with their captions where only embeddings are public."""

import textwrap
from functools import cached_property

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from mindeye2.data.prepared import Prepared

__all__ = ["Stimuli"]

SIDE = 224
"""Side of a card in pixels."""

_PER_LINE, _LINES = 34, 13
"""Characters and lines of Pillow's built-in font that a card holds."""


class Stimuli:
    """Pictures of the images of a data set.

    Parameters
    ----------
    prepared
        The data set.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared

    def picture(self, image: int) -> UInt8[np.ndarray, "height width rgb"]:
        """Return one image of the data set, or a card that says that it is not there."""
        if self._prepared.has_images:
            return np.asarray(self._prepared.images[image])
        captions = self._prepared.captions
        caption = captions[image] if captions is not None else ""
        return draw_card(caption or self._names[image])

    @cached_property
    def _names(self) -> dict[int, str]:
        shown = self._prepared.trials.drop_duplicates("image")
        return dict(zip(shown["image"], shown["source_image"].astype(str), strict=True))


def draw_card(text: str) -> UInt8[np.ndarray, "height width rgb"]:
    """Draw a grey card with the words under "no image"."""
    card = Image.new("RGB", (SIDE, SIDE), (225, 225, 225))
    lines = ["(no image)", "", *textwrap.wrap(text, _PER_LINE)][:_LINES]
    ImageDraw.Draw(card).multiline_text((10, 10), "\n".join(lines), fill=(60, 60, 60))
    return np.asarray(card)
