"""Scenes: one or two photographed objects on a photographed background, with an honest caption.

A scene is a small description of what lies where; `render` turns it into pixels of any size.
Scene ``i`` of a seed depends on nothing but the seed, ``i`` and the library, so that a longer list
begins with a shorter one and parts can be made in any order.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from mindeye2.core.runtime import numpy_rng
from mindeye2.data.stimuli import StimulusLibrary

__all__ = ["Light", "PlacedObject", "Scene", "caption", "make_scenes", "render", "sample_scene"]

TWO_OBJECTS = 0.3
"""Share of scenes with two objects."""
ONE_SIZE = (0.5, 0.88)
"""Longer side of a single object, as a share of the frame."""
TWO_SIZE = (0.4, 0.58)
"""Longer side of each of two objects."""
AIRBORNE = frozenset({"sky", "space", "underwater"})
"""Categories of backgrounds in which objects float and cast no shadow."""
FLOATING = frozenset({"planet"})
"""Categories of objects that float anywhere."""
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


def _light(rng: np.random.Generator, spread: float) -> Light:
    return Light(
        gain=float(np.exp(rng.uniform(-spread, spread))),
        gamma=float(np.exp(rng.uniform(-spread, spread))),
    )


def _second(rng: np.random.Generator, first: int, library: StimulusLibrary) -> int:
    taken = library.cutouts[first].credit
    free = [
        i
        for i, cutout in enumerate(library.cutouts)
        if cutout.credit.source != taken.source and cutout.credit.caption != taken.caption
    ]
    return int(rng.choice(free))


def sample_scene(
    rng: np.random.Generator,
    library: StimulusLibrary,
    *,
    cutout: int | None = None,
    background: int | None = None,
) -> Scene:
    """Draw a scene.

    Parameters
    ----------
    rng
        Where chance comes from.
    library
        The photographs.
    cutout
        The (first) object; drawn where it is not given.
    background
        The background; drawn where it is not given.

    Returns
    -------
    Scene
        What is placed where.
    """
    if cutout is None:
        cutout = int(rng.integers(len(library.cutouts)))
    if background is None:
        background = int(rng.integers(len(library.backgrounds)))
    indices = [cutout]
    if rng.random() < TWO_OBJECTS:
        indices.append(_second(rng, cutout, library))
    centres = _columns(rng, len(indices))
    airborne = library.backgrounds[background].credit.category in AIRBORNE
    placed = [
        _place(rng, index, x, library, airborne=airborne, alone=len(indices) == 1)
        for index, x in zip(indices, centres, strict=True)
    ]
    side = rng.uniform(0.8, 1.0)
    return Scene(
        background=background,
        crop=(float(rng.uniform(0, 1 - side)), float(rng.uniform(0, 1 - side)), float(side)),
        flip=bool(rng.random() < 0.5),
        light=_light(rng, 0.2),
        # What reaches farther down stands nearer and covers the other.
        objects=tuple(sorted(placed, key=lambda p: p.y + p.size / 2)),
    )


def _columns(rng: np.random.Generator, n: int) -> list[float]:
    if n == 1:
        return [float(rng.uniform(0.28, 0.72))]
    columns = [float(rng.uniform(0.2, 0.34)), float(rng.uniform(0.66, 0.8))]
    return columns if rng.random() < 0.5 else columns[::-1]


def _place(
    rng: np.random.Generator,
    index: int,
    x: float,
    library: StimulusLibrary,
    *,
    airborne: bool,
    alone: bool,
) -> PlacedObject:
    cutout = library.cutouts[index]
    height, width = cutout.rgba.shape[:2]
    size = float(rng.uniform(*(ONE_SIZE if alone else TWO_SIZE)))
    tall = size * height / max(height, width)
    wide = size * width / max(height, width)
    floats = airborne or cutout.credit.category in FLOATING
    y = float(rng.uniform(0.36, 0.64) if floats else rng.uniform(0.8, 0.97) - tall / 2)
    # A large object may leave the frame by a tenth of itself, no more.
    x = float(np.clip(x, 0.4 * wide, 1 - 0.4 * wide))
    y = float(np.clip(y, 0.4 * tall, 1 - 0.4 * tall))
    return PlacedObject(
        index=index,
        x=x,
        y=y,
        size=size,
        flip=bool(rng.random() < 0.5),
        light=_light(rng, 0.15),
        shadow=not floats,
    )


def caption(scene: Scene, library: StimulusLibrary) -> str:
    """Say what a scene shows, e.g. ``"a tiger and a hammer in front of a temple"``.

    Parameters
    ----------
    scene
        The scene.
    library
        The photographs it was drawn from.

    Returns
    -------
    str
        Objects from left to right, then the background.
    """
    ordered = sorted(scene.objects, key=lambda placed: placed.x)
    nouns = " and ".join(library.cutouts[placed.index].credit.caption for placed in ordered)
    background = library.backgrounds[scene.background].credit
    return f"{nouns} {background.preposition} {background.caption}"


def _expose(picture: Image.Image, light: Light, tint: Float[np.ndarray, "rgb"]) -> Image.Image:
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
    tint: Float[np.ndarray, "rgb"],
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


def _pair(seed: int, i: int, library: StimulusLibrary) -> tuple[int, int]:
    """Deal object and background of scene `i`: all equally often, no pair twice before all are."""
    n_cutouts, n_backgrounds = len(library.cutouts), len(library.backgrounds)
    deal, turn = divmod(i, n_cutouts)
    # Every deal shows each object once, in an order of its own, one background further than in
    # the deal before.
    seat = int(numpy_rng(seed, "deal", deal).permutation(n_cutouts)[turn])
    cutout = int(numpy_rng(seed, "cutouts").permutation(n_cutouts)[seat])
    backgrounds = numpy_rng(seed, "backgrounds").permutation(n_backgrounds)
    return cutout, int(backgrounds[(seat + deal) % n_backgrounds])


def make_scenes(
    n: int, *, library: StimulusLibrary, seed: int, size: int = 224, start: int = 0
) -> tuple[UInt8[np.ndarray, "images height width rgb"], list[str], list[Scene]]:
    """Make the scenes ``start`` to ``start + n - 1`` of a seed.

    Parameters
    ----------
    n
        How many.
    library
        The photographs.
    seed
        Another seed gives other scenes.
    size
        Side of the pictures in pixels.
    start
        Number of the first one, to make a long list in parts.

    Returns
    -------
    images
        RGB, 0 to 255.
    captions
        One sentence each.
    scenes
        Their descriptions, all different.

    Raises
    ------
    ValueError
        If `n` or `start` is negative.
    """
    if n < 0 or start < 0:
        raise ValueError(f"n and start must be 0 or more, got n={n} and start={start}.")
    scenes = []
    for i in range(start, start + n):
        cutout, background = _pair(seed, i, library)
        rng = numpy_rng(seed, "scene", i)
        scenes.append(sample_scene(rng, library, cutout=cutout, background=background))
    images = np.empty((n, size, size, 3), np.uint8)
    for image, scene in zip(images, scenes, strict=True):
        image[:] = render(scene, library, size=size)
    return images, [caption(scene, library) for scene in scenes], scenes
