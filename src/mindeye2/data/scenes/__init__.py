"""Stimuli composed of shipped photographs: objects on backgrounds, with captions."""

from mindeye2.data.scenes.compositor import Scene
from mindeye2.data.scenes.photographs import PhotographLibrary, load_photographs
from mindeye2.data.scenes.references import describe_reference, render_references
from mindeye2.data.scenes.scene_sampling import make_scenes

__all__ = [
    "PhotographLibrary",
    "Scene",
    "describe_reference",
    "load_photographs",
    "make_scenes",
    "render_references",
]
