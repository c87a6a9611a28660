"""Reference scenes: those that trained the shipped image decoder, composed again by number."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from mindeye2.data.scenes.compositor import Scene
from mindeye2.data.scenes.photographs import load_photographs
from mindeye2.data.scenes.scene_sampling import make_scenes, sample_scene

__all__ = ["describe_reference", "render_references"]

_SEED = 1
"""Of the recipe ``scenes``."""


def render_references(
    scenes: Sequence[int], *, size: int
) -> UInt8[np.ndarray, "images height width rgb"]:
    """Compose scenes of training photographs by their numbers: RGB, `size` pixels a side."""
    library = load_photographs(split="train")
    composed = [
        make_scenes(1, library=library, seed=_SEED, size=size, start=scene)[0] for scene in scenes
    ]
    return np.concatenate(composed)


def describe_reference(scene: int) -> tuple[str, str]:
    """Return the category of a scene's largest object, and that of its background."""
    library = load_photographs(split="train")
    sampled: Scene = sample_scene(_SEED, scene, library)
    largest = max(sampled.objects, key=lambda placed: placed.size)
    return (
        library.cutouts[largest.index].credit.category,
        library.backgrounds[sampled.background].credit.category,
    )
