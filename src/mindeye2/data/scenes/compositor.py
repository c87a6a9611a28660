"""Rendering of scenes: photographed objects on a photographed background, in one light.

Back to front: the background, then each object's contact shadow and the object itself.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mindeye2.data.scenes.photographs import PhotographLibrary

__all__ = ["Light", "PlacedObject", "Scene", "render"]

TINT, DIM = 0.35, 0.3
"""Strength of an object's adaptation to colour and brightness of its background, 0 to 1."""
SHADOW = 0.5
"""Fraction of the light that the middle of a contact shadow removes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """A change of exposure: ``gain * value ** gamma`` on values in [0, 1]."""

    gain: float
    """Factor on the light."""
    gamma: float
    """Above 1 darkens the middle tones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedObject:
    """One object of a scene. Lengths are fractions of the frame's side."""

    index: int
    """Index among the cutouts."""
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
    """Casts a contact shadow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Background and objects of a scene, without pixels."""

    background: int
    """Index among the backgrounds."""
    crop: tuple[float, float, float]
    """Left, top and side of the part of the background that is used, as fractions of its side."""
    flip: bool
    """Background mirrored left to right."""
    light: Light
    """Exposure of the background."""
    objects: tuple[PlacedObject, ...]
    """One or two, the more distant one first."""


def _expose(image: Image.Image, light: Light, tint: Float[np.ndarray, " rgb"]) -> Image.Image:
    """Change exposure and colour through a table of 256 levels; opacity stays."""
    levels = np.linspace(0, 1, 256) ** light.gamma
    table = np.clip(light.gain * np.outer(tint, levels), 0, 1) * 255 + 0.5
    entries = table.astype(np.uint8).ravel().tolist()
    return image.point(entries + list(range(256)) * (image.mode == "RGBA"))


def render(
    scene: Scene, library: PhotographLibrary, *, size: int = 224
) -> UInt8[np.ndarray, "height width rgb"]:
    """Render a scene as an RGB image of `size` pixels, 0 to 255."""
    source = library.backgrounds[scene.background].rgb
    left, top, side = (fraction * source.shape[0] for fraction in scene.crop)
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
        _paste(canvas, placed, library, tint=tint)
    return np.array(canvas)


def _paste(
    canvas: Image.Image,
    placed: PlacedObject,
    library: PhotographLibrary,
    *,
    tint: Float[np.ndarray, " rgb"],
) -> None:
    source = library.cutouts[placed.index].rgba
    scale = placed.size * canvas.width / max(source.shape[:2])
    width, height = (max(2, round(n * scale)) for n in (source.shape[1], source.shape[0]))
    image = Image.fromarray(source).resize((width, height), Image.Resampling.BICUBIC)
    if placed.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left = round(placed.x * canvas.width - width / 2)
    top = round(placed.y * canvas.width - height / 2)
    if placed.shadow:
        _cast_shadow(canvas, image, left=left, top=top)
    image = _expose(image, placed.light, tint)
    canvas.paste(image, (left, top), image)


def _cast_shadow(canvas: Image.Image, image: Image.Image, *, left: int, top: int) -> None:
    """Darken the ground where an object touches it: an ellipse under its lowest part."""
    lowest = np.asarray(image)[-max(2, image.height // 7) :, :, 3]
    feet = np.flatnonzero((lowest > 127).any(0))
    if feet.size == 0:
        return
    half = 0.5 * (feet[-1] - feet[0] + 1)
    across, down = 1.15 * half + 2, 0.22 * half + 2
    x, y = left + 0.5 * (feet[0] + feet[-1]), top + 0.985 * image.height - 1
    x0, y0 = round(x - 1.6 * across), round(y - 2 * down)
    columns = (np.arange(x0, round(x + 1.6 * across)) - x) / across
    rows = (np.arange(y0, round(y + 2 * down)) - y) / down
    strength = 255 * SHADOW * np.outer(np.exp(-1.5 * rows**2), np.exp(-(columns**4)))
    mask = Image.fromarray(strength.astype(np.uint8))
    canvas.paste((0, 0, 0), (x0, y0, x0 + mask.width, y0 + mask.height), mask)
