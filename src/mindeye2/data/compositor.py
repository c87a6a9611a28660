"""Drawing a scene: photographed objects on a photographed background, in one light.

Pillow does the pixel work on bytes, in the order in which a painter would: the background, then
for each object its shadow on what is there already, then the object through its soft edge.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mindeye2.data.stimuli import StimulusLibrary

__all__ = ["Light", "PlacedObject", "Scene", "render"]

TINT, DIM = 0.35, 0.3
"""How far an object takes on the colour and the brightness of its background, 0 to 1."""
SHADOW = 0.5
"""How much light the middle of a contact shadow takes away, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """A change of exposure: ``gain * value ** gamma`` on values in [0, 1]."""

    gain: float
    """Factor on the light."""
    gamma: float
    """Above 1 darkens the middle tones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedObject:
    """One object of a scene. Lengths are shares of the frame's side."""

    index: int
    """Which cutout of the library."""
    x: float
    """Centre, from the left."""
    y: float
    """Centre, from the top."""
    size: float
    """Longer side."""
    flip: bool
    """Mirrored left to right."""
    light: Light
    """Its exposure."""
    shadow: bool
    """Stands on something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is placed where."""

    background: int
    """Which background of the library."""
    crop: tuple[float, float, float]
    """Left, top and side of the part of the background that is used, as shares of its side."""
    flip: bool
    """Background mirrored left to right."""
    light: Light
    """Exposure of the background."""
    objects: tuple[PlacedObject, ...]
    """One or two, the farther one first."""


def _expose(picture: Image.Image, light: Light, tint: Float[np.ndarray, " rgb"]) -> Image.Image:
    """Change exposure and colour through a table of 256 levels; opacity stays."""
    levels = np.linspace(0, 1, 256) ** light.gamma
    table = np.clip(light.gain * np.outer(tint, levels), 0, 1) * 255 + 0.5
    entries = table.astype(np.uint8).ravel().tolist()
    return picture.point(entries + list(range(256)) * (picture.mode == "RGBA"))


def render(
    scene: Scene, library: StimulusLibrary, *, size: int = 224
) -> UInt8[np.ndarray, "height width rgb"]:
    """Draw a scene.

    Parameters
    ----------
    scene
        What is placed where.
    library
        The photographs it was drawn from.
    size
        Side of the picture in pixels.

    Returns
    -------
    numpy.ndarray
        RGB, 0 to 255.
    """
    source = library.backgrounds[scene.background].rgb
    left, top, side = (share * source.shape[0] for share in scene.crop)
    canvas = Image.fromarray(source).resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    if scene.flip:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    canvas = _expose(canvas, scene.light, np.ones(3))
    mean = np.maximum(np.asarray(canvas)[::4, ::4].mean((0, 1)) / 255, 0.02)
    brightness = float(mean.mean())
    tint = (mean / brightness) ** TINT * (max(brightness, 0.05) / 0.5) ** DIM
    for placed in scene.objects:
        _draw(canvas, placed, library, tint=tint)
    return np.array(canvas)


def _draw(
    canvas: Image.Image,
    placed: PlacedObject,
    library: StimulusLibrary,
    *,
    tint: Float[np.ndarray, " rgb"],
) -> None:
    source = library.cutouts[placed.index].rgba
    scale = placed.size * canvas.width / max(source.shape[:2])
    width, height = (max(2, round(n * scale)) for n in (source.shape[1], source.shape[0]))
    picture = Image.fromarray(source).resize((width, height), Image.Resampling.BICUBIC)
    if placed.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left = round(placed.x * canvas.width - width / 2)
    top = round(placed.y * canvas.width - height / 2)
    if placed.shadow:
        _shade(canvas, picture, left=left, top=top)
    picture = _expose(picture, placed.light, tint)
    canvas.paste(picture, (left, top), picture)


def _shade(canvas: Image.Image, picture: Image.Image, *, left: int, top: int) -> None:
    """Darken the ground where an object touches it: an ellipse under its lowest part."""
    lowest = np.asarray(picture)[-max(2, picture.height // 7) :, :, 3]
    feet = np.flatnonzero((lowest > 127).any(0))
    if feet.size == 0:
        return
    half = 0.5 * (feet[-1] - feet[0] + 1)
    across, down = 1.15 * half + 2, 0.22 * half + 2
    x, y = left + 0.5 * (feet[0] + feet[-1]), top + 0.985 * picture.height - 1
    x0, y0 = round(x - 1.6 * across), round(y - 2 * down)
    columns = (np.arange(x0, round(x + 1.6 * across)) - x) / across
    rows = (np.arange(y0, round(y + 2 * down)) - y) / down
    strength = 255 * SHADOW * np.outer(np.exp(-1.5 * rows**2), np.exp(-(columns**4)))
    mask = Image.fromarray(strength.astype(np.uint8))
    canvas.paste((0, 0, 0), (x0, y0, x0 + mask.width, y0 + mask.height), mask)
