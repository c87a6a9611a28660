"""Strips of images for notebooks: one column an image, one row a kind of image."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

__all__ = ["image_strip", "strip_html"]

_SIDE = 128
_GAP = 4


def image_strip(rows: Sequence[UInt8[np.ndarray, "..."]], *, side: int = _SIDE) -> Image.Image:
    """Arrange rows of RGB images, (images, height, width, rgb), resized to `side`, on white."""
    n_columns = max(len(row) for row in rows)
    step = side + _GAP
    size = (max(1, n_columns * step - _GAP), len(rows) * step - _GAP)
    strip = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            resized = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
            strip.paste(resized, (x * step, y * step))
    return strip


def strip_html(
    rows: Mapping[str, UInt8[np.ndarray, "..."]],
    captions: Sequence[str] | None,
    *,
    left_out: int = 0,
) -> str:
    """Describe a table of images by row label, with a caption below each column, as HTML."""
    cells = ['<table style="border-collapse:collapse">']
    for label, images in rows.items():
        shown = "".join(
            f'<td style="padding:2px"><img width="{_SIDE}" alt="{html.escape(label)} {i}" '
            f'src="{_png(image)}"></td>'
            for i, image in enumerate(images)
        )
        cells.append(f'<tr><th style="text-align:left">{html.escape(label)}</th>{shown}</tr>')
    if captions is not None:
        texts = "".join(
            f'<td style="max-width:{_SIDE}px;white-space:normal;text-align:left">'
            f"{html.escape(caption)}</td>"
            for caption in captions
        )
        cells.append(f'<tr><th style="text-align:left">caption</th>{texts}</tr>')
    cells.append("</table>")
    if left_out:
        cells.append(f"<p>{left_out} more</p>")
    return "".join(cells)


def _png(image: UInt8[np.ndarray, "height width rgb"]) -> str:
    with io.BytesIO() as stream:
        image_strip([image[None]]).save(stream, "png")
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
