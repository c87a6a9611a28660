"""Scenes: one or two photographed objects on a photographed background, with an honest caption.

A scene is a small description of what lies where; the compositor turns it into pixels.
Scene ``i`` of a seed depends on nothing but the seed, ``i`` and the library, so that a longer list
begins with a shorter one and parts can be made in any order.
"""

import numpy as np
from jaxtyping import UInt8

from mindeye2.core.runtime import numpy_rng
from mindeye2.data.compositor import Light, PlacedObject, Scene, render
from mindeye2.data.stimuli import StimulusLibrary

__all__ = ["caption", "describe_scenes", "make_scenes", "sample_scene"]

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
        _place(rng, library, index=index, x=x, airborne=airborne, alone=len(indices) == 1)
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
    library: StimulusLibrary,
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


def describe_scenes(n: int, *, library: StimulusLibrary, seed: int, start: int = 0) -> list[Scene]:
    """Draw the scenes ``start`` to ``start + n - 1`` of a seed, without their pixels.

    Parameters
    ----------
    n
        How many.
    library
        The photographs.
    seed
        Another seed gives other scenes.
    start
        Number of the first one, to make a long list in parts.

    Returns
    -------
    list of Scene
        All different. Objects and backgrounds are dealt like cards: all equally often, and none
        of the pairs of both comes back before every pair was there.

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
    return scenes


def make_scenes(
    n: int, *, library: StimulusLibrary, seed: int, size: int = 224, start: int = 0
) -> tuple[UInt8[np.ndarray, "images height width rgb"], list[str], list[Scene]]:
    """Make the scenes ``start`` to ``start + n - 1`` of a seed, with pixels and captions.

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
        Their descriptions; see `describe_scenes`.
    """
    scenes = describe_scenes(n, library=library, seed=seed, start=start)
    images = np.empty((n, size, size, 3), np.uint8)
    for image, scene in zip(images, scenes, strict=True):
        image[:] = render(scene, library, size=size)
    return images, [caption(scene, library) for scene in scenes], scenes
