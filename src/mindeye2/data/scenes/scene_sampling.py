"""Random scenes: one or two photographed objects on a photographed background, with a caption.

Scene ``i`` of a seed depends on the seed, ``i`` and the photographs only, so that a longer list
begins with a shorter one and parts can be made in any order.
"""

import numpy as np
from jaxtyping import UInt8

from mindeye2.core.runtime import numpy_rng
from mindeye2.data.scenes.compositor import Light, PlacedObject, Scene, render
from mindeye2.data.scenes.photographs import Credit, PhotographLibrary

__all__ = ["make_scenes", "name_lights", "sample_scene", "scene_kinds", "scene_photographs"]

TWO_OBJECTS = 0.3
"""Fraction of scenes with two objects."""
ONE_SIZE = (0.5, 0.88)
"""Longer side of a single object, as a fraction of the frame."""
TWO_SIZE = (0.4, 0.58)
"""Longer side of each of two objects."""
AIRBORNE = frozenset({"sky", "space", "underwater"})
"""Categories of backgrounds in which objects float and cast no shadow."""
FLOATING = frozenset({"planet"})
"""Categories of objects that float anywhere."""
DARK, BRIGHT = 0.44, 0.55
"""Mean luminance, 0 to 1, below and above which a third of the scenes are."""


def _sample_light(rng: np.random.Generator, spread: float) -> Light:
    return Light(
        gain=float(np.exp(rng.uniform(-spread, spread))),
        gamma=float(np.exp(rng.uniform(-spread, spread))),
    )


def _sample_second_object(rng: np.random.Generator, first: int, library: PhotographLibrary) -> int:
    taken = library.cutouts[first].credit
    free = [
        i
        for i, cutout in enumerate(library.cutouts)
        if cutout.credit.source != taken.source and cutout.credit.caption != taken.caption
    ]
    return int(rng.choice(free))


def _sample_scene(
    rng: np.random.Generator, library: PhotographLibrary, *, cutout: int, background: int
) -> Scene:
    """Sample a scene of one object, or two, and a background."""
    indices = [cutout]
    if rng.random() < TWO_OBJECTS:
        indices.append(_sample_second_object(rng, cutout, library))
    centres = _sample_columns(rng, len(indices))
    airborne = library.backgrounds[background].credit.category in AIRBORNE
    placed = [
        _sample_object(rng, library, index=index, x=x, airborne=airborne, alone=len(indices) == 1)
        for index, x in zip(indices, centres, strict=True)
    ]
    side = rng.uniform(0.8, 1.0)
    return Scene(
        background=background,
        crop=(float(rng.uniform(0, 1 - side)), float(rng.uniform(0, 1 - side)), float(side)),
        flip=bool(rng.random() < 0.5),
        light=_sample_light(rng, 0.2),
        # The object that reaches farther down is nearer and covers the other.
        objects=tuple(sorted(placed, key=lambda p: p.y + p.size / 2)),
    )


def _sample_columns(rng: np.random.Generator, n: int) -> list[float]:
    if n == 1:
        return [float(rng.uniform(0.28, 0.72))]
    columns = [float(rng.uniform(0.2, 0.34)), float(rng.uniform(0.66, 0.8))]
    return columns if rng.random() < 0.5 else columns[::-1]


def _sample_object(
    rng: np.random.Generator,
    library: PhotographLibrary,
    *,
    index: int,
    x: float,
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
        light=_sample_light(rng, 0.15),
        shadow=not floats,
    )


def _caption(scene: Scene, library: PhotographLibrary) -> str:
    """Describe a scene, e.g. ``"a tiger and a hammer in front of a temple"``."""
    ordered = sorted(scene.objects, key=lambda placed: placed.x)
    nouns = " and ".join(library.cutouts[placed.index].credit.caption for placed in ordered)
    background = library.backgrounds[scene.background].credit
    return f"{nouns} {background.preposition} {background.caption}"


def _object_and_background(seed: int, i: int, library: PhotographLibrary) -> tuple[int, int]:
    """Deal object and background of scene `i`: all equally often, each pair before any repeats."""
    n_cutouts, n_backgrounds = len(library.cutouts), len(library.backgrounds)
    deal, turn = divmod(i, n_cutouts)
    # Every deal shows each object once, in an order of its own, one background further than in
    # the deal before.
    seat = int(numpy_rng(seed, "deal", deal).permutation(n_cutouts)[turn])
    cutout = int(numpy_rng(seed, "cutouts").permutation(n_cutouts)[seat])
    backgrounds = numpy_rng(seed, "backgrounds").permutation(n_backgrounds)
    return cutout, int(backgrounds[(seat + deal) % n_backgrounds])


def sample_scene(seed: int, i: int, library: PhotographLibrary) -> Scene:
    """Sample scene `i` of a seed."""
    cutout, background = _object_and_background(seed, i, library)
    rng = numpy_rng(seed, "scene", i)
    return _sample_scene(rng, library, cutout=cutout, background=background)


def scene_photographs(scene: Scene, library: PhotographLibrary) -> tuple[Credit, Credit]:
    """Return the credits of a scene's largest object and of its background; they name kinds."""
    largest = max(scene.objects, key=lambda placed: placed.size)
    return library.cutouts[largest.index].credit, library.backgrounds[scene.background].credit


def scene_kinds(scene: Scene, library: PhotographLibrary) -> dict[str, str]:
    """Return kinds of a scene's largest object and setting, and the number of objects."""
    shown, background = scene_photographs(scene, library)
    number = "one" if len(scene.objects) == 1 else "two"
    return {"object": shown.category, "setting": background.category, "number": number}


def name_lights(images: UInt8[np.ndarray, "images height width rgb"]) -> list[str]:
    """Return ``"dark"``, ``"middle"`` or ``"bright"`` by mean luminance (Rec. 601)."""
    means = np.array([image.mean((0, 1)) for image in images]).reshape(-1, 3) / 255
    luminance = means @ (0.299, 0.587, 0.114)
    names = np.select([luminance < DARK, luminance > BRIGHT], ["dark", "bright"], "middle")
    return [str(name) for name in names]


def make_scenes(
    n: int, *, library: PhotographLibrary, seed: int, size: int = 224, start: int = 0
) -> tuple[UInt8[np.ndarray, "images height width rgb"], list[str], list[Scene]]:
    """Make the scenes ``start`` to ``start + n - 1`` of a seed.

    Objects and backgrounds are used equally often, and no pair of them repeats before every pair
    was used.

    Parameters
    ----------
    n
        Number of scenes.
    library
        The photographs.
    seed
        Another seed gives other scenes.
    size
        Side of the images in pixels.
    start
        Number of the first scene, to make a long list in parts.

    Returns
    -------
    images
        RGB, 0 to 255.
    captions
        One sentence per image.
    scenes
        Background and objects of each image.

    Raises
    ------
    ValueError
        If `n` or `start` is negative.
    """
    if n < 0 or start < 0:
        raise ValueError(f"n and start must be 0 or more, got n={n} and start={start}.")
    scenes = [sample_scene(seed, i, library) for i in range(start, start + n)]
    images = np.empty((n, size, size, 3), np.uint8)
    for image, scene in zip(images, scenes, strict=True):
        image[:] = render(scene, library, size=size)
    return images, [_caption(scene, library) for scene in scenes], scenes
