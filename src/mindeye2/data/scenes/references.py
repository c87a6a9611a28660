"""Reference scenes: those that trained the shipped image decoder, composed again by number."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from mindeye2.data.scenes.photographs import Credit, load_photographs
from mindeye2.data.scenes.scene_sampling import make_scenes, sample_scene, scene_photographs

__all__ = ["reference_photographs", "render_references"]

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


def reference_photographs(scene: int) -> tuple[Credit, Credit]:
    """Return the credits of a reference scene's largest object and of its background."""
    library = load_photographs(split="train")
    return scene_photographs(sample_scene(_SEED, scene, library), library)
