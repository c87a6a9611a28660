"""Stimuli composed of shipped photographs: objects on backgrounds, with captions."""

from mindeye2.data.scenes.photographs import load_photographs
from mindeye2.data.scenes.references import reference_photographs, render_references
from mindeye2.data.scenes.scene_sampling import make_scenes, scene_photographs

__all__ = [
    "load_photographs",
    "make_scenes",
    "reference_photographs",
    "render_references",
    "scene_photographs",
]
