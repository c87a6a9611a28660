"""Stimuli composed of shipped photographs: objects on backgrounds, with captions."""

from mindeye2.data.scenes.photographs import load_photographs
from mindeye2.data.scenes.references import reference_photographs, render_references
from mindeye2.data.scenes.scene_sampling import make_scenes, name_lights, scene_kinds

__all__ = [
    "load_photographs",
    "make_scenes",
    "name_lights",
    "reference_photographs",
    "render_references",
    "scene_kinds",
]
